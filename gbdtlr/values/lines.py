"""Lines: columns of numbers that lie in one piece of memory, to be read from there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

MAX_ORDERS = 64


class Names:
    """Names of columns, and where in their order those are that somebody asks for.

    Attributes
    ----------
    all : the names, each once
    place : of each name
    """

    def __init__(self, names: tuple[str, ...]) -> None:
        self.all = names
        self.place = {name: i for i, name in enumerate(names)}
        self._orders: dict[tuple[str, ...], NDArray[np.intp]] = {}

    def order(self, names: tuple[str, ...]) -> NDArray[np.intp]:
        """Places of these names, (n,).

        Raises
        ------
        KeyError
            One is not there.
        """
        order = self._orders.get(names)
        if order is None:
            order = np.array([self.place[name] for name in names], np.intp)
            if len(self._orders) < MAX_ORDERS:  # whoever never asks for the same must not fill the memory
                self._orders[names] = order
        return order


class Lines(Mapping[str, NDArray[np.float64]]):
    """A frame of columns of float64 without gaps, all pieces of one line of numbers.

    Attributes
    ----------
    names : of the columns
    numbers : the line, float64 (m,), read-only
    starts : int64 (n_columns,), where each column begins on it
    n_rows : numbers of each
    """

    def __init__(self, names: Names, numbers: NDArray[np.float64], starts: NDArray[np.int64], n_rows: int) -> None:
        self.names = names
        self.numbers = numbers
        self.starts = starts
        self.n_rows = n_rows

    def __getitem__(self, name: str) -> NDArray[np.float64]:
        start = self.starts[self.names.place[name]]
        return self.numbers[start : start + self.n_rows]

    def __iter__(self) -> Iterator[str]:
        return iter(self.names.all)

    def __len__(self) -> int:
        return len(self.names.all)

    def starts_of(self, names: tuple[str, ...]) -> NDArray[np.int64] | None:
        """Where the columns of these names begin, (n,); None if one is not there."""
        try:
            return self.starts[self.names.order(names)]
        except KeyError:
            return None
