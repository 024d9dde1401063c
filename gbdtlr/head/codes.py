"""Codes: what the head reads of a sample, one leaf per tree and one bucket per wide column."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Codes:
    """Coded samples, rows last so that one tree's codes lie together.

    Attributes
    ----------
    leaves : uint8 or uint16 (n_trees, n)
    buckets : uint32 (n_wide, n)
    label : float32 (n,), 0 or 1
    weight : float64 (n,)
    event_us, known_us : int64 (n,), microseconds since 1970 UTC
    """

    leaves: NDArray[Any]
    buckets: NDArray[np.uint32]
    label: NDArray[np.float32]
    weight: NDArray[np.float64]
    event_us: NDArray[np.int64]
    known_us: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.label)

    def take(self, rows: NDArray[Any]) -> Codes:
        """Those rows (indices or a mask), in their order; not copied where a mask has all."""
        if rows.dtype == np.bool_ and rows.all():
            return self
        rows = np.flatnonzero(rows) if rows.dtype == np.bool_ else rows
        # ``leaves[:, rows]`` would lay the copy out the other way round, for which the kernels are not compiled.
        return Codes(
            np.take(self.leaves, rows, axis=1),
            np.take(self.buckets, rows, axis=1),
            self.label[rows],
            self.weight[rows],
            self.event_us[rows],
            self.known_us[rows],
        )


def concatenate(parts: Sequence[Codes]) -> Codes:
    """All rows of ``parts``, one after the other; at least one part."""
    if len(parts) == 1:
        return parts[0]
    return Codes(
        np.concatenate([part.leaves for part in parts], axis=1),
        np.concatenate([part.buckets for part in parts], axis=1),
        np.concatenate([part.label for part in parts]),
        np.concatenate([part.weight for part in parts]),
        np.concatenate([part.event_us for part in parts]),
        np.concatenate([part.known_us for part in parts]),
    )
