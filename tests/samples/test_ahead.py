"""Streams read ahead: in order, bounded, and gone when nobody wants them any more."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gbdtlr.samples.ahead import in_order_ahead


def alive() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "gbdtlr-ahead"]


@given(streams=st.lists(st.lists(st.integers(), max_size=5), max_size=12), width=st.integers(1, 5))
def test_items_come_in_order(streams, width):
    expected = [item for stream in streams for item in stream]
    assert list(in_order_ahead([lambda s=s: (i for i in s) for s in streams], width)) == expected
    assert not alive()


def test_an_error_comes_in_its_place():
    def broken():
        yield 3
        raise OSError("lost")

    seen = []
    with pytest.raises(OSError, match="lost"):
        seen.extend(in_order_ahead([lambda: (i for i in (1, 2)), broken, lambda: (i for i in range(99))], 3))
    assert seen == [1, 2, 3]
    assert not alive()


def test_streams_run_together_each_one_item_ahead():
    """All first items are asked for before any is waited for: the barrier opens only to three at once."""
    barrier = threading.Barrier(3)
    made: list[tuple[int, int]] = []

    def stream(which):
        barrier.wait(30)
        for i in range(5):
            made.append((which, i))
            yield which

    items = in_order_ahead([lambda w=w: stream(w) for w in range(6)], 3)
    assert next(items) == 0
    # The one being consumed may be two ahead of what was taken: one is ready and one in the making.
    assert all(i <= (2 if which == 0 else 1) for which, i in list(made))
    assert list(items) == [w for w in range(6) for _ in range(5)][1:]


def test_a_thread_runs_one_stream_after_the_other():
    """What the allocators keep for it is used again."""
    threads: list[threading.Thread] = []

    def stream():
        threads.append(threading.current_thread())
        yield 1

    assert list(in_order_ahead([stream] * 20, 3)) == [1] * 20
    assert len(threads) == 20
    assert len(set(threads)) <= 3


def test_giving_up_ends_the_threads_and_closes_the_streams():
    closed = threading.Semaphore(0)

    def endless():
        try:
            while True:
                yield 1
        finally:
            closed.release()

    items = in_order_ahead([endless] * 4, 2)
    assert next(items) == 1
    items.close()
    assert not alive()
    assert all(closed.acquire(timeout=30) for _ in range(2))
