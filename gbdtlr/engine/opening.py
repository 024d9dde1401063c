"""Opening: the engine that a config names."""

from __future__ import annotations

import time

from gbdtlr.engine.engine import LOCAL, Engine, OnEvent

NAMES = ("local", "ray")


def open_engine(
    name: str, *, threads: int | None = None, workers: int | None = None, on_event: OnEvent | None = None
) -> Engine:
    """The engine of that name; a cluster is called together when parts are first made.

    Parameters
    ----------
    name : ``local``, ``ray`` or ``ray://host:port``
    threads : of each worker
    workers : how many, at most
    on_event : hears of workers that are lost
    """
    if name == "local":
        return LOCAL
    from gbdtlr.engine.crew import Crew
    from gbdtlr.engine.held import Distributed

    def call_together() -> Crew:
        from gbdtlr.engine.cluster import call_together

        start = time.perf_counter()
        cluster = call_together(None if name == "ray" else name, threads, workers)
        if on_event is not None:
            seconds = round(time.perf_counter() - start, 4)
            on_event("engine.begin", workers=len(cluster.hosts), hosts=len({*cluster.hosts}), seconds=seconds)
        return Crew(cluster, on_event)

    return Distributed(call_together)
