"""The refresher: a daemon thread that keeps a Scorer at the live release."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from types import TracebackType


class Refresher(threading.Thread):
    """Calls ``refresh`` every period; a context manager that stops at its end."""

    def __init__(
        self,
        refresh: Callable[[], bool],
        period_s: float,
        jitter: float,
        on_refresh: Callable[[bool], object] | None,
        wait: Callable[[float], object] | None,
        uniform: Callable[[float, float], float],
    ) -> None:
        super().__init__(name="gbdtlr-refresh", daemon=True)
        self._refresh = refresh
        self._period_s = period_s
        self._jitter = jitter
        self._on_refresh = on_refresh
        self._stopping = threading.Event()
        self._wait = wait or self._stopping.wait
        self._uniform = uniform

    def run(self) -> None:
        """Wait and refresh, until stopped."""
        while True:
            self._wait(self._period_s * (1 + self._jitter * self._uniform(-1.0, 1.0)))
            if self._stopping.is_set():
                return
            changed = self._refresh()
            if self._on_refresh is not None:
                try:
                    self._on_refresh(changed)
                except Exception:  # a caller's mistake in telling of it must not end the refreshing
                    logging.getLogger("gbdtlr").exception("on_refresh failed")

    def stop(self) -> None:
        """End the thread; a refresh that has begun is ended first."""
        self._stopping.set()
        if self.is_alive() and threading.current_thread() is not self:
            self.join()

    def __enter__(self) -> Refresher:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
