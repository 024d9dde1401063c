"""Parts: where the rows are, and functions of one part that go to them and give back what adds up.

Everything that walks over rows is a top-level function ``f(part, *broadcast)``. A part never leaves its place: what
travels is the function, the broadcast values and what the function returns. Here the parts are in this process and
threads do the work; who else holds them needs :meth:`Parts.map`, :meth:`Parts.sum` and :meth:`Parts.derive`, and adds
up with a :class:`~gbdtlr.compute.sums.TreeSum`, which gives the same bytes whoever did which part, and when.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, TypeVar

from gbdtlr.compute import threads
from gbdtlr.compute.sums import TreeSum

Part = TypeVar("Part")
Result = TypeVar("Result")


class Parts(Generic[Part]):
    """Parts in this process, in a fixed order."""

    def __init__(self, parts: Sequence[Part] = ()) -> None:
        self._parts = parts

    def __len__(self) -> int:
        return len(self._parts)

    def __iter__(self) -> Iterator[Part]:
        """The parts themselves, which only who has them all can give."""
        return iter(self._parts)

    def map(self, function: Callable[..., Result], *broadcast: Any, each: Sequence[Any] | None = None) -> list[Result]:
        """``function(part, *broadcast)`` of every part, in their order.

        Parameters
        ----------
        each : for every part a value of its own, given to the function before the broadcast ones
        """
        results: list[Any] = [None] * len(self._parts)

        def work(p: int) -> None:
            results[p] = self._call(p, function, broadcast, each)

        threads.run(len(self._parts), work)
        return results

    def sum(
        self,
        function: Callable[..., Result],
        *broadcast: Any,
        each: Sequence[Any] | None = None,
        zero: Result | None = None,
    ) -> Result:
        """Sum of what :meth:`map` gives, added in a fixed binary tree; none of it is kept longer than that takes.

        Parameters
        ----------
        each : as of :meth:`map`
        zero : the sum of no parts

        Raises
        ------
        ValueError
            There are no parts, and no ``zero``.
        """
        if not self._parts:
            if zero is None:
                raise ValueError("there are no parts to add up")
            return zero
        total: TreeSum[Result] = TreeSum(len(self._parts))
        threads.run(len(self._parts), lambda p: total.add(p, self._call(p, function, broadcast, each)))
        return total.result()

    def derive(
        self, function: Callable[..., Result], *broadcast: Any, each: Sequence[Any] | None = None
    ) -> Parts[Result]:
        """As :meth:`map`, but what the function returns stays where its part is: parts of another kind."""
        return Parts(self.map(function, *broadcast, each=each))

    def _call(
        self, p: int, function: Callable[..., Result], broadcast: tuple[Any, ...], each: Sequence[Any] | None
    ) -> Result:
        own = () if each is None else (each[p],)
        return function(self._parts[p], *own, *broadcast)
