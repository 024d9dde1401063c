"""The worker: keeps parts in a process of its own and works on them as it is told, in bytes and bytes back."""

from __future__ import annotations

import os
import platform
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from itertools import islice
from typing import Any

import pyarrow as pa

from gbdtlr import __version__
from gbdtlr.compute import threads
from gbdtlr.compute.parts import Slice
from gbdtlr.compute.sums import TreeSum
from gbdtlr.engine.recipes import Recipe, Regrouped, Sources
from gbdtlr.engine.wire import packed, unpacked

Run = tuple[tuple[int, int, int], ...]
"""Rows that travel together: part, first row and the one after the last, of parts in a row"""
LIBRARIES = ("lightgbm", "numpy", "pyarrow")


@dataclass(frozen=True)
class Setup:
    """What a worker takes over from who started it.

    Attributes
    ----------
    folder : relative paths start there, where there is such a folder
    environ : variables, such as the credentials of buckets
    paths : where modules are imported from, as far as they are there
    threads : of the numerical work
    """

    folder: str
    environ: Mapping[str, str]
    paths: Sequence[str]
    threads: int

    def take(self) -> None:
        """Take it over."""
        os.environ.update(self.environ)
        if os.path.isdir(self.folder):
            os.chdir(self.folder)
        sys.path.extend(path for path in self.paths if path not in sys.path and os.path.exists(path))
        threads.set_threads(self.threads)
        pa.set_cpu_count(self.threads)  # Arrow would use all processors in every worker of a machine


@dataclass(frozen=True)
class Lesson:
    """A recipe to be known from now on."""

    key: int
    recipe: Recipe


@dataclass(frozen=True)
class Call:
    """A function of a part, a value of its own where there is one, and broadcast values."""

    function: Callable[..., Any]
    broadcast: tuple[Any, ...]


@dataclass(frozen=True)
class Task:
    """What is to be done with some of the parts of one kind.

    Attributes
    ----------
    what : ``make`` them and keep them; ``map`` or ``sum`` a call; ``give`` rows of them to others; ``assemble`` them of
        rows that others gave; or, of no parts, the ``next`` item of a call
    places : which parts, rising
    n : how many there are in all, of a sum
    each : for each of the places a value of its own, or None; for the next item the seed, and how many to leave out
    rows : to ``give``
    given : to ``assemble``: which rows the handles that come along hold
    drop : keys of parts not needed any more
    forget : keys of recipes not needed any more
    """

    what: str
    key: int
    places: Sequence[int] = ()
    n: int = 0
    each: Sequence[Any] | None = None
    rows: Sequence[Run] = ()
    given: Sequence[Run] = ()
    drop: Sequence[int] = ()
    forget: Sequence[int] = ()


@dataclass(frozen=True)
class Failure:
    """What a worker raised.

    Attributes
    ----------
    error : the error itself, where it can travel
    trace : where it was raised, for whoever looks for a fault of ours
    """

    error: BaseException
    trace: str

    @classmethod
    def of(cls, error: BaseException) -> Failure:
        """An error with where it was raised."""
        trace = "".join(traceback.format_exception(error))
        try:
            unpacked(packed(error))
        except Exception:
            error = RuntimeError(f"{type(error).__name__}: {error}")
        return cls(error.with_traceback(None), trace)


