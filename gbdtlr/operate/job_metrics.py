"""Metrics of a job: how its last run ended, for Prometheus, whatever came of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gbdtlr.jobs.result import JobResult
from gbdtlr.operate.exposition import Gauge, guards_of, samples, text

OUTCOMES = ("published", "unchanged", "superseded", "refused", "error")
GOOD = ("published", "unchanged", "superseded")
LAST_SUCCESS = "gbdtlr_job_last_success_timestamp_seconds"
QUALITIES = ("progressive", "fit")


@dataclass(frozen=True)
class Ended:
    """How a run of a job ended.

    Attributes
    ----------
    command : such as ``update-lr``
    store : where its store is; empty where that was not to be known
    candidate : whether it was asked to publish a candidate
    outcome : one of ``OUTCOMES``
    at_s : when, seconds since 1970
    duration_s : how long it took
    result : what it came to; None where an error ended it
    """

    command: str
    store: str
    candidate: bool
    outcome: str
    at_s: float
    duration_s: float
    result: JobResult | None = None


def job_metrics(ended: Ended, before: str = "") -> str:
    """Gauges of a run in the text format of Prometheus.

    Parameters
    ----------
    before : what stood in their place, which says when the job last succeeded, and where its store is
    """
    track = "candidate" if ended.candidate else "live"
    success_s, store = ended.at_s if ended.outcome in GOOD else None, ended.store
    for labels, value in samples(before, LAST_SUCCESS):
        if (labels.get("command"), labels.get("track")) == (ended.command, track):
            success_s = value if success_s is None else success_s
            store = store or labels.get("store", "")
    run = Gauge("gbdtlr_job_last_run_timestamp_seconds", "When a run of the job last ended.")
    run.add(ended.at_s)
    success = Gauge(LAST_SUCCESS, "When one last ended as published, unchanged or superseded.")
    success.add(success_s)
    took = Gauge("gbdtlr_job_duration_seconds", "How long the last run took.")
    took.add(ended.duration_s)
    outcome = Gauge("gbdtlr_job_outcome", "1 for how the last run ended, 0 for the other ways.")
    for name in OUTCOMES:
        outcome.add(float(name == ended.outcome), outcome=name)
    gauges = [run, success, took, outcome, *(_measured(ended.result) if ended.result is not None else [])]
    return text(gauges, store=store, command=ended.command, track=track)


def _measured(result: JobResult) -> list[Gauge]:
    release = Gauge("gbdtlr_job_release", "The release that stood when it ended, of the track it works on.")
    release.add(result.release)
    rows = Gauge("gbdtlr_job_samples", "Mature samples it had to learn from.")
    rows.add(result.samples)
    late = Gauge(
        "gbdtlr_job_late_samples", "Samples that landed after their time had been learned, since the full fit."
    )
    late.add(result.metrics.get("late_since_full", result.metrics.get("late")))
    ne = Gauge("gbdtlr_job_ne", "Normalised entropy: of what was live, before it learned them, and of the fit.")
    calibration = Gauge("gbdtlr_job_calibration", "Sum of the probabilities over the positives, of the same.")
    for name in QUALITIES:
        quality = quality_of(result.metrics, name)
        ne.add(quality.get("ne"), of=name)
        calibration.add(quality.get("calibration"), of=name)
    lag = Gauge("gbdtlr_job_lag", "Messages of a partition that are there and not read, as far as is known.")
    for topic, partitions in _mapping(result.metrics, "lag_of_partitions").items():
        for partition, n in partitions.items():
            lag.add(n, topic=topic, partition=partition)
    return [release, rows, late, ne, calibration, lag, *guards_of("gbdtlr_job", result.guards)]


def quality_of(metrics: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """A quality among a release's metrics; empty where there is none."""
    return _mapping(metrics, name)


def _mapping(metrics: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = metrics.get(name)
    return found if isinstance(found, Mapping) else {}
