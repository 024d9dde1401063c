"""The run of a job: what it was asked, where it works, whom it tells, and how it ends."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from gbdtlr.compute import threads
from gbdtlr.config import Config
from gbdtlr.engine import LOCAL, Engine, open_engine
from gbdtlr.errors import ConfigError, Refused
from gbdtlr.jobs.by import NOBODY, By
from gbdtlr.jobs.guards import Check, Gate, told
from gbdtlr.jobs.publishing import held_reason, note_refusal
from gbdtlr.jobs.result import JobResult, OnEvent, Reporter
from gbdtlr.samples.formats.file import SQL
from gbdtlr.samples.lakes.passwords import without_passwords
from gbdtlr.store import Entry, Store


@dataclass(frozen=True)
class Run:
    """One run of a job.

    Attributes
    ----------
    job : its command, such as ``update-lr``; releases say so as ``why``
    config : as it was asked
    store : the configuration's, open
    as_of : the moment the job pretends is now
    say : tells whoever listens what was done
    force : whether guards are overruled
    by : who asked for it, and why; releases say so
    candidate : whether what it makes is published to be tried, and not to go live
    checks : what its guards have measured so far, the newest of each
    engine : where samples are read, coded and learned
    """

    job: str
    config: Config
    store: Store
    as_of: datetime
    say: Reporter
    force: bool = False
    by: By = NOBODY
    candidate: bool = False
    checks: dict[str, Check] = field(default_factory=dict)
    engine: Engine = LOCAL

    def gate(self, reason: str = "") -> Gate:
        """What objections are put to; ``reason`` is what was overruled before."""
        return Gate(self.force, self.say, reason, self.checks)

    def note_refusal(self, live: Entry | None, reason: str, as_of: datetime | None = None) -> None:
        """Leave a note in the store that a guard refused at ``as_of``, if that is not the run's, so ``live`` stays."""
        if self.candidate:  # the live one stays anyhow
            return
        note_refusal(self.store, live, self.job, self.as_of if as_of is None else as_of, reason)

    def ended(
        self,
        status: str,
        live: Entry | None,
        reason: str = "",
        samples: int = 0,
        metrics: Mapping[str, Any] | None = None,
    ) -> JobResult:
        """The result of a run that leaves ``live`` as the live release, or as the candidate."""
        return ended(status, live, self.as_of, reason, samples, metrics, told(self.checks))

    def refused(
        self, live: Entry | None, reason: str, samples: int = 0, metrics: Mapping[str, Any] | None = None
    ) -> JobResult:
        """The result of a run that a guard stopped, noted in the store."""
        self.note_refusal(live, reason)
        return self.ended("refused", live, reason, samples, metrics)

    def check_not_held(self, live: Entry | None) -> None:
        """Pass if what the run makes may be published: a hold keeps it from going live, not from being tried.

        Parameters
        ----------
        live : the live release, as far as is known

        Raises
        ------
        Refused
            A hold stands; not even force overrules it, as that is a person's word.
        """
        standing = None if self.candidate or live is None else self.store.standing(live.number)
        if standing is not None and standing.held is not None:
            raise Refused(held_reason(self.store.entry(standing.held)))


def ended(
    status: str,
    live: Entry | None,
    as_of: datetime,
    reason: str = "",
    samples: int = 0,
    metrics: Mapping[str, Any] | None = None,
    guards: Mapping[str, Any] | None = None,
) -> JobResult:
    """The result of what was asked at ``as_of`` and leaves ``live`` as the live release, or as the candidate."""
    measured, guards = metrics or {}, guards or {}
    if live is None:
        return JobResult(status, None, None, None, as_of, samples, measured, reason, guards=guards)
    versions, tried = (live.number, live.trees, live.head), live.kind == "candidate"
    return JobResult(status, *versions, as_of, samples, measured, reason, tried, guards, live.embeddings)


def _check_engine(config: Config) -> None:
    """Nothing, if the workers of the config's engine can read its samples; ``ConfigError`` if not."""
    if config.engine == "local":
        return
    if config.users.replay:
        raise ConfigError(
            f'workers of engine = "{config.engine}" cannot work out users\' scores ([users] replay), which go from one '
            'event to the next; name the score as it was served, [samples] user_score, or use engine = "local"'
        )
    if queries := [path for path in config.samples.path if path.startswith(SQL)]:
        raise ConfigError(
            f'workers of engine = "{config.engine}" cannot share in the answer of a query '
            f"({without_passwords(queries[0])} in [samples] path), which comes to one place; write it to files or a "
            'table first, or use engine = "local"'
        )


@contextmanager
def running(
    job: str,
    config: Config,
    as_of: datetime,
    *,
    force: bool = False,
    on_event: OnEvent | None = None,
    by: By = NOBODY,
    candidate: bool = False,
) -> Iterator[Run]:
    """A run of a job, with what it may use of the machine; what else runs in the process, or after it, has its own."""
    _check_engine(config)
    say = Reporter(on_event)
    engine = open_engine(config.engine, threads=config.threads, workers=config.workers, on_event=say.say)
    # On a cluster the threads are those of each worker: what is left to this process waits for none of them.
    with threads.limited(config.threads if config.engine == "local" else None), closing(engine):
        yield Run(job, config, Store.open(config.store), as_of, say, force, by=by, candidate=candidate, engine=engine)
