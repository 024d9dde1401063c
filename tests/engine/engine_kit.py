"""What the tests of engines share: a pretended cluster, whose workers can be killed, and what every engine must do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gbdtlr.compute.parts import Chain
from gbdtlr.engine import LOCAL, Engine
from gbdtlr.engine.crew import Crew, WorkerLost
from gbdtlr.engine.held import Distributed
from gbdtlr.engine.worker import Worker
from gbdtlr.errors import EngineError
from gbdtlr.head.codes import Batches, Codes, bounds, cut, joined


class Pretended:
    """A cluster in this process: all that goes to a worker or comes from it is bytes, and dead is dead.

    Parameters
    ----------
    deaths : by the number of a call, which worker dies in it: before anybody has its result
    """

    def __init__(self, n: int, deaths: dict[int, int] | None = None) -> None:
        self.hosts = [f"host{i}" for i in range(n)]
        self.workers: list[Worker | None] = [Worker(self.get) for _ in range(n)]
        self.deaths, self.n_calls, self.closed = deaths or {}, 0, False
        self.gone_after: int | None = None

    def put(self, data: bytes) -> Any:
        assert isinstance(data, bytes)
        return data

    def call(self, worker: int, method: str, *arguments: Any, n_results: int = 1) -> list[Any]:
        assert not self.closed
        dies = self.deaths.pop(self.n_calls, None)
        self.n_calls += 1
        if self.gone_after is not None and self.n_calls > self.gone_after:
            raise EngineError("the cluster went away")
        if dies is not None:
            self.workers[dies % len(self.workers)] = None
        found = self.workers[worker]
        if found is None:
            return [_Gone()] * n_results
        given = getattr(found, method)(*arguments)
        results = given if method == "give" else [given]
        assert all(isinstance(each, bytes) for each in results)
        return [(worker, found, each) for each in results]

    def get(self, handle: Any) -> bytes:
        if isinstance(handle, _Gone) or self.workers[handle[0]] is not handle[1]:
            raise WorkerLost("it is gone")
        return handle[2]

    def close(self) -> None:
        self.closed = True


class _Gone:
    pass


def pretended(n: int, deaths: dict[int, int] | None = None, told: list[Any] | None = None) -> Distributed:
    """An engine of so many workers, all in this process."""
    on_event = None if told is None else lambda name, **fields: told.append((name, fields))
    crew = Crew(Pretended(n, deaths), on_event)
    return Distributed(lambda: crew)


# Functions of parts, which every process can import.


def numbers(seeds: Any, times: float) -> Iterator[np.ndarray]:
    for seed in seeds:
        yield np.random.default_rng(seed).lognormal(0, 5, 40 + seed) * times


def failing(seeds: Any, at: int) -> Iterator[int]:
    for seed in seeds:
        if seed >= at:
            raise KeyError(seed)
        yield seed


def moments(values: np.ndarray, power: float) -> tuple[int, np.ndarray, np.ndarray]:
    return len(values), np.array([values.sum(), (values**power).sum()]), np.float32([values.sum()])


def shifted(values: np.ndarray, own: float, times: float) -> np.ndarray:
    return (values + own) * times


def gradient_like(values: np.ndarray, n: int) -> np.ndarray:
    out = np.zeros((n, 2), np.float32)
    out[int(values[0]) % n] = values[:2]
    out[0] = -0.0
    return out


def difference(pair: tuple[np.ndarray, np.ndarray]) -> float:
    return float((pair[0] - pair[1]).sum())


def first(values: np.ndarray) -> float:
    return float(values[0])


def divided(values: np.ndarray, by: float) -> float:
    if not by:
        raise ZeroDivisionError(f"of {len(values)} numbers")
    return float(values[0] / by)


def batches(seeds: Any, folder: str) -> Iterator[Batches]:
    for seed in seeds:
        if folder:
            with open(Path(folder) / "read", "a") as file:
                file.write(f"{seed}\n")
        yield Batches(rows(seed + k, 30 * (seed + 1) + k) for k in range(3))


def rows(seed: int, n: int) -> Codes:
    rng = np.random.default_rng(seed)
    leaves, buckets = rng.integers(0, 5, (3, n)).astype(np.uint8), rng.integers(0, 9, (1, n)).astype(np.uint32)
    weight = np.ones(n) if seed % 3 else rng.random(n)
    return Codes(leaves, buckets, rng.integers(0, 2, n).astype(np.float32), weight, np.arange(n), np.arange(n) + 7)


def as_bytes(codes: Codes) -> bytes:
    return b"".join(np.ascontiguousarray(each).tobytes() for each in vars(codes).values() if each is not None)


# What every engine must do; the local one shows what is right.


def check_results_are_in_the_order_of_the_parts(engine: Engine) -> None:
    for n in (1, 2, 7, 20):
        here, there = (each.parts(range(n), numbers, 2.0) for each in (LOCAL, engine))
        own = [p / 3 for p in range(n)]
        assert len(there) == n
        assert there.map(first) == here.map(first)
        derived = there.derive(shifted, 3.0, each=own)
        expected = here.derive(shifted, 3.0, each=own)
        for one, other in zip(derived.map(shifted, 1.0, each=own), expected.map(shifted, 1.0, each=own), strict=True):
            np.testing.assert_array_equal(one, other)
        assert [each.tolist() for each in derived] == [each.tolist() for each in expected]


def check_sums_are_the_same_to_the_last_bit(engine: Engine) -> None:
    for n in (1, 3, 8, 33):
        here, there = (each.parts(range(n), numbers, 1.0) for each in (LOCAL, engine))
        for one, other in zip(here.sum(moments, 2.0), there.sum(moments, 2.0), strict=True):
            assert np.asarray(one).tobytes() == np.asarray(other).tobytes()
            assert np.asarray(one).dtype == np.asarray(other).dtype
        sparse, expected = there.sum(gradient_like, 5000), here.sum(gradient_like, 5000)
        assert sparse.tobytes() == expected.tobytes()


def check_no_parts_have_no_sum_but_the_one_given(engine: Engine) -> None:
    none = engine.parts([], numbers, 1.0)
    assert none.sum(len, zero=0) == 0
    assert none.map(len) == []
    assert len(none.derive(shifted, 1.0, each=[])) == 0
    with pytest.raises(ValueError, match="no parts"):
        none.sum(len)


def check_pairs(engine: Engine) -> None:
    here, there = (each.parts(range(9), numbers, 1.0) for each in (LOCAL, engine))
    pairs = there.beside(there.derive(shifted, 0.5, each=[1.0] * 9))
    assert pairs.map(difference) == here.beside(here.derive(shifted, 0.5, each=[1.0] * 9)).map(difference)


def check_chains(engine: Engine) -> None:
    for n in (0, 2, 7):
        own = [float(p) for p in range(n + 4)]
        here, there = (
            Chain(each.parts(range(n), numbers, 1.0), each.parts(range(3, 7), numbers, 2.0)).derive(
                shifted, 1.0, each=own
            )
            for each in (LOCAL, engine)
        )
        assert len(there) == n + 4
        assert there.map(first) == here.map(first)
        assert [each.tolist() for each in there] == [each.tolist() for each in here]
        for one, other in zip(here.sum(moments, 2.0), there.sum(moments, 2.0), strict=True):
            assert np.asarray(one).tobytes() == np.asarray(other).tobytes()
        assert there.beside(there).map(difference) == [0.0] * (n + 4)


def check_errors_are_those_of_the_first_part(engine: Engine) -> None:
    with pytest.raises(KeyError, match="4"):
        engine.parts(range(11), failing, 4)
    parts = engine.parts(range(9), numbers, 1.0)
    with pytest.raises(ZeroDivisionError, match="of 45 numbers"):
        parts.map(divided, each=[1, 1, 1, 1, 1, 0, 1, 1, 0])
    assert parts.map(divided, each=[1.0] * 9) == parts.map(first), "the parts are as they were"


def check_rows_are_dealt_out_by_their_number_alone(engine: Engine) -> None:
    for n in (0, 1, 4, 9):
        here, there = (each.parts(range(n), batches, "") for each in (LOCAL, engine))
        expected = cut(here)
        found = cut(there)
        assert found.map(len) == expected.map(len) == np.diff(bounds(sum(found.map(len)))).tolist()
        assert found.map(as_bytes) == expected.map(as_bytes)
        again = found.derive(Batches.of).regroup(lambda n: [0, n // 3, n] if n else [0], joined)
        assert sum(again.map(len)) == sum(expected.map(len))
        assert b"".join(found.map(as_labels)) == b"".join(again.map(as_labels))


def check_rows_are_gathered_as_asked(engine: Engine) -> None:
    """Every row goes to a part by its value, and a part without rows is one."""
    for n, n_parts in ((1, 1), (4, 3), (9, 20)):
        own = [engine.parts(range(n), batches, "").derive(by_value, n_parts) for engine in (LOCAL, engine)]
        cuts = own[0].map(ends)
        assert own[1].map(ends) == cuts
        spans = [
            [(p, each[i], each[i + 1]) for p, each in enumerate(cuts) if each[i] < each[i + 1]] for i in range(n_parts)
        ]
        here, there = (each.gather(spans, together) for each in own)
        assert [each.values.tolist() for each in there] == [each.values.tolist() for each in here]
        for i, each in enumerate(here):
            assert (each.values % n_parts == i).all()
        assert sum(here.map(len)) == sum(sum(len(codes) for codes in each) for each in made(n))


def made(n: int) -> list[list[Codes]]:
    return [[codes for codes, *_ in part.slices(0, len(part))] for part in batches(range(n), "")]


@dataclass
class Values:
    """Numbers as rows, by what is left of them by some number."""

    values: np.ndarray
    ends: list[int]

    def __len__(self) -> int:
        return len(self.values)

    def slices(self, start: int, stop: int) -> list[Any]:
        return [(self, start, stop)]

    def drop(self, stop: int) -> None:
        pass


def by_value(part: Batches, n_parts: int) -> Values:
    values = np.concatenate([codes.known_us[start:stop] for codes, start, stop in part.slices(0, len(part))])
    values = values[np.argsort(values % n_parts, kind="stable")]
    return Values(values, np.searchsorted(values % n_parts, np.arange(n_parts + 1)).tolist())


def ends(part: Values) -> list[int]:
    return part.ends


def together(slices: Any) -> Values:
    found = [np.zeros(0, np.int64), *(each.values[start:stop] for each, start, stop in slices)]
    return Values(np.concatenate(found), [])


def check_streams_are_in_order(engine: Engine) -> None:
    for n in (0, 1, 7):
        there = [list(items) for items in engine.stream(range(n), counting, 10)]
        assert there == [[seed * 10 + k for k in range(seed % 4)] for seed in range(n)]
    streams = engine.stream([1, 2, 9, 3], counting, 1)
    assert ([*next(streams)], [*next(streams)]) == ([1], [2, 3])
    with pytest.raises(ValueError, match="nine"):
        list(next(streams))


def counting(seed: int, times: int) -> Iterator[int]:
    for k in range(seed % 4):
        if seed == 9:
            raise ValueError("nine")
        yield seed * times + k


def as_labels(codes: Codes) -> bytes:
    return codes.label.tobytes()


CHECKS: list[Callable[[Engine], None]] = [
    check_results_are_in_the_order_of_the_parts,
    check_sums_are_the_same_to_the_last_bit,
    check_no_parts_have_no_sum_but_the_one_given,
    check_pairs,
    check_errors_are_those_of_the_first_part,
    check_rows_are_dealt_out_by_their_number_alone,
    check_rows_are_gathered_as_asked,
    check_chains,
    check_streams_are_in_order,
]
