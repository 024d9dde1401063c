"""Parts: where the rows are, and functions of one part that go to them and give back what adds up.

Everything that walks over rows is a top-level function ``f(part, *broadcast)``. A part never leaves its place: what
travels is the function, the broadcast values and what the function returns. Here the parts are in this process and
threads do the work; who else holds them needs :meth:`Parts.map`, :meth:`Parts.sum` and :meth:`Parts.derive`, and adds
up with a :class:`~gbdtlr.compute.sums.TreeSum`, which gives the same bytes whoever did which part, and when. Rows are
dealt out anew by :meth:`Parts.regroup` and :meth:`Parts.gather`, two kinds of parts of the same rows laid side by side
by :meth:`Parts.beside`, and other rows put behind by :class:`Chain`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any, Generic, Protocol, TypeVar, cast

from gbdtlr.compute import threads
from gbdtlr.compute.sums import TreeSum, added

Part = TypeVar("Part")
Result = TypeVar("Result")
Other = TypeVar("Other")
Slice = tuple[Any, int, int]
"""Something with rows, and which of them: from the first to before the second number"""
Span = list[tuple[int, int, int]]
"""Parts by their places, and which rows of each"""
Bounds = Callable[[int], Sequence[int]]
"""Where new parts begin and the last ends, (n_parts + 1,), from how many rows there are in all"""


class Rows(Protocol):
    """A part whose rows are dealt out anew, from the first to the last."""

    def __len__(self) -> int: ...

    def slices(self, start: int, stop: int) -> list[Slice]:
        """Those rows; raise LookupError if some of them were dropped."""

    def drop(self, stop: int) -> None:
        """Let go of the rows before that one, which nobody asks for again."""


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

    def beside(self, other: Parts[Other]) -> Parts[tuple[Part, Other]]:
        """Pairs of these parts and as many others, such as the same rows in two kinds."""
        return Parts(list(zip(self, other, strict=True)))

    def regroup(self, bounds: Bounds, join: Callable[[list[Slice]], Result]) -> Parts[Result]:
        """All rows of these parts, which are :class:`Rows`, in their order, in parts of other sizes.

        These are used up on the way, so that little is in memory twice: nobody may ask them for anything afterwards.

        Parameters
        ----------
        join : what makes a part of slices, which are never none
        """
        sizes = self.map(cast(Callable[..., int], len))
        return self.gather(spans(sizes, bounds(sum(sizes))), join)

    def gather(self, found: Sequence[Span], join: Callable[[list[Slice]], Result]) -> Parts[Result]:
        """Rows of these parts, which are :class:`Rows`, in new parts, whatever rows each is of; used up on the way.

        Parameters
        ----------
        found : for each new part, which rows of which parts it has, in the order in which they are joined
        join : what makes a part of slices; of some of them, and then of these and the others, it makes the same as of
            all, and of none a part without rows
        """
        rows = cast(Sequence[Rows], self._parts)
        made = []
        for span in found:
            made.append(join([each for p, start, stop in span for each in rows[p].slices(start, stop)]))
            for p, _, stop in span:
                rows[p].drop(stop)
        return Parts(made)

    def _call(
        self, p: int, function: Callable[..., Result], broadcast: tuple[Any, ...], each: Sequence[Any] | None
    ) -> Result:
        own = () if each is None else (each[p],)
        return function(self._parts[p], *own, *broadcast)


class Chain(Parts[Part]):
    """Parts, and others behind them, wherever either are; a sum is that of the first and that of the others."""

    def __init__(self, first: Parts[Part], others: Parts[Part]) -> None:
        super().__init__(range(len(first) + len(others)))  # type: ignore[arg-type]  # their places stand for the parts
        self._both = first, others

    def __iter__(self) -> Iterator[Part]:
        for parts in self._both:
            yield from parts

    def map(self, function: Callable[..., Result], *broadcast: Any, each: Sequence[Any] | None = None) -> list[Result]:
        return [
            result
            for parts, own in zip(self._both, self._split(each), strict=True)
            for result in parts.map(function, *broadcast, each=own)
        ]

    def sum(
        self,
        function: Callable[..., Result],
        *broadcast: Any,
        each: Sequence[Any] | None = None,
        zero: Result | None = None,
    ) -> Result:
        sums = [
            parts.sum(function, *broadcast, each=own)
            for parts, own in zip(self._both, self._split(each), strict=True)
            if len(parts)
        ]
        if not sums:
            return super().sum(function, zero=zero)
        return sums[0] if len(sums) == 1 else cast(Result, added(*sums))

    def derive(
        self, function: Callable[..., Result], *broadcast: Any, each: Sequence[Any] | None = None
    ) -> Parts[Result]:
        both = (
            parts.derive(function, *broadcast, each=own)
            for parts, own in zip(self._both, self._split(each), strict=True)
        )
        return Chain(*both)

    def beside(self, other: Parts[Other]) -> Parts[tuple[Part, Other]]:
        if not isinstance(other, Chain) or [*map(len, other._both)] != [*map(len, self._both)]:
            raise ValueError("a chain of parts can be laid beside one of as many")
        return Chain(*(one.beside(its) for one, its in zip(self._both, other._both, strict=True)))

    def gather(self, found: Sequence[Span], join: Callable[[list[Slice]], Result]) -> Parts[Result]:
        raise NotImplementedError("rows of a chain of parts stay where they are")

    def _split(self, each: Sequence[Any] | None) -> tuple[Sequence[Any] | None, Sequence[Any] | None]:
        n = len(self._both[0])
        return (None, None) if each is None else (each[:n], each[n:])


def spans(sizes: Sequence[int], bounds: Sequence[int]) -> list[Span]:
    """Which rows of which parts, of these sizes, lie between each two bounds of all rows end to end."""
    found: list[Span] = []
    p, before = 0, 0
    for first, last in pairwise(bounds):
        span: Span = []
        while first < last:
            stop = min(last, before + sizes[p])
            if stop > first:
                span.append((p, first - before, stop - before))
                first = stop
            if first == before + sizes[p]:
                p, before = p + 1, first
        found.append(span)
    return found
