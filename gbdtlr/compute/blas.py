"""BLAS: one thread of its own while any fit runs, as its threads would fight ours and change the last bits of sums.

Most builds of BLAS have one number of threads for the whole process. Fits that each set it and put it back would, at
once, put it back while another is at work, and in the end leave it where a fit had set it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

Limit = tuple[Any, int]
"""threadpoolctl's controller of a library, and its number of threads."""


class _Users:
    """How many are inside, and what the last of them is to restore."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.n = 0
        self.before: Sequence[Limit] = ()


_users = _Users()


@contextmanager
def single_threaded() -> Iterator[None]:
    """While anybody is inside, in whatever thread and however often, BLAS has one thread; then as many as before."""
    users = _users
    with users.lock:
        mine = _libraries()
        if not users.n:
            users.before = mine
        _set((library, 1) for library, _ in mine)
        users.n += 1
    try:
        yield
    finally:
        with users.lock:
            users.n -= 1
            _set(limit for limit in mine if _is_of_thread(limit[0]))
            if not users.n:
                _set(limit for limit in users.before if not _is_of_thread(limit[0]))


def _libraries() -> list[Limit]:
    from threadpoolctl import ThreadpoolController

    controllers = ThreadpoolController().select(user_api="blas").lib_controllers
    return [(library, library.num_threads) for library in controllers]


def _set(limits: Iterator[Limit]) -> None:
    """Set what threadpoolctl lets only one thread of the process set, and ignores from all others."""
    _let_go()
    for library, n in limits:
        library.set_num_threads(n)
    _let_go()


def _let_go() -> None:
    from threadpoolctl import OpenBLASController

    if hasattr(OpenBLASController, "clear_controlling_thread"):
        OpenBLASController.clear_controlling_thread(force=True)


def _is_of_thread(library: Any) -> bool:
    """Whether each thread has a number of its own, as threadpoolctl gives it where OpenBLAS has OpenMP's threads."""
    from threadpoolctl import OpenBLASController

    has_owner = hasattr(OpenBLASController, "clear_controlling_thread")
    return has_owner and library.internal_api == "openblas" and library.threading_layer == "openmp"


def _begin_anew() -> None:
    """A forked child has none of the threads that were inside, and maybe a lock that one of them held."""
    global _users
    before, _users = _users, _Users()
    before.lock = threading.Lock()
    if before.n:
        _set(iter(before.before))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)
