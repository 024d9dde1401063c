"""Joined: whether impressions and outcomes are those of each other, and outcomes come while they are waited for."""

from __future__ import annotations

from collections.abc import Iterator

from gbdtlr.config import GuardConfig
from gbdtlr.jobs.guards.check import Check
from gbdtlr.samples import Joined, Tally

ENOUGH = 100
"""Impressions, or outcomes, that a share of them is told by."""


def joined(counts: Joined | None, guard: GuardConfig) -> Iterator[Check]:
    """Checks of a join in which too many have no key, repeat others, or find nobody; None for no join."""
    if counts is None:
        return
    single = counts.outcomes - counts.outcomes_keyless - counts.outcomes_repeated
    shares = (
        ("keyless", counts.keyless, counts.impressions, "impressions have no key", "see [samples] key"),
        ("keyless", counts.outcomes_keyless, counts.outcomes, "outcomes have no key", "see [outcomes] key"),
        (
            "repeated",
            counts.repeated,
            counts.impressions,
            "impressions have a key that one shortly before them had",
            "[samples] key must be the id of one impression",
        ),
        (
            "repeated",
            counts.outcomes_repeated,
            counts.outcomes,
            "outcomes have a key that one shortly before them had",
            "see [outcomes] key",
        ),
        (
            "unmatched",
            counts.unmatched,
            single,
            "outcomes have a key of no impression before them",
            "see whether [samples] path has all impressions, both keys are of one kind, and times of one zone",
        ),
        (
            "late",
            counts.late,
            single,
            "outcomes came after the window",
            "make [outcomes] window longer, or --grace of gbdtlr learn where a topic has them late, or see whether the "
            "times of both logs are of one zone",
        ),
    )
    for key, n, total, what, remedy in shares:
        most = getattr(guard, key)
        if total >= ENOUGH:
            objection = f"{n} of {total} {what}; [guard] {key} allows {most:g} of them; {remedy}"
            yield Check(key, n / total, high=most, objection=objection if n > most * total else "")


def late(tally: Tally, guard: GuardConfig) -> Iterator[Check]:
    """Check of rows of which too many have an outcome after their deadline, as where that is in another zone's time."""
    if tally.outcomes < ENOUGH:
        return
    objection = (
        f"{tally.late} of {tally.outcomes} labels of 1 came after the deadline of their row, so that they count as 0; "
        f"[guard] late allows {guard.late:g} of them; make [samples] label_window longer, or see label_deadline"
    )
    is_late = tally.late > guard.late * tally.outcomes
    yield Check("late", tally.late / tally.outcomes, high=guard.late, objection=objection if is_late else "")
