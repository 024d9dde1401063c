"""Vectors then: of each row the vector of its item that had been made before the row happened.

A vector that was made of a label says more about that label than any that could have been served. So a row is given the
newest version of the live embeddings that knows no later moment than its own; they all lie as the live one does, so
that what a user learned from one of them fits the others. Rows from before the oldest version can teach by its vectors,
but their own score would be one that nobody could have had.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gbdtlr.embeddings import Embeddings
from gbdtlr.errors import GbdtlrError, StoreUnavailable
from gbdtlr.release import Embedded
from gbdtlr.times import from_us, to_us

MOST = 8
"""Versions that rows are looked up in, the newest: those of a bucket are fetched for it."""


@dataclass(frozen=True)
class VectorsThen:
    """Versions of embeddings, oldest first.

    Attributes
    ----------
    versions : they
    starts_us : int64 (n,), the moment up to which each knows labels, rising
    cut : why rows before the oldest have no score though vectors were made before these; empty where none were
    """

    versions: tuple[Embeddings, ...]
    starts_us: NDArray[np.int64]
    cut: str = ""

    @classmethod
    def of(cls, live: Embedded | None, start: datetime, most: int = MOST) -> VectorsThen | None:
        """Those of rows from ``start`` on, as far back as the store has them; None where nothing is live.

        Parameters
        ----------
        most : versions that are opened

        Raises
        ------
        DamagedError, FormatError, StoreUnavailable
            The live ones cannot be opened.
        """
        if live is None:
            return None
        found, cut = {live.as_of: live.vectors}, ""
        for name in live.lineage[1:]:
            if min(found) <= start:
                break
            if len(found) == most:
                cut = f"no more than {most} versions of embeddings are looked up"
                break
            older = _opened(live, name)
            if isinstance(older, str):
                cut = older
                break
            found.setdefault(older[0], older[1])  # what was made of the same labels later stands for it
        starts_us = np.array([to_us(at) for at in sorted(found)], np.int64)
        return cls(tuple(found[at] for at in sorted(found)), starts_us, cut)

    @property
    def since(self) -> datetime:
        """The moment from which on rows can have a score."""
        return from_us(int(self.starts_us[0]))

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of a row that its vector is found by."""
        return self.versions[-1].columns

    def places(self, table: Any, event_us: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Where the vector of each row is, for :meth:`vectors`, -1 where there is none; and whether it is older.

        Parameters
        ----------
        table : the rows, (n, columns)
        event_us : when each happened, (n,)

        Raises
        ------
        SchemaError
            A column is missing, or holds what cannot be ids.
        """
        of_row = np.maximum(self.starts_us.searchsorted(event_us, side="right") - 1, 0)
        places = np.full(len(event_us), -1, np.int64)
        for v in np.unique(of_row).tolist():
            rows = np.flatnonzero(of_row == v)
            own = self.versions[v].places_of_rows(table if len(rows) == len(event_us) else table.take(rows))
            places[rows] = np.where(own < 0, -1, own + self._first[v])
        return places, event_us >= self.starts_us[0]

    def vectors(self, places: NDArray[np.int64]) -> NDArray[np.float32]:
        """Vectors at places that rise, none of them below zero; float32 (n, dimensions)."""
        bounds = places.searchsorted(self._first)
        parts = [
            version.vectors_at(places[start:stop] - first)
            for version, first, start, stop in zip(self.versions, self._first, bounds, bounds[1:], strict=False)
        ]
        return np.concatenate(parts)

    @property
    def _first(self) -> NDArray[np.int64]:
        """First place of each version, and the number of all."""
        return np.cumsum([0, *(len(each) + len(each.groups) for each in self.versions)])


def _opened(live: Embedded, name: str) -> tuple[datetime, Embeddings] | str:
    """An older version, and its moment; or why it cannot be used: it was pruned, or is looked up by other columns."""
    try:
        older = Embedded.load(live.store, name)
        vectors = older.vectors
    except StoreUnavailable:
        raise
    except GbdtlrError as error:
        if live.store.has_version("embeddings", name):
            return str(error)
        return f"embeddings/{name} are pruned; prune keeps older ones with --keep or --keep-after"
    if vectors.columns != live.vectors.columns:
        return f"embeddings/{name} are looked up by {', '.join(vectors.columns)}"
    if vectors.dimensions != live.vectors.dimensions:
        return f"embeddings/{name} have {vectors.dimensions} dimensions"
    return older.as_of, vectors
