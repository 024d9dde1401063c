"""Pending: samples of a stream that are in no release yet."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gbdtlr.config import SamplesConfig
from gbdtlr.head import Codes
from gbdtlr.jobs.lines import table_of
from gbdtlr.model import Model
from gbdtlr.samples import Samples

Row = NDArray[np.int64]


@dataclass
class Pending:
    """Samples that are in no release yet, the newest of them, in the order they came: as they came, and coded."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    codes: list[Row] = field(default_factory=list)
    dense: list[NDArray[np.float32]] = field(default_factory=list)
    label: list[float] = field(default_factory=list)
    weight: list[float] = field(default_factory=list)
    known_us: list[int] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.rows)

    def extend(self, others: Pending) -> None:
        """Add other samples behind these."""
        for name, values in vars(others).items():
            getattr(self, name).extend(values)

    def keep_newest(self, n: int) -> None:
        """Let go of all but the newest ``n``."""
        for values in vars(self).values():
            del values[:-n]

    def encode(self, model: Model) -> None:
        """Code all of them by another model."""
        self.codes = [model.encode_row(row) for row in self.rows]
        self.dense = [model.head.dense.row_values(row) for row in self.rows]

    def coded(self, model: Model) -> Codes:
        """All of them as a head reads them; at least one.

        Parameters
        ----------
        model : that they are coded by
        """
        codes = np.stack(self.codes, axis=1)
        n_trees = model.trees.n_trees
        known_us = np.array(self.known_us, np.int64)
        return Codes(
            codes[:n_trees].astype(model.trees.code_dtype),
            codes[n_trees:].astype(np.uint32),
            np.array(self.label, np.float32),
            np.array(self.weight, np.float64),
            known_us,
            known_us,
            dense=np.ascontiguousarray(np.stack(self.dense, axis=1)),
        )

    def samples(self, coded: Codes, config: SamplesConfig) -> Samples:
        """All of them as they came, beside their codes."""
        table = table_of(self.rows, config)
        return Samples(table, coded.label.astype(np.int8), coded.weight, coded.event_us, coded.known_us)

    def newest(self, n: int, config: SamplesConfig) -> pa.Table:
        """The newest ``n`` as they came."""
        return table_of(self.rows[-n:], config)
