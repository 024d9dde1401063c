"""Rows: the samples a head was made of, read again to tell what it does."""

from __future__ import annotations

import numpy as np

from gbdtlr.config import Config
from gbdtlr.errors import SamplesError
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
    config = Config.from_dict({**needed, **windows})
    as_of = release.head_as_of
    try:
        parts = list(read_batches(config.samples, as_of - config.head.window, as_of + MOMENT, as_of))
    except SamplesError:  # moved away or cleaned up since: the weights can still be told
        return None
    if not parts:
        return None
    samples = Samples.concat(parts)
    return samples.take(np.arange(max(0, len(samples) - MAX_ROWS), len(samples)))
