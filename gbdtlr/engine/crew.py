"""The crew: the workers of a job and which parts each of them holds; those of a lost one are made again by others."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol
from weakref import WeakSet, finalize

from gbdtlr.compute.parts import Span
from gbdtlr.engine.engine import OnEvent
from gbdtlr.engine.recipes import Recipe
from gbdtlr.engine.wire import packed, unpacked
from gbdtlr.engine.worker import Failure, Lesson, Run, Task
from gbdtlr.errors import EngineError

AHEAD = 2
"""Items of a stream that are asked for before they are wanted."""
EVEN = 8
"""Parts of a worker that may be one more or less for sums to be whole where the workers' parts meet."""


class WorkerLost(Exception):
    """A worker is gone, with all it held."""


class Cluster(Protocol):
    """Processes that each have a :class:`~gbdtlr.engine.worker.Worker`, and carry bytes to and from it.

    Attributes
    ----------
    hosts : of each process, what people know its machine by
    """

    hosts: Sequence[str]

    def put(self, data: bytes) -> Any:
        """What stands for these bytes in any number of :meth:`call` s, for which they travel once to each machine."""

    def call(self, worker: int, method: str, *arguments: Any, n_results: int = 1) -> list[Any]:
        """Handles of what the worker's method gives; calls of one worker are done one after the other.

        Arguments that came of :meth:`put` arrive as the bytes; handles in a list stay handles.
        """

    def get(self, handle: Any) -> bytes:
        """What a handle stands for, once it is there; raise WorkerLost if that will never be."""

    def close(self) -> None:
        """End the processes."""


@dataclass(eq=False)
class Kind:
    """One kind of parts, as the crew knows it.

    Attributes
    ----------
    n : how many parts there are
    sources : kinds its recipe starts from, which are remembered as long as it is
    lesson : the recipe, ready to be sent
    knowing : workers that have had it
    """

    key: int
    n: int
    sources: tuple[Kind, ...]
    lesson: Any
    knowing: set[int] = field(default_factory=set)


