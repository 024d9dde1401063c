"""Placed: up to where the head that a job goes on from has learned topics, for the manifest of the next."""

from __future__ import annotations

from gbdtlr.config import ONLINE, Config
from gbdtlr.release import Release
from gbdtlr.streams import Places


def places_of(base: Release | None, config: Config) -> Places | None:
    """Places that a head fitted where ``base`` is live takes over; None where there are none.

    Samples of files do not move them: what a head learned of a topic, and what is still to be learned of it, is the
    same after an update, and after a full fit, which reads in files what came by the topic before. A head that cannot
    learn sample by sample has none: by the time one can again, these would be old.

    Raises
    ------
    DamagedError
    """
    if base is None or config.head.method not in ONLINE:
        return None
    return Places.of(base.head_manifest)
