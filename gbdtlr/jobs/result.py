"""The result of a job, and the events it reports on the way."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from gbdtlr.times import format_time

OnEvent = Callable[..., None]
"""``on_event(name, **fields)``: something was done; fields carry counts, and ``seconds`` where it took time."""


@dataclass(frozen=True)
class JobResult:
    """How a job ended.

    Attributes
    ----------
    status : ``published``, ``unchanged``, ``superseded`` or ``refused``
    release : number of the release that is live as far as this job knows; of a job for the candidate, its number
    trees, head : names of its versions
    as_of : the moment the job pretended was now
    samples : mature rows it had to learn from
    metrics : what was measured
    reason : why it ended so, for people
    candidate : whether ``release`` is the candidate, and not live
    guards : what each measured: its ``value``, the bounds ``low`` and ``high``, and whether it ``objects``
    embeddings : name of the version that goes with the trees, if any
    """

    status: str
    release: int | None
    trees: str | None
    head: str | None
    as_of: datetime
    samples: int
    metrics: Mapping[str, Any] = field(default_factory=dict)
    reason: str = ""
    candidate: bool = False
    guards: Mapping[str, Any] = field(default_factory=dict)
    embeddings: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """The result in JSON's types."""
        return {
            "status": self.status,
            "release": self.release,
            "trees": self.trees,
            "head": self.head,
            "embeddings": self.embeddings,
            "as_of": format_time(self.as_of),
            "samples": self.samples,
            "metrics": dict(self.metrics),
            "reason": self.reason,
            "candidate": self.candidate,
            "guards": dict(self.guards),
        }


class Reporter:
    """Reports events to whoever listens, with how long they took."""

    def __init__(self, on_event: OnEvent | None) -> None:
        self._on_event = on_event

    def say(self, name: str, **fields: Any) -> None:
        """Report something that took no time worth telling."""
        if self._on_event is not None:
            self._on_event(name, **fields)

    @contextmanager
    def timed(self, name: str) -> Iterator[dict[str, Any]]:
        """Report what happens inside, with its duration; fields put into the yielded dict go along."""
        fields: dict[str, Any] = {}
        start = time.perf_counter()
        yield fields
        self.say(name, **fields, seconds=round(time.perf_counter() - start, 4))
