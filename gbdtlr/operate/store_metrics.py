"""Metrics of a store: what is live, tried and held, for Prometheus, from the store alone."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from gbdtlr.operate.exposition import Gauge, guards_of, text
from gbdtlr.operate.opened import AnyStore, opened
from gbdtlr.operate.status import status
from gbdtlr.times import parse_time


def store_metrics(store: AnyStore, now: datetime, name: str = "") -> str:
    """Gauges of a store in the text format of Prometheus; raises as :func:`gbdtlr.operate.status.status`.

    Parameters
    ----------
    name : what the store is called there, as the jobs' metrics call it; its URL if not given
    """
    store = opened(store)
    told = status(store, now)
    tracks = {"live": told, **({"candidate": told["candidate"]} if told["candidate"] else {})}
    held = Gauge("gbdtlr_store_held", "1 while a hold keeps jobs from going live.")
    held.add(float(told["held"] is not None))
    since = Gauge("gbdtlr_store_held_since_timestamp_seconds", "When that hold was made.")
    if told["held"] is not None:
        since.add(parse_time(told["held"]["as_of"]).timestamp())
    refused = Gauge("gbdtlr_store_refusals", "How often guards have refused a command since the live release.")
    for refusal in store.refusals(told["release"]):
        if refusal.release == told["release"]:
            refused.add(refusal.times, command=refusal.job)
    return text([*_of_tracks(tracks), held, since, refused], store=name or store.url)


def _of_tracks(tracks: Mapping[str, Mapping[str, Any]]) -> list[Gauge]:
    """Of the live release and the candidate; what each measured is on labels it had not learned."""
    gauges = {
        "release": Gauge("gbdtlr_store_release", "Number of the live release, and of the candidate."),
        "head_age_s": Gauge("gbdtlr_store_head_age_seconds", "Since the moment up to which its head knows labels."),
        "trees_age_s": Gauge("gbdtlr_store_trees_age_seconds", "Since the moment up to which its trees do."),
        "embeddings_age_s": Gauge(
            "gbdtlr_store_embeddings_age_seconds", "Since the moment up to which its embeddings do."
        ),
        "forced": Gauge("gbdtlr_store_forced", "1 where guards were overruled to publish it."),
    }
    measured = {
        "ne": Gauge("gbdtlr_store_ne", "Progressive NE, as last measured; lower is better."),
        "calibration": Gauge("gbdtlr_store_calibration", "Progressive calibration, as last measured; 1 is right."),
        "rows": Gauge("gbdtlr_store_labels", "Labels these were measured on."),
    }
    guards: list[Gauge] = []
    for track, values in tracks.items():
        for name, gauge in gauges.items():
            gauge.add(values[name], track=track)
        for name, gauge in measured.items():
            gauge.add((values["progressive"] or {}).get(name), track=track)
        found = guards_of("gbdtlr_store", values["metrics"].get("guards", {}), track=track)
        guards = found if not guards else [_joined(*pair) for pair in zip(guards, found, strict=True)]
    return [*gauges.values(), *measured.values(), *guards]


def _joined(first: Gauge, second: Gauge) -> Gauge:
    return Gauge(first.name, first.about, [*first.samples, *second.samples])
