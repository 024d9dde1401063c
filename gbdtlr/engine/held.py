"""Parts that a crew's workers hold; an engine that has such a crew."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from gbdtlr.compute.parts import Bounds, Parts, Slice, Span, spans
from gbdtlr.compute.sums import TreeSum
from gbdtlr.engine.crew import Crew, Kind, by_owner, runs
from gbdtlr.engine.recipes import Begun, Beside, Derived, Recipe, Regrouped
from gbdtlr.engine.worker import Call, Task

Seed = TypeVar("Seed")
Part = TypeVar("Part")
Result = TypeVar("Result")
Other = TypeVar("Other")
Item = TypeVar("Item")


class Held(Parts[Part]):
    """Parts in other processes: functions and broadcast values go there, what they return comes here."""

    def __init__(self, crew: Crew, kind: Kind, recipe: Recipe) -> None:
        super().__init__(range(kind.n))  # type: ignore[arg-type]  # their places stand for the parts
        self._crew, self._kind, self._recipe = crew, kind, recipe
        crew.held_by(self, kind)

    @classmethod
    def made(cls, crew: Crew, recipe: Recipe, n: int, sources: tuple[Kind, ...]) -> Held[Any]:
        """Parts by a recipe, made where they are to stay."""
        kind = crew.learn(recipe, n, sources)
        held: Held[Any] = cls(crew, kind, recipe)
        with held._or_let_go():
            crew.make(kind)
        return held

    @contextmanager
    def _or_let_go(self) -> Iterator[None]:
        """Where making the parts fails inside, they are not made again for a worker that is lost later."""
        try:
            yield
        except BaseException:
            self._crew.let_go(self._kind)
            raise

    def __iter__(self) -> Iterator[Part]:
        """The parts themselves, which come here one by one."""
        for place in range(len(self)):
            yield from self._map([place], (itself, ()), None)

    def map(self, function: Callable[..., Result], *broadcast: Any, each: Sequence[Any] | None = None) -> list[Result]:
        return self._map(range(len(self)), (function, broadcast), each)

    def _map(
        self, places: Sequence[int], call: tuple[Callable[..., Any], tuple[Any, ...]], each: Sequence[Any] | None
    ) -> list[Any]:
        tasks = self._tasks("map", each, places)
        answers = self._crew.ask(self._kind, tasks, self._crew.blob(Call(*call)))
        return [result for slot in sorted(answers) for result in answers[slot]]

    def sum(
        self,
        function: Callable[..., Result],
        *broadcast: Any,
        each: Sequence[Any] | None = None,
        zero: Result | None = None,
    ) -> Result:
        if not len(self):
            return super().sum(function, zero=zero)
        total: TreeSum[Result] = TreeSum(len(self))
        tasks = self._tasks("sum", each, range(len(self)))
        answers = self._crew.ask(self._kind, tasks, self._crew.blob(Call(function, broadcast)))
        for answer in answers.values():
            for (level, place), value in answer.items():
                total.add(place, value, level)
        return total.result()

    def derive(
        self, function: Callable[..., Result], *broadcast: Any, each: Sequence[Any] | None = None
    ) -> Parts[Result]:
        recipe = Derived(self._kind.key, function, broadcast, each, self._recipe.depth + 1)
        return Held.made(self._crew, recipe, len(self), (self._kind,))

    def beside(self, other: Parts[Other]) -> Parts[tuple[Part, Other]]:
        if not isinstance(other, Held) or len(other) != len(self):
            raise ValueError("parts can be laid beside as many of the same crew")
        depth = max(self._recipe.depth, other._recipe.depth) + 1
        recipe = Beside((self._kind.key, other._kind.key), depth)
        return Held.made(self._crew, recipe, len(self), (self._kind, other._kind))

    def regroup(self, bounds: Bounds, join: Callable[[list[Slice]], Result]) -> Parts[Result]:
        sizes = self.map(len)
        return self._gathered(sizes, spans(sizes, bounds(sum(sizes))), join)

    def gather(self, found: Sequence[Span], join: Callable[[list[Slice]], Result]) -> Parts[Result]:
        return self._gathered(self.map(len), found, join)

    def _gathered(
        self, sizes: Sequence[int], cuts: Sequence[Span], join: Callable[[list[Slice]], Result]
    ) -> Parts[Result]:
        crew = self._crew
        recipe = Regrouped(self._kind.key, sizes, cuts, join, self._recipe.depth + 1)
        kind = crew.learn(recipe, len(cuts), (self._kind,))
        held: Held[Result] = Held(crew, kind, recipe)
        owner = self._owner()
        places = crew.places(kind)
        abroad = {
            slot: [run for place in own for holder, run in runs(cuts[place], owner) if holder != slot]
            for slot, own in places.items()
        }
        handles = crew.give(kind, by_owner([run for each in abroad.values() for run in each], owner))
        tasks = {slot: Task("assemble", kind.key, own, given=abroad[slot]) for slot, own in places.items()}
        with held._or_let_go():
            crew.ask(kind, tasks, handles={slot: [handles[run] for run in each] for slot, each in abroad.items()})
        return held

    def _owner(self) -> Callable[[int], int]:
        """The slot that has a part, by its place."""
        places = self._crew.places(self._kind)
        slots, starts = [*places], [each.start for each in places.values()]
        return lambda place: slots[bisect_right(starts, place) - 1]

    def _tasks(self, what: str, each: Sequence[Any] | None, asked: Sequence[int]) -> dict[int, Task]:
        tasks = {}
        for slot, places in self._crew.places(self._kind).items():
            if own := [place for place in asked if place in places]:
                values = None if each is None else [each[place] for place in own]
                tasks[slot] = Task(what, self._kind.key, own, len(self), values)
        return tasks


class Distributed:
    """An engine whose parts a crew holds, which is called together when it is first needed."""

    def __init__(self, call_together: Callable[[], Crew]) -> None:
        self._call_together = call_together
        self._crew: Crew | None = None

    @property
    def crew(self) -> Crew:
        """The workers."""
        if self._crew is None:
            self._crew = self._call_together()
        return self._crew

    @property
    def n_workers(self) -> int:
        """As of :class:`~gbdtlr.engine.engine.Engine`."""
        return self.crew.n_slots

    def parts(self, seeds: Sequence[Seed], function: Callable[..., Iterator[Part]], *broadcast: Any) -> Parts[Part]:
        """As of :class:`~gbdtlr.engine.engine.Engine`."""
        return Held.made(self.crew, Begun(seeds, function, broadcast), len(seeds), ())

    def stream(
        self, seeds: Sequence[Seed], function: Callable[..., Iterator[Item]], *broadcast: Any
    ) -> Iterator[Iterator[Item]]:
        """As of :class:`~gbdtlr.engine.engine.Engine`."""
        return self.crew.stream(seeds, self.crew.blob(Call(function, broadcast)))

    def close(self) -> None:
        """End the workers."""
        if self._crew is not None:
            crew, self._crew = self._crew, None
            crew.close()


def itself(part: Part) -> Part:
    """The part as it is."""
    return part
