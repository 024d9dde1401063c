"""Every task runs once, whatever the threads, callers and nesting; errors come back to the caller."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Iterator
from datetime import timedelta

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from gbdtlr.compute import threads
from gbdtlr.compute.parts import Parts
from gbdtlr.head import Candidates, Codes, Layout, Setting, WideColumns, fit_candidates
from gbdtlr.jobs.guards.traffic import Totals
from gbdtlr.metrics import Quality
from gbdtlr.times import EPOCH


@pytest.fixture(autouse=True)
def restore() -> Iterator[None]:
    yield
    threads.set_threads(None)


@pytest.mark.parametrize("n_threads", [1, 2, 7])
@pytest.mark.parametrize("n_tasks", [0, 1, 2, 100])
def test_each_task_runs_once(n_threads: int, n_tasks: int) -> None:
    threads.set_threads(n_threads)
    done = [0] * n_tasks

    def work(task: int) -> None:
        done[task] += 1

    threads.run(n_tasks, work)
    assert done == [1] * n_tasks


def test_several_threads_work_at_once() -> None:
    threads.set_threads(3)
    meet = threading.Barrier(3, timeout=30)
    threads.run(3, lambda _: meet.wait())


def test_error_of_any_task_is_raised_and_the_rest_left_out() -> None:
    threads.set_threads(2)
    begun = []

    def work(task: int) -> None:
        begun.append(task)
        raise KeyError(task)

    with pytest.raises(KeyError):
        threads.run(1000, work)
    assert len(begun) <= 2


def test_nested_and_concurrent_calls_do_not_wait_for_each_other() -> None:
    threads.set_threads(2)
    total = []

    def call() -> None:
        threads.run(4, lambda _: threads.run(4, total.append))

    callers = [threading.Thread(target=call) for _ in range(8)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert sorted(total) == sorted([0, 1, 2, 3] * 32)


def test_environment_and_choice_say_how_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBA_NUM_THREADS", "5")
    monkeypatch.setenv("OMP_NUM_THREADS", "3,2")
    assert threads.n_threads() == 5
    monkeypatch.delenv("NUMBA_NUM_THREADS")
    assert threads.n_threads() == 3
    monkeypatch.setenv("OMP_NUM_THREADS", "many")
    assert threads.n_threads() >= 1
    threads.set_threads(4)
    assert threads.n_threads() == 4
    with pytest.raises(ValueError, match="at least 1"):
        threads.set_threads(0)


def _in_child(queue: multiprocessing.SimpleQueue[int]) -> None:
    total: list[int] = []
    threads.run(10, total.append)
    queue.put(sum(total))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_forked_child_gets_threads_of_its_own() -> None:
    threads.set_threads(2)
    threads.run(10, lambda _: None)
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    child = context.Process(target=_in_child, args=(queue,))
    child.start()
    child.join(60)
    assert child.exitcode == 0
    assert queue.get() == 45


def test_a_limit_holds_inside_and_nowhere_else() -> None:
    threads.set_threads(4)
    with threads.limited(2):
        assert threads.n_threads() == 2
        with threads.limited(None):
            assert threads.n_threads() == 2
        with threads.limited(3):
            assert threads.n_threads() == 3
        assert threads.n_threads() == 2
        threads.set_threads(5)
        assert threads.n_threads() == 2, "the run's own"
        with pytest.raises(ValueError, match="at least 1"), threads.limited(0):
            pass
    assert threads.n_threads() == 5
    with pytest.raises(KeyError), threads.limited(2):
        raise KeyError
    assert threads.n_threads() == 5


def test_helpers_have_the_limit_of_the_run_they_work_for() -> None:
    threads.set_threads(7)
    meet = threading.Barrier(3, timeout=30)
    found = []

    def work(_: int) -> None:
        meet.wait()
        found.append(threads.n_threads())

    with threads.limited(3):
        threads.run(3, work)
    assert found == [3, 3, 3]


def test_runs_at_once_do_not_change_each_others_limit() -> None:
    meet = threading.Barrier(2, timeout=30)
    found: dict[int, list[int]] = {}

    def run(n: int) -> None:
        with threads.limited(n):
            meet.wait()
            found[n] = [threads.n_threads()]
            meet.wait()
        meet.wait()
        found[n].append(threads.n_threads())

    before = threads.n_threads()
    callers = [threading.Thread(target=run, args=[n]) for n in (before + 1, before + 2)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert found == {n: [n, before] for n in (before + 1, before + 2)}


def test_nothing_that_is_kept_depends_on_the_threads_of_blas() -> None:
    rng = np.random.default_rng(0)
    n, codes, settings = 50_000, 31_172, tuple(Setting(timedelta(hours=h), 3.0) for h in range(1, 17))
    margin, weight = rng.normal(size=n), rng.random(n)
    label = (rng.random(n) < 0.3).astype(np.float32)
    layout = Layout(np.array([0, codes]), np.zeros(codes), WideColumns(("id",), codes)).using(
        [np.arange(codes, dtype=np.uint32)]
    )
    lines = rng.normal(size=(layout.n, len(settings))).astype(np.float32)
    candidates = Candidates(settings, layout, lines, -1.0)
    shares = rng.dirichlet(np.ones(len(settings) + 2))
    part = Codes(np.zeros((1, n), np.uint8), np.zeros((0, n), np.uint32), label, weight, *np.zeros((2, n), np.int64))
    kept = []
    for n_threads in (1, 2, 4):
        with threadpool_limits(n_threads, user_api="blas"):
            kept.append(
                (
                    Quality.of(margin, label, weight),
                    Totals.of(label, weight, timedelta(hours=1)),
                    candidates.blended(shares).to_bytes(),
                    fit_candidates(
                        Parts([part]), Layout(np.array([0, 1]), np.zeros(1)), settings[:1], EPOCH
                    ).to_bytes(),
                )
            )
    for each in zip(*kept, strict=True):
        assert len(set(each)) == 1
