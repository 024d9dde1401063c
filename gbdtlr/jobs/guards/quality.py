"""Quality: whether a new head may take the place of the live one.

No head can be judged on labels that became known after it was made, so the new one is judged in three ways, each on
rows that say something else:

*Contradiction*, before learning. The fresh labels, which the live head has not learned, should not run against its
order: an AUC well below one half means labels turned round, or joined to the wrong rows, and no drift of the
world does that. Any head learned from such rows looks well on them, which is why they are judged before.

*Fit*, after learning. On the fresh rows the new head has the advantage of having learned them. If it is still worse
than the live head, which has not, something broke in the fit. So is a first head worse than its bare trees.

*Held out*, where settings changed. What the new settings would have given in the live head's place, from the same
samples and without the fresh ones, is judged against the live head on the fresh rows, which neither has learned: too
little regularisation shows only there. Under unchanged settings that head is the live head itself, and
nothing is fitted twice.

New trees cannot be held out without growing them twice. The pair is judged against the live pair on the newest day's
rows, the same rows for both; it has learned all of them, so one that is worse there is certainly no better elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gbdtlr.compute.parts import Parts
from gbdtlr.config import GuardConfig
from gbdtlr.head import Codes, Head
from gbdtlr.jobs.guards.check import Check
from gbdtlr.metrics import Quality, auc, log_loss_of, weighted_sum

ENOUGH_POSITIVES = 20
RANKED = 65_536
"""Rows of either class whose order is looked at: the standard error of an AUC of so many is at most 0.0017."""
Judged = tuple[Head, Parts[Codes], Parts[Codes]]
"""A head that has not learned some rows; these as it reads them, and as the new head does, cut alike."""
Z = 3.0
"""Standard errors by which a difference must be beyond its bound."""


def contradiction(live: Sequence[tuple[Head, Parts[Codes]]], guard: GuardConfig) -> Iterator[Check]:
    """Check of fresh labels, which must not run against the order of the live head and against that of its bare trees.

    Of both, as a head that has just learned a storm can be wrong about the calm after it.

    Parameters
    ----------
    live : the head, and the rows as it reads them, of which it has learned none; or several, each with its own

    Source
    ------
    Variance of the AUC without any order: Mann and Whitney 1947.
    """
    if sum(parts.sum(len, zero=0) for _, parts in live) < guard.min_samples:
        return
    rows = [
        columns
        for head, parts in live
        for columns in spread_of_classes(parts, RANKED).map(labels_and_margins, (head, Head.bare(head.layout)))
    ]
    label, weight, *margins = np.concatenate([np.empty((4, 0)), *rows], axis=1)
    positive, negative = (float(((label == each) & (weight > 0)).sum()) for each in (1, 0))
    if not positive or not negative:
        return
    aucs = [auc(margin, label, weight) or 0.0 for margin in margins]
    error = np.sqrt((positive + negative + 1) / (12 * positive * negative))
    contradicted = (
        f"labels contradict the live head: its AUC on {len(label)} labels it had not learned is {aucs[0]:.3f}, "
        f"that of its bare trees {aucs[1]:.3f}; [guard] auc allows {guard.auc:g} less {Z:g} standard errors of "
        f"{error:.3f}; are labels turned round, or joined to the wrong rows?"
    )
    objects = max(aucs) + Z * error < guard.auc
    yield Check("auc", max(aucs), float(guard.auc - Z * error), None, contradicted if objects else "")


def labels_and_margins(codes: Codes, heads: Sequence[Head]) -> NDArray[np.float64]:
    """Label, weight and margin under each head of a part's rows, (2 + n_heads, n)."""
    return np.stack([codes.label.astype(np.float64), codes.weight, *(head.margin(codes) for head in heads)])


def spread_of_classes(parts: Parts[Codes], most: int) -> Parts[Codes]:
    """At most ``most`` rows of each label, evenly spread over all of it: an AUC does not depend on their ratio."""
    counts = np.array(parts.map(rows_of_classes), np.int64).reshape(-1, 2)
    before = np.cumsum(counts, axis=0) - counts
    return parts.derive(spread_in_part, counts.sum(axis=0), most, each=before)  # type: ignore[arg-type]  # a sequence


def rows_of_classes(codes: Codes) -> tuple[int, int]:
    """How many rows of a part are negative, and how many positive."""
    return int(np.count_nonzero(codes.label == 0)), int(np.count_nonzero(codes.label == 1))


