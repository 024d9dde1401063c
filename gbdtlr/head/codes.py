"""Codes: what the head reads of a sample: one leaf per tree, one bucket per wide column, the dense columns' values."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gbdtlr.compute.parts import Parts

PIECES, PIECE_ROWS = 8, 65_536
"""Pieces all rows are cut into at least, and rows of one at most: sums of so many may be in float32, and what is
worked out for each row of a piece stays small."""
NO_VALUES = np.empty((0, 0), np.float32)
"""Values of no dense columns, of however many rows."""


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
    beside : uint32 (n_wide of it, n), buckets as another head reads the rows, which hashes ids in another way or has
        other columns and is to be judged on the same rows; None where there is none
    dense : float32 (n_dense, n), values of the dense columns, centred and scaled; whoever knows them gives them, be it
        :meth:`gbdtlr.head.dense.DenseColumns.values` or something that works them out for these rows
    dense_beside : as ``beside``, of the other head's dense columns
    """

    leaves: NDArray[Any]
    buckets: NDArray[np.uint32]
    label: NDArray[np.float32]
    weight: NDArray[np.float64]
    event_us: NDArray[np.int64]
    known_us: NDArray[np.int64]
    beside: NDArray[np.uint32] | None = None
    dense: NDArray[np.float32] = field(default_factory=lambda: NO_VALUES)
    dense_beside: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        if self.dense is NO_VALUES:
            object.__setattr__(self, "dense", np.empty((0, len(self.label)), np.float32))

    @classmethod
    def unlabelled(
        cls, leaves: NDArray[Any], buckets: NDArray[np.uint32], dense: NDArray[np.float32] = NO_VALUES
    ) -> Codes:
        """Codes of rows that are only scored: without labels, and of no time."""
        n = leaves.shape[1]
        none, unknown = np.zeros(n, np.int64), np.full(n, np.nan, np.float32)
        values = dense.reshape(len(dense), n)
        return cls(leaves, buckets.reshape(len(buckets), n), unknown, np.ones(n), none, none, dense=values)

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
            None if self.beside is None else np.take(self.beside, rows, axis=1),
            np.take(self.dense, rows, axis=1),
            None if self.dense_beside is None else np.take(self.dense_beside, rows, axis=1),
        )

    def view(self, start: int, stop: int) -> Codes:
        """Views of some rows in a row: nothing is copied, and leaves do not lie together as kernels want them."""
        return Codes(
            self.leaves[:, start:stop],
            self.buckets[:, start:stop],
            self.label[start:stop],
            self.weight[start:stop],
            self.event_us[start:stop],
            self.known_us[start:stop],
            None if self.beside is None else self.beside[:, start:stop],
            self.dense[:, start:stop],
            None if self.dense_beside is None else self.dense_beside[:, start:stop],
        )

    def blocks(self, n_rows: int) -> Iterator[Codes]:
        """The rows in order, at most so many at a time."""
        if len(self) <= n_rows:
            yield self
            return
        for start in range(0, len(self), n_rows):
            yield self.take(np.arange(start, min(start + n_rows, len(self))))


def known_after(codes: Codes, moment_us: int) -> Codes:
    """The samples whose label became known after a moment."""
    return codes.take(codes.known_us > moment_us)


def known_by(codes: Codes, moment_us: int) -> Codes:
    """The samples whose label was known by a moment."""
    return codes.take(codes.known_us <= moment_us)


def happened_from(codes: Codes, moment_us: int) -> Codes:
    """The samples that happened at a moment or after it."""
    return codes.take(codes.event_us >= moment_us)


def happened_between(codes: Codes, start_us: int, end_us: int) -> Codes:
    """The samples that happened at a moment or after it, and before another."""
    return codes.take((codes.event_us >= start_us) & (codes.event_us < end_us))


def as_other(codes: Codes) -> Codes:
    """The samples as the other head reads them; the same where it reads them alike."""
    if codes.beside is None:
        return codes
    dense = codes.dense if codes.dense_beside is None else codes.dense_beside
    return replace(codes, buckets=codes.beside, beside=None, dense=dense, dense_beside=None)


def concatenate(parts: Sequence[Codes]) -> Codes:
    """All rows of ``parts``, one after the other; at least one part."""
    if len(parts) == 1:
        return parts[0]
    beside = [part.beside for part in parts if part.beside is not None]
    dense_beside = [part.dense_beside for part in parts if part.dense_beside is not None]
    return Codes(
        np.ascontiguousarray(np.concatenate([part.leaves for part in parts], axis=1)),
        np.ascontiguousarray(np.concatenate([part.buckets for part in parts], axis=1)),
        np.concatenate([part.label for part in parts]),
        np.concatenate([part.weight for part in parts]),
        np.concatenate([part.event_us for part in parts]),
        np.concatenate([part.known_us for part in parts]),
        None if not beside else np.ascontiguousarray(np.concatenate(beside, axis=1)),
        np.ascontiguousarray(np.concatenate([part.dense for part in parts], axis=1)),
        None if not dense_beside else np.ascontiguousarray(np.concatenate(dense_beside, axis=1)),
    )


def pieces(parts: Iterable[Codes]) -> Parts[Codes]:
    """The same rows in pieces that depend on nothing but how many rows there are, in their order.

    So sums over them do not depend on how the samples lay in files and batches.
    """
    return Parts(cut(list(parts)))


def cut(parts: list[Codes]) -> list[Codes]:
    """As :func:`pieces`; ``parts`` is emptied on the way, so that no more than one piece is in memory twice."""
    sizes = [len(part) for part in parts]
    n = sum(sizes)
    n_pieces = min(n, max(PIECES, -(-n // PIECE_ROWS)))
    bounds = [n * i // n_pieces for i in range(n_pieces + 1)] if n else [0]
    waiting = deque(part for part in parts if len(part))
    parts.clear()
    if [len(part) for part in waiting] == np.diff(bounds).tolist():
        return list(waiting)
    made, start = [], 0
    ones = np.ones(0)
    for first, last in pairwise(bounds):
        slices, room = [], last - first
        while room:
            part = waiting[0]
            stop = min(len(part), start + room)
            slices.append((part, start, stop))
            room, start = room - (stop - start), stop
            if stop == len(part):
                waiting.popleft()
                start = 0
        if len(slices) > 1:
            piece = concatenate([each.view(*rows) for each, *rows in slices])
        else:
            piece = part.take(np.arange(*slices[0][1:])) if last - first < len(part) else part
        if (piece.weight == 1).all():  # one array for all pieces
            ones = ones if len(ones) >= len(piece) else np.ones(len(piece) + 1)
            piece = replace(piece, weight=ones[: len(piece)])
        made.append(piece)
    return made
