"""Ages: whether a window holds more of one class than happened, as its labels become known sooner."""

from __future__ import annotations

import math
from collections.abc import Iterator

from gbdtlr.config import Config
from gbdtlr.jobs.guards.check import Check
from gbdtlr.samples import Tally
from gbdtlr.tables import age

Z = 2.0
"""Standard errors by which the odds must be bent beyond their bound."""
FEW = 30
"""Known rows of either class below which ages say nothing."""


def ages(tally: Tally, config: Config) -> Iterator[Check]:
    """Check of a window, in which labels of one class must not be known so much sooner that it bends their rate.

    Parameters
    ----------
    tally : of a reading of the whole window
    """
    found, guard = tally.ages, config.guard
    if found is None:
        return
    negatives, positives = (int(n) for n in found.known)
    remedy = (
        "write [samples] label_window (how long an outcome may take) or label_deadline (a column that says until when "
        "it may come): then no label is taken before that, whatever its class"
    )
    if (not negatives or not positives) and found.unknown >= guard.min_samples and max(negatives, positives) >= FEW:
        which = "positive" if positives else "negative"
        one_class = (
            f"all {max(negatives, positives)} labels known so far are {which}, and {found.unknown} rows of the window "
            f"have none yet; if a row without an outcome has no {config.samples.label_time}, {remedy}"
        )
        yield Check("ages", math.inf if positives else 0.0, guard.ages[0], guard.ages[1], one_class)
        return
    if min(negatives, positives) < FEW:
        return
    low, high = guard.ages
    bend = found.bend()
    error = Z * math.sqrt(1 / positives + 1 / negatives)
    least, most = low * math.exp(-error), high * math.exp(error)
    times = f"{bend:.3g} times as likely beside negatives as they are"
    bent = (
        f"labels become known at different ages: half the known positives by {age(found.median_s(1))}, half the "
        f"negatives by {age(found.median_s(0))}, and {found.unknown_of_newest():.0%} of the newer half of the window's "
        f"rows have no label yet, so that positives look {times}; {remedy}; [guard] ages allows {low:g} to {high:g}"
    )
    yield Check("ages", bend, least, most, "" if least <= bend <= most else bent)
