"""The server: uvicorn around the application, in one process, until it is told to end."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import mmap
import os
import signal
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import uvicorn
from uvicorn.server import Server

from gbdtlr.config import ServeConfig
from gbdtlr.serving.application import Application, OnEvent, app
from gbdtlr.serving.metrics import Metrics
from gbdtlr.serving.protocol import BoundedProtocol

SWEEP_TICKS = 5  # a tick of uvicorn is a tenth of a second


@dataclass(frozen=True)
class Place:
    """What a process that serves is given.

    Attributes
    ----------
    listener : bound socket, which workers share
    memory : shared memory of the metrics of all workers
    index : which of them this one is
    parent : file descriptor that ends when the process that started this one does; None if there is none
    """

    listener: socket.socket
    memory: mmap.mmap
    index: int
    parent: int | None = None


def serve(
    store: str, settings: ServeConfig, place: Place, on_event: OnEvent, on_ready: Callable[[int], object]
) -> None:
    """Serve the live release of a store in this process until SIGTERM or SIGINT, then answer what has begun.

    Parameters
    ----------
    on_ready : ``on_ready(release)``, once requests are taken

    Raises
    ------
    GbdtlrError
        As :func:`gbdtlr.serving.app`; later on nothing is raised.
    """
    metrics = Metrics(place.memory, settings.workers, place.index)
    application = app(store, settings, metrics=metrics, on_event=on_event)
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # strangers' mistakes are counted, not logged
    config = uvicorn.Config(
        application,
        http=type("Protocol", (BoundedProtocol,), {"application": application, "settings": settings}),
        loop="uvloop",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=max(1, round(settings.idle_timeout.total_seconds())),
        timeout_graceful_shutdown=max(1, round(settings.drain.total_seconds())),
    )
    server = _Server(config, application, settings, place.parent, lambda: on_ready(application.release))
    server.run(sockets=[place.listener])


class _Server(Server):
    """uvicorn's server that ends as services should: it says it is not ready, goes on for a while, and exits with 0."""

    def __init__(
        self,
        config: uvicorn.Config,
        application: Application,
        settings: ServeConfig,
        parent: int | None,
        on_ready: Callable[[], object],
    ) -> None:
        super().__init__(config)
        self._application = application
        self._settings = settings
        self._parent = parent
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        gc.collect()
        gc.freeze()  # what is loaded stays: no collection need look at it while a request waits
        await super().startup(sockets)
        self._on_ready()

    async def on_tick(self, counter: int) -> bool:
        if counter % SWEEP_TICKS == 0:
            now = asyncio.get_running_loop().time()
            for connection in list(self.server_state.connections):
                if isinstance(connection, BoundedProtocol):
                    connection.sweep(now)
        return await super().on_tick(counter)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """While inside, a signal to end is heeded; uvicorn would raise it again at the end and die of it."""
        loop = asyncio.get_running_loop()
        for each in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(each, self._end, each)
        if self._parent is not None:
            loop.add_reader(self._parent, self._orphaned, self._parent)
        try:
            yield
        finally:
            for each in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(each)
            if self._parent is not None:
                loop.remove_reader(self._parent)

    def _end(self, which: signal.Signals) -> None:
        """Tell probes first, so that balancers send no more; whoever presses Ctrl-C, or asks twice, need not wait."""
        asked_before = self._application.state.draining
        self._application.state.draining = True
        if asked_before or which == signal.SIGINT:
            self.should_exit = True
        else:
            asyncio.get_running_loop().call_later(self._settings.grace.total_seconds(), self._stop)

    def _stop(self) -> None:
        self.should_exit = True

    def _orphaned(self, parent: int) -> None:
        """The parent says nothing after the settings: whatever comes is its end."""
        if not os.read(parent, 1):
            asyncio.get_running_loop().remove_reader(parent)
            self._end(signal.SIGINT)
