"""Fits at once leave BLAS as it was, have one thread of it for as long as any of them runs, and give the same bytes."""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
from collections.abc import Iterator
from datetime import timedelta

import numpy as np
import pytest
import scipy.linalg  # noqa: F401 - its BLAS is there before the number of threads is set
from threadpoolctl import threadpool_info, threadpool_limits

from gbdtlr.compute import blas
from gbdtlr.compute.parts import Parts
from gbdtlr.head import Codes, Layout, Record, Setting, WideColumns, fit_candidates
from gbdtlr.times import EPOCH

BEFORE = 3


def n_threads() -> set[int]:
    return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}


@pytest.fixture(autouse=True)
def three_threads() -> Iterator[None]:
    with threadpool_limits(BEFORE, user_api="blas"):
        if n_threads() != {BEFORE}:
            pytest.skip("this BLAS has one thread whatever is asked of it")
        yield


def test_one_thread_inside_and_as_many_as_before_afterwards() -> None:
    with blas.single_threaded():
        assert n_threads() == {1}
        with blas.single_threaded():
            assert n_threads() == {1}
        assert n_threads() == {1}
    assert n_threads() == {BEFORE}


def test_an_error_leaves_it_as_it_was() -> None:
    with pytest.raises(KeyError), blas.single_threaded(), blas.single_threaded():
        raise KeyError
    assert n_threads() == {BEFORE}


def test_the_first_out_leaves_it_to_the_last() -> None:
    inside, go, out, end = (threading.Event() for _ in range(4))
    found = []

    def first() -> None:
        with blas.single_threaded():
            inside.set()
            go.wait(30)
        out.set()

    def second() -> None:
        inside.wait(30)
        with blas.single_threaded():
            go.set()
            out.wait(30)
            found.append(n_threads())
        end.set()

    workers = [threading.Thread(target=work) for work in (first, second)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert end.is_set()
    assert found == [{1}]
    assert n_threads() == {BEFORE}


def part(seed: int, n: int = 4000) -> Codes:
    rng = np.random.default_rng(seed)
    leaves = rng.integers(0, 16, (6, n)).astype(np.uint8)
    buckets = rng.integers(0, 900, (1, n)).astype(np.uint32)
    label = (rng.random(n) < 1 / (1 + np.exp(-0.3 * (leaves[0] - 8.0)))).astype(np.float32)
    return Codes(leaves, buckets, label, np.ones(n), *np.zeros((2, n), np.int64))


SETTINGS = [Setting(timedelta(hours=h), l2) for h in (1, 24) for l2 in (3.0, 30.0)]
LAYOUT = Layout(np.arange(7) * 16, np.linspace(-0.2, 0.3, 96), WideColumns(("id",), 900))


def fitted(seed: int) -> bytes:
    return fit_candidates(Parts([part(seed)]), LAYOUT, SETTINGS, EPOCH).to_bytes()


def test_fits_at_once_give_what_each_gives_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second begins while the first is at work, which ends, or fails, while the second is."""
    alone = [fitted(seed) for seed in (1, 2)]
    module = sys.modules[fit_candidates.__module__]
    search, seen, results = module._search, [], {}
    begun = {seed: threading.Event() for seed in (1, 2)}
    ended = threading.Event()

    def watched(*args: object) -> object:
        seed = int(threading.current_thread().name)
        begun[seed].set()
        if seed == 1:
            begun[2].wait(30)
            if failing:
                raise KeyError
        else:
            ended.wait(30)
        seen.append(n_threads())
        return search(*args)

    def work(seed: int) -> None:
        if seed == 2:
            begun[1].wait(30)
        try:
            results[seed] = fitted(seed)
        except KeyError:
            results[seed] = b"failed"
        if seed == 1:
            ended.set()

    monkeypatch.setattr(module, "_search", watched)
    for failing in (False, True):
        for event in (*begun.values(), ended):
            event.clear()
        workers = [threading.Thread(target=work, args=[seed], name=str(seed)) for seed in (1, 2)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        assert results == {1: b"failed" if failing else alone[0], 2: alone[1]}
        assert n_threads() == {BEFORE}
    assert seen == [{1}] * 3


def test_the_blend_is_among_them() -> None:
    seen = []

    class Watching:
        def margins(self, codes: Codes) -> np.ndarray:
            seen.append(n_threads())
            return np.zeros((len(codes), 2))

    Record.blank(["a", "b"], EPOCH).learn([(Parts([part(1)]), Watching())], EPOCH, timedelta(days=1))
    assert seen == [{1}]
    assert n_threads() == {BEFORE}


def _in_child(queue: multiprocessing.SimpleQueue[tuple[set[int], set[int], set[int]]]) -> None:
    before = n_threads()
    with blas.single_threaded():
        inside = n_threads()
    queue.put((before, inside, n_threads()))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_child_forked_during_a_fit_begins_anew() -> None:
    inside, end = threading.Event(), threading.Event()

    def fit_long() -> None:
        with blas.single_threaded():
            inside.set()
            end.wait(60)

    worker = threading.Thread(target=fit_long)
    worker.start()
    inside.wait(30)
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    child = context.Process(target=_in_child, args=(queue,))
    child.start()
    child.join(60)
    end.set()
    worker.join()
    assert child.exitcode == 0
    assert queue.get() == ({BEFORE}, {1}, {BEFORE})
    assert n_threads() == {BEFORE}
