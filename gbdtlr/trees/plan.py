"""Plans: what ranks that grow trees together are told, and what they say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

RANK = "gbdtlr.trees.rank"
"""The module that each of them runs"""
TIME_OUT_MIN = 60
"""Minutes that LightGBM waits for another rank: longer than a tree may take."""

Block = tuple[npt.NDArray[np.float64], npt.NDArray[np.int8], npt.NDArray[np.float64]]
"""Rows as LightGBM sees them (n, n_features), their labels and weights (n,)"""


@dataclass(frozen=True)
class Plan:
    """What a rank does.

    Attributes
    ----------
    params : of LightGBM
    names, categorical : of the features; which of them are categories, by their places
    bins : of all ranks, as :func:`gbdtlr.trees.bins.bins_of` gives them
    n_rows : to grow on, and to stop by
    is_weighed : whether any row of any rank has a weight other than 1
    address : where other ranks reach this one
    """

    params: Mapping[str, Any]
    names: Sequence[str]
    categorical: Sequence[int]
    bins: bytes
    n_rows: tuple[int, int]
    is_weighed: bool
    address: str = ""


@dataclass(frozen=True)
class Refusal:
    """Why LightGBM gave up; ``is_passing`` if it was for the network, which may do better the next time."""

    reason: str
    is_passing: bool


@dataclass(frozen=True)
class Grown:
    """A tree more: the metrics on the rows to stop by, and the weight of these.

    Attributes
    ----------
    metrics : by name, in LightGBM's order; empty where this rank has no such rows
    """

    metrics: Mapping[str, float]
    weight: float
