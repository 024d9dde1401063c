"""Rows: the samples a head was made of, read again to tell what it does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from gbdtlr.config import Config
from gbdtlr.errors import ConfigError, SamplesError
from gbdtlr.jobs.user_scores import UserScores
from gbdtlr.release import Release
from gbdtlr.samples import Samples, read_batches
from gbdtlr.times import LONGEST, MOMENT, format_duration

MAX_ROWS = 200_000


def window_samples(release: Release) -> Samples | None:
    """Samples the release's head learned from, as its own config finds them; the newest ``MAX_ROWS``, None of none."""
    made = release.head_manifest["config"]
    # No more than is needed: a version since may refuse other keys, and the release is to be told all the same.
    needed = {name: made[name] for name in ("samples", "outcomes") if name in made}
    # The trees' window plays no part; it only must not be shorter than outcomes are waited for.
    windows = {"head": {"window": made["head"]["window"]}, "trees": {"window": format_duration(LONGEST)}}
    try:
        config = Config.from_dict({**needed, **windows, **_users(made)})
    except ConfigError:  # made by a version that refused less: the weights can still be told
        return None
    as_of = release.head_as_of
    start = as_of - config.head.window
    try:
        users = UserScores.of(config, release.slow, as_of, start)
        read = read_batches(config.samples if users is None else users.reading, start, as_of + MOMENT, as_of)
        parts = [batch if users is None else users.on(batch) for batch in read]
    except SamplesError:  # moved away or cleaned up since: the weights can still be told
        return None
    if not parts:
        return None
    samples = Samples.concat(parts)
    return samples.take(np.arange(max(0, len(samples) - MAX_ROWS), len(samples)))


def _users(made: Mapping[str, Any]) -> dict[str, Any]:
    """What says how users' scores are worked out, if they are."""
    users = made.get("users")
    if not isinstance(users, dict) or not users.get("replay"):
        return {}
    head = {key: made["head"][key] for key in ("window", "method", "online")}
    return {"users": users, "embeddings": made["embeddings"], "head": head}
