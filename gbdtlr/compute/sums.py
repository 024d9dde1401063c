"""Sums in a fixed binary tree: the same bytes whichever value comes first, and whoever adds which.

Of n values, neighbours are added, then neighbours among the sums, and so on; one without a neighbour goes up as it is::

    0   1   2   3   4
     \\ /     \\ /    |
    (0 1)   (2 3)   4
        \\   /       |
      (0 1 2 3)     4
             \\     /
           (0 1 2 3 4)
"""

from __future__ import annotations

import threading
from typing import Any, Generic, TypeVar

import numpy as np

Value = TypeVar("Value")


class TreeSum(Generic[Value]):
    """Sum of ``n`` values that come in any order, from any threads; each waits only for its neighbour."""

    def __init__(self, n: int) -> None:
        self._n = n
        self._waiting: dict[tuple[int, int], Value] = {}
        self._lock = threading.Lock()

    def add(self, i: int, value: Value, level: int = 0) -> None:
        """Add value ``i``, which is the sum's to change from now on.

        Parameters
        ----------
        level : of a level above 0, ``value`` is one that another sum of as many values gave as its :meth:`sums`
        """
        n = self._n
        for _ in range(level):
            n = -(-n // 2)
        while n > 1:
            if (neighbour := i ^ 1) < n:
                with self._lock:
                    if (level, neighbour) not in self._waiting:
                        self._waiting[level, i] = value
                        return
                    other = self._waiting.pop((level, neighbour))
                value = added(value, other) if i < neighbour else added(other, value)
            level, i, n = level + 1, i // 2, -(-n // 2)
        self._waiting[level, 0] = value

    def sums(self) -> dict[tuple[int, int], Value]:
        """What has been added up of the values so far, by level and place, for another sum to :meth:`add`."""
        return dict(self._waiting)

    def result(self) -> Value:
        """The sum; all values must have been added."""
        (total,) = self._waiting.values()
        return total


def added(a: Any, b: Any) -> Any:
    """``a + b`` of numbers, arrays or whatever else adds up, and of tuples of these; arrays are added in float64.

    ``a`` may be changed.
    """
    if isinstance(a, tuple):
        return tuple(added(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, np.ndarray) and a.dtype.kind == "f":
        return np.add(a, b, out=a if a.dtype == np.float64 else None, dtype=np.float64)
    return a + b