class Crew:
    """Workers, and slots of parts: each slot has the same share of every kind of parts, and one worker that holds it.

    Attributes
    ----------
    sent, received : bytes that have gone to all workers so far, and come from them
    """

    def __init__(self, cluster: Cluster, on_event: OnEvent | None = None) -> None:
        self._cluster, self._on_event = cluster, on_event
        self._alive = list(range(len(cluster.hosts)))
        self._worker_of_slot = list(self._alive)
        self._keys = itertools.count(1)
        self._held: WeakSet[Kind] = WeakSet()
        self._drop: deque[int] = deque()
        self._forget: deque[int] = deque()
        self._leftover: dict[int, tuple[list[int], list[int]]] = {worker: ([], []) for worker in self._alive}
        self.sent = self.received = 0

    @property
    def n_slots(self) -> int:
        """How many there are, whoever holds them."""
        return len(self._worker_of_slot)

    def learn(self, recipe: Recipe, n: int, sources: tuple[Kind, ...]) -> Kind:
        """A new kind of ``n`` parts; nothing is made yet."""
        key = next(self._keys)
        kind = Kind(key, n, sources, self.blob(Lesson(key, recipe)))
        finalize(kind, self._forget.append, key)
        return kind

    def held_by(self, owner: object, kind: Kind) -> None:
        """Note that the parts are kept until ``owner`` is gone."""
        self._held.add(kind)
        finalize(owner, self.let_go, kind)

    def let_go(self, kind: Kind) -> None:
        """Note that the parts are not wanted any more, or could not be made."""
        self._held.discard(kind)
        self._drop.append(kind.key)

    def blob(self, value: Any) -> Any:
        """A value ready to be sent to any number of workers."""
        data = packed(value)
        return _Blob(self._cluster.put(data), len(data))

    def places(self, kind: Kind) -> dict[int, range]:
        """The parts of each slot that has some."""
        cuts = shares_of(kind.n, len(self._worker_of_slot))
        return {slot: range(*each) for slot, each in enumerate(itertools.pairwise(cuts)) if each[0] < each[1]}

    def ask(
        self,
        kind: Kind,
        tasks: Mapping[int, Task],
        call: Any = None,
        handles: Mapping[int, Sequence[Any]] | None = None,
    ) -> dict[int, Any]:
        """What the workers of these slots say to their tasks; a lost one's is done by another.

        Raises
        ------
        EngineError
            All workers are lost.
        Exception
            What a worker raised, that of the lowest slot.
        """
        answers: dict[int, Any] = {}
        waiting = dict(tasks)
        while waiting:
            asked = {slot: self._send(slot, kind, task, call, (handles or {}).get(slot, ())) for slot, task in
                     waiting.items()}  # fmt: skip
            lost: list[int] = []
            for slot, (worker, handle) in asked.items():
                try:
                    answers[slot] = self._answer(handle)
                    del waiting[slot]
                except WorkerLost:
                    lost.append(worker)
            if lost:
                self._replace({*lost})
        for _, answer in sorted(answers.items()):
            if isinstance(answer, Failure):
                answer.error.add_note(answer.trace)
                raise answer.error
        return answers

    def give(self, kind: Kind, rows: Mapping[int, Sequence[Run]]) -> dict[Run, Any]:
        """Handles of runs of rows of the source of ``kind``, from the slots that hold them."""
        handles: dict[Run, Any] = {}
        for slot, own in rows.items():
            worker = self._worker_of_slot[slot]
            blobs = self._blobs(worker, kind, Task("give", kind.key, rows=own))
            given = self._cluster.call(worker, "give", len(own), *(blob.data for blob in blobs), n_results=len(own))
            handles.update(zip(own, given, strict=True))
        return handles

    def make(self, kind: Kind) -> None:
        """Have all parts made and kept."""
        self.ask(kind, {slot: Task("make", kind.key, places) for slot, places in self.places(kind).items()})

    def stream(self, seeds: Sequence[Any], call: Any) -> Iterator[Iterator[Any]]:
        """What a call gives for each seed, item by item; as many seeds are begun as there are workers.

        Parameters
        ----------
        call : a :class:`~gbdtlr.engine.worker.Call`, ready to be sent
        """
        begun: deque[_Stream] = deque()
        for number, seed in enumerate(seeds):
            begun.append(_Stream(self, next(self._keys), seed, call, number))
            if len(begun) >= len(self._alive):
                yield begun[0].items()
                begun.popleft()
        while begun:
            yield begun[0].items()
            begun.popleft()

    def worker_of(self, number: int) -> int:
        """A worker for the stream of that number."""
        return self._alive[number % len(self._alive)]

    def send_to(self, worker: int, task: Task, call: Any) -> Any:
        """The handle of what a worker says to a task that concerns no parts."""
        data = packed(task)
        self.sent += len(data) + call.n_bytes
        (handle,) = self._cluster.call(worker, "work", [], call.data, data)
        return handle

    def answer(self, worker: int, handle: Any) -> Any:
        """What a worker said; None where it was lost, which others then make up for."""
        try:
            answer = self._answer(handle)
        except WorkerLost:
            if worker in self._alive:
                self._replace({worker})
            return None
        if isinstance(answer, Failure):
            answer.error.add_note(answer.trace)
            raise answer.error
        return answer

    def close(self) -> None:
        """End the workers, and tell how many bytes went to them and came from them."""
        self._cluster.close()
        if self._on_event is not None:
            self._on_event("engine.end", sent=self.sent, received=self.received)

    def _send(self, slot: int, kind: Kind, task: Task, call: Any, handles: Sequence[Any]) -> tuple[int, Any]:
        worker = self._worker_of_slot[slot]
        blobs = self._blobs(worker, kind, task, call)
        (handle,) = self._cluster.call(worker, "work", list(handles), *(blob.data for blob in blobs))
        return worker, handle

    def _blobs(self, worker: int, kind: Kind, task: Task, call: Any = None) -> list[_Blob]:
        """What a worker is sent: recipes it does not know yet, the call, and the task."""
        self._share_leftovers()
        drop, forget = self._leftover[worker]
        self._leftover[worker] = [], []
        data = packed(Task(**{**vars(task), "drop": drop, "forget": forget}))
        blobs = [*self._lessons(worker, kind), *([] if call is None else [call]), _Blob(data, len(data))]
        self.sent += sum(blob.n_bytes for blob in blobs)
        return blobs

    def _lessons(self, worker: int, kind: Kind) -> Iterable[_Blob]:
        if worker not in kind.knowing:
            for source in kind.sources:
                yield from self._lessons(worker, source)
            kind.knowing.add(worker)
            yield kind.lesson

    def _share_leftovers(self) -> None:
        for told, which in ((self._drop, 0), (self._forget, 1)):
            while told:  # finalizers may add to it at any time
                key = told.popleft()
                for leftover in self._leftover.values():
                    leftover[which].append(key)

    def _answer(self, handle: Any) -> Any:
        data = self._cluster.get(handle)
        self.received += len(data)
        return unpacked(data)

    def _replace(self, lost: set[int]) -> None:
        """Give the slots of lost workers to others, which make again all that is held."""
        hosts = sorted({self._cluster.hosts[worker] for worker in lost})
        self._alive = [worker for worker in self._alive if worker not in lost]
        if not self._alive:
            raise EngineError(
                f"all {len(self._cluster.hosts)} workers are lost, the last on {', '.join(hosts)}; was their memory "
                "full? Use more or larger machines, a shorter window, or [samples] negative_keep_rate"
            )
        orphans = [slot for slot, worker in enumerate(self._worker_of_slot) if worker in lost]
        for slot in orphans:
            load = {worker: self._worker_of_slot.count(worker) for worker in self._alive}
            self._worker_of_slot[slot] = min(load, key=lambda worker: (load[worker], worker))
        if self._on_event is not None:
            self._on_event("engine.lost", host=", ".join(hosts), workers=len(self._alive))
        for kind in sorted(self._held, key=lambda kind: kind.key):
            places = self.places(kind)
            mine = {slot: Task("make", kind.key, places[slot]) for slot in orphans if slot in places}
            self.ask(kind, mine)


