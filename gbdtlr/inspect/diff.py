"""The diff: what moved between the heads of two releases."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gbdtlr.errors import NoReleaseError
from gbdtlr.inspect.embeddings import embeddings_moved
from gbdtlr.inspect.moves import Move, bias_move, dense_moves, leaf_moves, most_common_first, wide_moves
from gbdtlr.inspect.rows import window_samples
from gbdtlr.metrics import sigmoid
from gbdtlr.release import Release
from gbdtlr.samples import Samples
from gbdtlr.store import Entry, Store
from gbdtlr.trees import Rules


def diff(store: Store, a: int | None = None, b: int | None = None, top: int = 20) -> dict[str, Any]:
    """What moved between the heads of two releases, told on the samples of the later head's window.

    Parameters
    ----------
    a, b : numbers of releases; None for the live one as ``b``, and the one before it as ``a``
    top : how many moves of leaves to tell, and how many of ids

    Returns
    -------
    ``a``, ``b`` : numbers; ``trees_differ`` : whether they stand on different trees, whose leaves cannot be compared
    ``embeddings`` : what :func:`embeddings_moved` tells, None where they are the same
    ``rows`` : samples the effects are taken over, at most the newest ``rows.MAX_ROWS``
    ``probability_a``, ``probability_b`` : mean over these rows
    ``moves`` : the largest, each with its ``kind``, ``leaf``, ``id``, ``dense`` or ``bias``, ``what`` in words,
        ``before`` and ``after`` in log-odds, the ``rows`` it touches, and ``effect``: what the move alone does to the
        mean probability, given all others. Leaves with one rule, as trees often share, move together

    Raises
    ------
    NoReleaseError
        No such releases.
    """
    old, new = _releases(store, a, b)
    samples = window_samples(new)
    told: dict[str, Any] = {
        "a": old.entry.number,
        "b": new.entry.number,
        "trees_differ": old.entry.trees != new.entry.trees,
        "embeddings": embeddings_moved(old, new),
        "rows": 0 if samples is None else len(samples),
        "probability_a": None,
        "probability_b": None,
        "moves": [],
    }
    if samples is None:
        return told
    codes = new.model.encode(samples)
    margin = new.head.margin(codes)
    told["probability_b"] = _mean(sigmoid(margin), samples)
    old_codes = codes
    readable = {*old.head.dense.names} <= {*samples.table.schema.names}
    alike = old.head.wide == new.head.wide and old.head.dense.same_values(new.head.dense)  # the hash of ids may differ
    if readable and (told["trees_differ"] or old.head.wide.same_ids(new.head.wide)):
        if told["trees_differ"] or not alike:
            old_codes = old.model.encode(samples)
        told["probability_a"] = _mean(sigmoid(old.head.margin(old_codes)), samples)
    rules = Rules(new.trees, most_common_first(samples, new.model))
    of_trees = [bias_move(old.head, new.head, len(samples))]
    if not told["trees_differ"]:
        of_trees += leaf_moves(old.model, new.model, codes, rules)
    of_dense = dense_moves(old.head, new.head, old_codes, codes) if told["probability_a"] is not None else []
    for moves in (of_trees, wide_moves(old.head, new.head, old_codes, codes, samples), of_dense):
        told["moves"] += _largest(moves, margin, samples.weight, rules, top)
    return told


def _releases(store: Store, a: int | None, b: int | None) -> tuple[Release, Release]:
    """The earlier and the later release, loaded."""
    live = store.live()
    if live is None:
        raise NoReleaseError(f"nothing is published in {store.url} yet; run first: gbdtlr train-trees")
    later = store.entry(b) if b is not None else live
    earlier = store.entry(a) if a is not None else _before(store, later)
    new = Release.load(store, later)
    return Release.load(store, earlier, known=new), new


def _before(store: Store, later: Entry) -> Entry:
    """What was live before a release, or is beside a candidate."""
    if later.live is not None:
        return store.entry(later.live)
    number = later.number - 1
    if number < 1:
        raise NoReleaseError(f"there is no release before {later.number} to compare it with; publish another first")
    before = store.entry(number)
    return before if before.live is None else store.entry(before.live)


def _largest(
    moves: Sequence[Move], margin: NDArray[np.float64], weight: NDArray[np.float64], rules: Rules, top: int
) -> list[dict[str, Any]]:
    """The ``top`` moves of the largest effect on the mean probability of rows of these margins, (n,), in JSON's types.

    The effect is what the move alone does, given all others.
    """
    probability = sigmoid(margin)

    def effect(move: Move) -> float:
        rows = move.rows()
        back = sigmoid(margin[rows] - (move.after - move.before if move.shift is None else move.shift))
        return float((probability[rows] - back) @ weight[rows] / weight.sum()) if weight.any() else 0.0

    moved = [move for move in moves if move.after != move.before and move.n_rows]
    moved.sort(key=lambda move: -move.size)
    likely = [(effect(move), move) for move in moved[: 4 * top]]  # a sigmoid for each row of each is too much
    likely.sort(key=lambda each: -abs(each[0]))
    return [
        {
            "kind": move.kind,
            "what": rules.words(move.what) if isinstance(move.what, int) else move.what,
            "before": move.before,
            "after": move.after,
            "rows": move.n_rows,
            "effect": change,
        }
        for change, move in likely[:top]
    ]


def _mean(probability: NDArray[np.float64], samples: Samples) -> float | None:
    return float(probability @ samples.weight / samples.weight.sum()) if samples.weight.any() else None
