"""The runner: what ``gbdtlr serve`` does, in this process or with several."""

from __future__ import annotations

import mmap
from collections.abc import Callable

from gbdtlr.compute import threads
from gbdtlr.config import ServeConfig
from gbdtlr.errors import ConfigError
from gbdtlr.serving import listening
from gbdtlr.serving.application import OnEvent
from gbdtlr.serving.metrics import SLOT_BYTES


def run(store: str, settings: ServeConfig, on_event: OnEvent, on_ready: Callable[[str, int], object]) -> None:
    """Serve the live release of a store until SIGTERM or SIGINT, and return when all that had begun is answered.

    Parameters
    ----------
    on_ready : ``on_ready(address, release)``, once requests are taken

    Raises
    ------
    ConfigError
        It cannot listen there, or the extra ``serve`` is not installed.
    NoReleaseError, DamagedError, FormatError, MismatchError, StoreUnavailable
        There is no release to serve, or it cannot be trusted here.
    """
    try:
        from gbdtlr.serving.server import Place, serve
    except ImportError as error:
        raise ConfigError(f"serving needs {error.name}: pip install 'gbdtlr[serve]'") from None
    listener = listening.bind(settings.bind)
    address = listening.name_of(listener)
    try:
        if settings.workers == 1:
            place = Place(listener, mmap.mmap(-1, SLOT_BYTES), 0)
            serve(store, settings, place, on_event, lambda release: on_ready(address, release))
            return
        from gbdtlr.serving.workers import Workers

        listener.set_inheritable(True)
        each = max(1, threads.n_threads() // settings.workers)
        Workers(store, settings, listener, each, on_event, lambda release: on_ready(address, release)).run()
    finally:
        listening.close(listener, address)
