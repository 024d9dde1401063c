"""Recipes: how the parts of one kind are made, so that whoever lost some, or never had them, can make them again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

from gbdtlr.compute.parts import Slice, Span
from gbdtlr.errors import EngineError


class Shelf(Protocol):
    """Where parts are asked for: those that are kept, and the others made anew."""

    def part(self, key: int, place: int, skip: int = 0) -> Any:
        """Part of a recipe by its key.

        Parameters
        ----------
        skip : how many recipes, from this one on backwards, are followed again although their parts are kept
        """


class Recipe(Protocol):
    """How the parts of one kind are made.

    Attributes
    ----------
    depth : how many recipes lie between it and the seeds
    """

    @property
    def depth(self) -> int: ...

    def made(self, shelf: Shelf, places: Sequence[int], skip: int) -> Iterator[Any]:
        """Parts by their places, in order, which rises."""


@dataclass(frozen=True)
class Begun:
    """Parts made of seeds by a function of several in a row."""

    seeds: Sequence[Any]
    function: Callable[..., Iterator[Any]]
    broadcast: tuple[Any, ...]
    depth: int = 0

    def made(self, shelf: Shelf, places: Sequence[int], skip: int) -> Iterator[Any]:  # noqa: ARG002 - the protocol's
        yield from self.function([self.seeds[place] for place in places], *self.broadcast)


@dataclass(frozen=True)
class Derived:
    """Parts made of other parts, each of one."""

    source: int
    function: Callable[..., Any]
    broadcast: tuple[Any, ...]
    each: Sequence[Any] | None
    depth: int

    def made(self, shelf: Shelf, places: Sequence[int], skip: int) -> Iterator[Any]:
        for place in places:
            own = () if self.each is None else (self.each[place],)
            yield self.function(shelf.part(self.source, place, skip), *own, *self.broadcast)


@dataclass(frozen=True)
class Beside:
    """Pairs of parts."""

    sources: tuple[int, int]
    depth: int

    def made(self, shelf: Shelf, places: Sequence[int], skip: int) -> Iterator[Any]:
        for place in places:
            first, second = (shelf.part(source, place, skip) for source in self.sources)
            yield first, second


@dataclass(frozen=True)
class Regrouped:
    """Parts of other sizes, of the rows of all parts of the source.

    Attributes
    ----------
    sizes : rows of each part of the source
    spans : rows of which of them make each part
    """

    source: int
    sizes: Sequence[int]
    spans: Sequence[Span]
    join: Callable[[list[Slice]], Any]
    depth: int

    def made(self, shelf: Shelf, places: Sequence[int], skip: int) -> Iterator[Any]:
        sources = Sources(self, shelf, skip)
        asked = [self.spans[place] for place in places]
        if all(not one or not other or one[-1][0] <= other[0][0] for one, other in pairwise(asked)):
            yield from (self.join(sources.all_slices(spans)) for spans in asked)
            return
        # Each wants rows of the same parts, which may have to be made anew: once for all.
        rows: dict[tuple[int, int, int], Any] = {}
        for span in sorted({span for spans in asked for span in spans}):
            rows[span] = self.join(sources.slices(*span))
        for spans in asked:
            yield self.join([(rows[span], 0, len(rows[span])) for span in spans])


class Sources:
    """Parts of a :class:`Regrouped`'s source, the last of which is at hand: its neighbours want it too."""

    def __init__(self, recipe: Regrouped, shelf: Shelf, skip: int = 0) -> None:
        self._recipe, self._shelf, self._skip = recipe, shelf, skip
        self._last: tuple[int, Any] | None = None

    def all_slices(self, spans: Sequence[tuple[int, int, int]]) -> list[Slice]:
        """The rows of several spans, one after the other; errors as of :meth:`slices`."""
        return [each for span in spans for each in self.slices(*span)]

    def slices(self, place: int, start: int, stop: int) -> list[Slice]:
        """Those rows of a part of the source, which is made anew as far back as some of them were dropped.

        Raises
        ------
        EngineError
            Made anew, it has other rows than it had.
        """
        skip = self._skip
        while True:
            part = self._part(place, skip)
            try:
                return list(part.slices(start, stop))
            except LookupError:
                self._last = None
                skip += 1
                if skip > self._recipe.depth:
                    raise

    def _part(self, place: int, skip: int) -> Any:
        if self._last is None or self._last[0] != place:
            self._last = None  # before the next one takes room
            self._last = place, self._shelf.part(self._recipe.source, place, skip)
        part, expected = self._last[1], self._recipe.sizes[place]
        if len(part) != expected:
            raise EngineError(
                "samples that were lost with a worker changed before they could be read again: "
                f"{len(part)} rows where there were {expected}; run it once more"
            )
        return part
