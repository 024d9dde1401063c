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

import numpy as np
from numpy.typing import NDArray

from gbdtlr.compute import threads
from gbdtlr.config import GuardConfig
from gbdtlr.head import Codes, Head, WideColumns
from gbdtlr.metrics import Quality, auc, log_loss_of, weighted_sum
from gbdtlr.trees import FrozenTrees

ENOUGH_POSITIVES = 20
RANKED = 65_536
"""Rows of either class whose order is looked at: the standard error of an AUC of so many is at most 0.0017."""
Z = 3.0
"""Standard errors by which a difference must be beyond its bound."""


def margins(head: Head, trees: FrozenTrees, parts: Sequence[Codes]) -> NDArray[np.float64]:
    """Margins of all rows of coded samples, (n,)."""
    starts = np.cumsum([0, *map(len, parts)])
    out = np.empty(starts[-1])

    def work(p: int) -> None:
        out[starts[p] : starts[p + 1]] = head.margin(parts[p].leaves, trees.offsets, parts[p].buckets)

    threads.run(len(parts), work)
    return out


def bare(trees: FrozenTrees, wide: WideColumns) -> Head:
    """The trees themselves, as a head."""
    return Head(
        0.0,
        trees.leaf_values,
        wide,
        tuple(np.empty(0, np.uint32) for _ in wide.names),
        tuple(np.empty(0) for _ in wide.names),
    )


def contradiction(live: Head, trees: FrozenTrees, parts: Sequence[Codes], guard: GuardConfig) -> Iterator[str]:
    """Objection to fresh labels that run against the order of the live head and against that of its bare trees.

    Of both, as a head that has just learned a storm can be wrong about the calm after it.

    Source
    ------
    Variance of the AUC without any order: Mann and Whitney 1947.
    """
    if sum(map(len, parts)) < guard.min_samples:
        return
    ranked = spread_of_classes(parts, RANKED)
    label, weight = _of_rows(ranked)
    positive, negative = (float(((label == each) & (weight > 0)).sum()) for each in (1, 0))
    if not positive or not negative:
        return
    found = [auc(margins(head, trees, ranked), label, weight) or 0.0 for head in (live, bare(trees, live.wide))]
    error = np.sqrt((positive + negative + 1) / (12 * positive * negative))
    if max(found) + Z * error < guard.auc:
        yield (
            f"labels contradict the live head: its AUC on {len(label)} labels it had not learned is {found[0]:.3f}, "
            f"that of its bare trees {found[1]:.3f}; [guard] auc allows {guard.auc:g} less {Z:g} standard errors of "
            f"{error:.3f}; are labels turned round, or joined to the wrong rows?"
        )


def spread_of_classes(parts: Sequence[Codes], most: int) -> list[Codes]:
    """At most ``most`` rows of each label, evenly spread over all of it: an AUC does not depend on their ratio."""
    counts = [sum(int(np.count_nonzero(part.label == each)) for part in parts) for each in (0, 1)]
    if max(counts) <= most:
        return list(parts)
    found, passed = [], [0, 0]
    for part in parts:
        kept = np.ones(len(part), bool)
        for each, count in enumerate(counts):
            rows = np.flatnonzero(part.label == each)
            if count > most:
                # Row i of the class is kept where i most / count passes a whole number: exactly ``most`` of them.
                marks = (passed[each] + np.arange(len(rows) + 1)) * most // count
                kept[rows] = marks[1:] > marks[:-1]
            passed[each] += len(rows)
        found.append(part.take(kept))
    return found


def worse(
    new: NDArray[np.float64], old: NDArray[np.float64], parts: Sequence[Codes], told: str, guard: GuardConfig
) -> Iterator[str]:
    """Objection to margins ``new``, (n,), whose log loss is above that of ``old`` on the same rows.

    It must be so by more than the configured share, and by more than chance explains.
    """
    n, weighed = sum(map(len, parts)), sum(float(part.weight.sum()) for part in parts)
    if n < guard.min_samples or not weighed > 0:
        return
    # Part by part: what is worked out for each row would take more memory than its leaves.
    sums, squares, start = np.zeros(4), 0.0, 0
    for part in parts:
        rows = slice(start, start + len(part))
        start = rows.stop
        loss, before = log_loss_of(new[rows], part.label), log_loss_of(old[rows], part.label)
        excess = loss - before * (1 + guard.worse)
        sums += [weighted_sum(part.weight, each) for each in (loss, before, excess, excess * excess)]
        squares += weighted_sum(part.weight, part.weight)
    loss, before, mean, square = sums / weighed
    error = np.sqrt(np.maximum(square - mean * mean, 0.0) * squares) / weighed  # Kish 1965: of uneven weights
    if not mean <= Z * error:
        yield (
            f"{told}: log loss {loss:.4f} against {before:.4f} on {n} rows; [guard] worse allows {guard.worse:.0%} more"
        )


def calibration(quality: Quality, guard: GuardConfig, newest: Callable[[], Quality] | None = None) -> Iterator[str]:
    """Objection to a head whose probabilities do not add up to the positives, neither lately nor in the long run.

    A head that follows a storm is right about today and wrong about last week; one that follows it slowly is the
    other way round. Only one that is off to the same side in both is broken.

    Parameters
    ----------
    quality : of the new head on the samples it was fitted to
    newest : gives that on the newest of them, where those can be had
    """
    low, high = guard.calibration
    found = quality.calibration
    if found is None or low <= found <= high:
        return
    said, of_newest = "", None if newest is None else newest()
    if of_newest is not None and of_newest.calibration is not None and of_newest.positives >= ENOUGH_POSITIVES:
        lately = of_newest.calibration
        if lately >= low if found < low else lately <= high:
            return
        said = f" and {lately:.3f} on the newest {of_newest.rows}"
    yield (
        f"calibration of the new head is {found:.3f} on {quality.rows} rows it was fitted to{said}; "
        f"[guard] calibration allows {low:g} to {high:g}"
    )


def _of_rows(parts: Sequence[Codes]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    if not parts:
        return np.zeros(0), np.zeros(0)
    return np.concatenate([part.label for part in parts]).astype(np.float64), np.concatenate([p.weight for p in parts])