class _Stream:
    """Items of one seed, of which a few are asked for before they are wanted."""

    def __init__(self, crew: Crew, key: int, seed: Any, call: Any, number: int) -> None:
        self._crew, self._key, self._seed, self._call, self._number = crew, key, seed, call, number
        self._n_taken = 0
        self._begin()

    def _begin(self) -> None:
        self._worker = self._crew.worker_of(self._number)
        self._asked = deque(self._ask() for _ in range(AHEAD))

    def _ask(self) -> Any:
        task = Task("next", self._key, each=(self._seed, self._n_taken))
        return self._crew.send_to(self._worker, task, self._call)

    def items(self) -> Iterator[Any]:
        """The items, once."""
        while True:
            answer = self._crew.answer(self._worker, self._asked.popleft())
            if answer is None:
                self._begin()
                continue
            if not answer:
                return
            self._n_taken += 1
            self._asked.append(self._ask())
            yield answer[0]


@dataclass(frozen=True)
class _Blob:
    data: Any
    n_bytes: int


def shares_of(n: int, n_slots: int) -> list[int]:
    """First part of each slot, and ``n``: about as many each, cut where few sums have to cross from one to the next."""
    unit = 1
    while unit * 2 * EVEN * n_slots <= n:
        unit *= 2
    cuts = [min(n, (slot * n // n_slots + unit // 2) // unit * unit) for slot in range(n_slots)]
    return [*cuts, n]


def runs(span: Span, owner: Callable[[int], int]) -> Iterator[tuple[int, Run]]:
    """What one slot after the other gives to a new part, which travels as one."""
    for slot, own in itertools.groupby(span, lambda each: owner(each[0])):
        yield slot, tuple(own)


def by_owner(given: Iterable[Run], owner: Callable[[int], int]) -> dict[int, list[Run]]:
    """Runs by the slot that holds their parts."""
    found: dict[int, list[Run]] = {}
    for run in given:
        found.setdefault(owner(run[0][0]), []).append(run)
    return found
