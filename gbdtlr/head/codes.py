"""Codes: what the head reads of a sample: one leaf per tree, one bucket per wide column, the dense columns' values."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from gbdtlr.compute.parts import Parts, Slice

PIECES, PIECE_ROWS = 8, 65_536
"""Pieces all rows are cut into at least, and rows of one at most: sums of so many may be in float32, and what is
worked out for each row of a piece stays small."""
NO_VALUES = np.empty((0, 0), np.float32)
"""Values of no dense columns, of however many rows."""

ONES = np.ones(PIECE_ROWS)
"""Weights of pieces whose samples have none: one array for all."""


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

    def copy(self, start: int, stop: int) -> Codes:
        """Some rows in a row, in memory of their own: as :meth:`take`, many times as fast."""
        view = self.view(start, stop)
        own: dict[str, Any] = {name: None if each is None else each.copy() for name, each in vars(view).items()}
        return Codes(**own)

    def blocks(self, n_rows: int) -> Iterator[Codes]:
        """The rows in order, at most so many at a time."""
        if len(self) <= n_rows:
            yield self
            return
        for start in range(0, len(self), n_rows):
            yield self.copy(start, min(start + n_rows, len(self)))


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


class Batches:
    """Coded samples as they come, in their order, to be cut into pieces; :class:`gbdtlr.compute.parts.Rows`."""

    def __init__(self, batches: Iterable[Codes] = ()) -> None:
        self._waiting: deque[Codes] = deque()
        self._first = self._n = 0
        for batch in batches:
            self.append(batch)

    @classmethod
    def of(cls, codes: Codes) -> Batches:
        """A single batch."""
        return cls([codes])

    def __len__(self) -> int:
        return self._n

    def append(self, batch: Codes) -> None:
        """Add a batch behind the others."""
        if len(batch):
            self._waiting.append(batch)
            self._n += len(batch)

    def slices(self, start: int, stop: int) -> list[Slice]:
        """Those rows as slices of batches; raise LookupError if some of them were dropped."""
        if start < self._first:
            raise LookupError("these rows were dropped")
        found: list[Slice] = []
        before = self._first
        for batch in self._waiting:
            if before >= stop:
                break
            if start < before + len(batch):
                found.append((batch, max(start - before, 0), min(stop - before, len(batch))))
            before += len(batch)
        return found

    def drop(self, stop: int) -> None:
        """Let go of the batches that end before that row."""
        while self._waiting and self._first + len(self._waiting[0]) <= stop:
            self._first += len(self._waiting.popleft())


def pieces(parts: Parts[Codes] | Iterable[Codes]) -> Parts[Codes]:
    """The same rows in pieces that depend on nothing but how many rows there are, in their order.

    So sums over them do not depend on how the samples lay in files and batches, nor on who holds which.
    """
    return cut((parts if isinstance(parts, Parts) else Parts(list(parts))).derive(Batches.of))


def cut(batches: Parts[Batches]) -> Parts[Codes]:
    """As :func:`pieces`; the batches are used up, so that no more than one piece is in memory twice."""
    return batches.regroup(bounds, joined)


def bounds(n: int) -> list[int]:
    """First row of each piece of ``n`` rows, and ``n``."""
    n_pieces = min(n, max(PIECES, -(-n // PIECE_ROWS)))
    return [n * i // n_pieces for i in range(n_pieces + 1)] if n else [0]


def joined(slices: Sequence[Slice]) -> Codes:
    """A piece of slices of batches; not copied where it is one batch as it is."""
    codes, start, stop = slices[0]
    if len(slices) > 1:
        codes = concatenate([each.view(*rows) for each, *rows in slices])
    elif stop - start < len(codes):
        codes = codes.copy(start, stop)
    else:
        return cast(Codes, codes)
    if len(codes) <= PIECE_ROWS and (codes.weight == 1).all():
        codes = replace(codes, weight=ONES[: len(codes)])
    return cast(Codes, codes)
