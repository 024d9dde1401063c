"""Threads the kernels run on: ours, because numba's own either abort on concurrent callers or die in a fork.

A kernel releases the GIL and works on one range of rows; :func:`run` hands the ranges out. Which thread takes
which range never changes the result, as long as each task writes only what is its own.

How many there are belongs to a run (:func:`limited`), whatever else runs in the process at the time; outside of any,
to the process.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from contextvars import ContextVar, copy_context

from gbdtlr.compute.cores import cores

_lock = threading.Lock()
_pool: ThreadPoolExecutor | None = None
_pool_size = 0
_chosen: int | None = None
_of_run: ContextVar[int | None] = ContextVar("threads of the run", default=None)


def n_threads() -> int:
    """Threads a kernel may use: the run's, else the process's, else those of the environment, else one per core.

    The environment's are ``NUMBA_NUM_THREADS`` or ``OMP_NUM_THREADS``.
    """
    for n in (_of_run.get(), _chosen):
        if n is not None:
            return n
    for name in ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS"):
        first = os.environ.get(name, "").partition(",")[0].strip()  # OpenMP allows a list, one per nesting level
        if first.isdecimal() and int(first) > 0:
            return int(first)
    return cores()


def set_threads(n: int | None) -> None:
    """Use ``n`` threads in this process from now on, outside of :func:`limited`; None leaves it to the environment."""
    global _chosen
    _chosen = _checked(n)


@contextmanager
def limited(n: int | None) -> Iterator[None]:
    """Use ``n`` threads inside, and in what is run from there; None changes nothing.

    Other threads of the process, and what comes after, are as they were.
    """
    token = _of_run.set(_of_run.get() if n is None else _checked(n))
    try:
        yield
    finally:
        _of_run.reset(token)


def _checked(n: int | None) -> int | None:
    if n is not None and n < 1:
        raise ValueError(f"threads must be at least 1, not {n}")
    return n


def run(n_tasks: int, work: Callable[[int], object]) -> None:
    """Call ``work(0)`` to ``work(n_tasks - 1)``, each once, on several threads; return when all are done.

    The calling thread works too, so calls from many threads, and calls from inside ``work``, never wait for a
    place in the pool.

    Raises
    ------
    Exception
        What ``work`` raised first; tasks not yet begun are then left out.
    """
    n_helpers = min(n_threads(), n_tasks) - 1
    if n_helpers < 1:
        for task in range(n_tasks):
            work(task)
        return
    next_task = 0
    take = threading.Lock()

    def work_through() -> None:
        nonlocal next_task
        while True:
            with take:
                task = next_task
                next_task += 1
            if task >= n_tasks:
                return
            try:
                work(task)
            except BaseException:
                with take:
                    next_task = n_tasks
                raise

    helpers = _submit(n_helpers, work_through)
    try:
        work_through()
    finally:
        # A helper that has not begun is not needed any more; one that has is writing into the caller's arrays.
        begun = [helper for helper in helpers if not helper.cancel()]
        errors = [helper.exception() for helper in begun]
    for error in errors:
        if error is not None:
            raise error


def _submit(n: int, work: Callable[[], None]) -> list[Future[None]]:
    global _pool, _pool_size
    with _lock:
        if _pool is None or _pool_size < n:
            if _pool is not None:
                _pool.shutdown(wait=False)
            _pool, _pool_size = ThreadPoolExecutor(n, thread_name_prefix="gbdtlr"), n
        submitted: list[Future[None]] = []
        with suppress(RuntimeError):  # the interpreter is shutting down: the caller does what is left
            # Each in a copy of its own, as no context can be entered twice: calls from inside work are of the run too.
            submitted.extend(_pool.submit(copy_context().run, work) for _ in range(n))
        return submitted


def _forget_pool() -> None:
    """A forked child inherits the pool without its threads, and maybe a lock held by a thread it does not have."""
    global _pool, _pool_size, _lock
    _pool, _pool_size, _lock = None, 0, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_pool)