def spread_in_part(codes: Codes, before: NDArray[np.int64], counts: NDArray[np.int64], most: int) -> Codes:
    """A part's rows among those chosen, where there are ``before`` and in all so many of each label."""
    kept = np.ones(len(codes), bool)
    for each, count in enumerate(counts.tolist()):
        rows = np.flatnonzero(codes.label == each)
        if count > most:
            # Row i of the class is kept where i most / count passes a whole number: exactly ``most`` of them.
            marks = (before[each] + np.arange(len(rows) + 1)) * most // count
            kept[rows] = marks[1:] > marks[:-1]
    return codes.take(kept)


def contest(
    new: Head, old: Head, parts: Parts[Codes], guard: GuardConfig, of_old: Parts[Codes] | None = None
) -> NDArray[np.float64]:
    """What :func:`worse` judges a new head by beside an old one on the same rows: sums over them, (7,).

    Parameters
    ----------
    of_old : the same rows as the old head reads them, cut alike, where its trees are others
    """
    pairs: Any = parts.derive(twice) if of_old is None else Parts(list(zip(parts, of_old, strict=True)))
    return pairs.sum(contest_in_part, new, old, guard.worse, zero=np.zeros(7))  # type: ignore[no-any-return]


def contests(new: Head, judged: Sequence[Judged], guard: GuardConfig) -> NDArray[np.float64]:
    """The sums of :func:`contest` over several old heads, each on rows of its own."""
    each = [contest(new, head, rows, guard, None if of_old is rows else of_old) for head, of_old, rows in judged]
    return sum(each, np.zeros(7))


def twice(codes: Codes) -> tuple[Codes, Codes]:
    """The same rows for two heads on the same trees."""
    return codes, codes


def contest_in_part(codes: tuple[Codes, Codes], new: Head, old: Head, allowed: float) -> NDArray[np.float64]:
    """The sums of :func:`excess` over a part's rows, as the new head reads them and as the old one does."""
    return excess(new.margin(codes[0]), old.margin(codes[1]), codes[0].label, codes[0].weight, allowed)


def excess(
    new: NDArray[np.float64],
    old: NDArray[np.float64],
    label: NDArray[Any],
    weight: NDArray[np.float64],
    allowed: float,
) -> NDArray[np.float64]:
    """Sums over rows, (n,) each, by how far the log loss of margins ``new`` is above what that of ``old`` allows.

    Returns
    -------
    sums : float64 (7,), of 1, the weights, their squares, and weighted of both losses, the excess and its square
    """
    loss, before = log_loss_of(new, label), log_loss_of(old, label)
    excess = loss - before * (1 + allowed)
    weighed = [weighted_sum(weight, each) for each in (weight, loss, before, excess, excess * excess)]
    return np.array([len(label), weight.sum(), *weighed])


def worse(sums: NDArray[np.float64], told: str, guard: GuardConfig) -> Iterator[Check]:
    """Check of a head's log loss, which must not be above that of another on the same rows, by the sums of a
    :func:`contest`.

    It must be so by more than the configured share, and by more than chance explains.
    """
    n, weighed, squares = sums[:3]
    if n < guard.min_samples or not weighed > 0:
        return
    loss, before, mean, square = sums[3:] / weighed
    error = np.sqrt(np.maximum(square - mean * mean, 0.0) * squares) / weighed  # Kish 1965: of uneven weights
    words = (
        f"{told}: log loss {loss:.4f} against {before:.4f} on {n:.0f} rows; [guard] worse allows {guard.worse:.0%} more"
    )
    objection = "" if mean <= Z * error else words
    share, bound = (loss / before - 1, guard.worse + Z * error / before) if before > 0 else (np.inf, np.inf)
    yield Check("worse", float(share), None, float(bound), objection)


def calibration(quality: Quality, guard: GuardConfig, newest: Callable[[], Quality] | None = None) -> Iterator[Check]:
    """Check of a head's probabilities, which must add up to the positives, lately or in the long run.

    A head that follows a storm is right about today and wrong about last week; one that follows it slowly is the
    other way round. Only one that is off to the same side in both is broken.

    Parameters
    ----------
    quality : of the new head on the samples it was fitted to
    newest : gives that on the newest of them, where those can be had
    """
    low, high = guard.calibration
    found = quality.calibration
    if found is None:
        return
    if low <= found <= high:
        yield Check("calibration", found, low, high)
        return
    said, of_newest = "", None if newest is None else newest()
    if of_newest is not None and of_newest.calibration is not None and of_newest.positives >= ENOUGH_POSITIVES:
        lately = of_newest.calibration
        if lately >= low if found < low else lately <= high:
            yield Check("calibration", lately, *((low, None) if found < low else (None, high)))
            return
        said = f" and {lately:.3f} on the newest {of_newest.rows}"
    off = (
        f"calibration of the new head is {found:.3f} on {quality.rows} rows it was fitted to{said}; "
        f"[guard] calibration allows {low:g} to {high:g}"
    )
    yield Check("calibration", found, low, high, off)