@dataclass
class Worker:
    """Parts kept in this process.

    Attributes
    ----------
    fetch : gives what a handle stands for; raises an error where it is lost
    """

    fetch: Callable[[Any], bytes]
    _recipes: dict[int, Recipe] = field(default_factory=dict)
    _parts: dict[int, dict[int, Any]] = field(default_factory=dict)
    _streams: dict[int, Iterator[Any]] = field(default_factory=dict)

    def work(self, handles: Sequence[Any], *blobs: bytes) -> bytes:
        """Do one task, the last of what comes along; lessons and a call may come before it."""
        try:
            return packed(self._done(handles, *map(unpacked, blobs)))
        except Exception as error:
            return packed(Failure.of(error))

    def give(self, n: int, *blobs: bytes) -> list[bytes]:
        """Rows for others, of ``n`` runs that the task names."""
        try:
            task = self._learned(*map(unpacked, blobs))
            recipe = self._recipes[task.key]
            assert isinstance(recipe, Regrouped)
            sources = Sources(recipe, self)
            return [packed(recipe.join(sources.all_slices(run))) for run in task.rows]
        except Exception as error:
            return [packed(Failure.of(error))] * n

    def part(self, key: int, place: int, skip: int = 0) -> Any:
        """As of :class:`gbdtlr.engine.recipes.Shelf`."""
        held = self._parts.get(key)
        if not skip and held is not None and place in held:
            return held[place]
        return next(self._recipes[key].made(self, [place], max(0, skip - 1)))

    def _learned(self, *told: Any) -> Any:
        *lessons, task = told
        for lesson in lessons:
            if isinstance(lesson, Lesson):
                self._recipes.setdefault(lesson.key, lesson.recipe)
        for key in task.drop:
            self._parts.pop(key, None)
        for key in task.forget:
            self._recipes.pop(key, None)
        return task

    def _done(self, handles: Sequence[Any], *told: Any) -> Any:
        task = self._learned(*told)
        if task.what == "make":
            return self._make(task)
        if task.what == "assemble":
            return self._assemble(task, handles)
        call = next(each for each in told if isinstance(each, Call))
        if task.what == "map":
            return self._map(task, call)
        if task.what == "next":
            return self._next(task, call)
        total: TreeSum[Any] = TreeSum(task.n)
        threads.run(len(task.places), lambda i: total.add(task.places[i], self._call(task, call, i)))
        return total.sums()

    def _map(self, task: Task, call: Call) -> list[Any]:
        results: list[Any] = [None] * len(task.places)

        def work(i: int) -> None:
            results[i] = self._call(task, call, i)

        threads.run(len(results), work)
        return results

    def _next(self, task: Task, call: Call) -> tuple[Any, ...]:
        """The next item, in a tuple; an empty one at the end."""
        assert task.each is not None
        seed, skipped = task.each
        if task.key not in self._streams:
            items = call.function(seed, *call.broadcast)
            self._streams[task.key] = items if not skipped else islice(items, skipped, None)
        for item in self._streams[task.key]:
            return (item,)
        self._streams[task.key] = iter(())
        return ()

    def _call(self, task: Task, call: Call, i: int) -> Any:
        own = () if task.each is None else (task.each[i],)
        return call.function(self.part(task.key, task.places[i]), *own, *call.broadcast)

    def _make(self, task: Task) -> None:
        recipe, held = self._recipes[task.key], self._parts.setdefault(task.key, {})
        missing = [place for place in task.places if place not in held]
        if recipe.depth and not isinstance(recipe, Regrouped):

            def work(i: int) -> None:
                held[missing[i]] = next(recipe.made(self, [missing[i]], 0))

            threads.run(len(missing), work)
            return
        for place, part in zip(missing, recipe.made(self, missing, 0), strict=True):
            held[place] = part

    def _assemble(self, task: Task, handles: Sequence[Any]) -> None:
        """Parts of rows that are here or that others gave; of what got lost on the way, the source is made anew."""
        recipe, held = self._recipes[task.key], self._parts.setdefault(task.key, {})
        assert isinstance(recipe, Regrouped)
        given = {run[0]: (run, handle) for run, handle in zip(task.given, handles, strict=True)}
        sources = Sources(recipe, self)
        for place in task.places:
            if place in held:  # made again already
                continue
            slices: list[Slice] = []
            spans, at = recipe.spans[place], 0
            while at < len(spans):
                run, handle = given.get(spans[at], ((spans[at],), None))
                there = self._fetched(handle)
                slices += sources.all_slices(run) if there is None else [(there, 0, len(there))]
                at += len(run)
            held[place] = recipe.join(slices)
            for own, _, stop in recipe.spans[place]:
                if own in self._parts.get(recipe.source, {}):
                    self._parts[recipe.source][own].drop(stop)
        self._parts.pop(recipe.source, None)

    def _fetched(self, handle: Any) -> Any:
        if handle is None:
            return None
        try:
            found = unpacked(self.fetch(handle))
        except Exception:  # whatever the cluster says of a worker that is gone
            return None
        return None if isinstance(found, Failure) else found


def versions() -> dict[str, str]:
    """Versions of what must be the same on all machines for bytes to be the same."""
    found = {"Python": platform.python_version(), "gbdtlr": __version__}
    for library in LIBRARIES:
        try:
            found[library] = version(library)
        except PackageNotFoundError:
            found[library] = "none"
    return found
