"""Explaining: leaves as rules in words, what moved between two releases, and what makes one row's margin."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gbdtlr import tables
from gbdtlr.config import Config
from gbdtlr.errors import NoReleaseError, SamplesError
from gbdtlr.head import Codes, Head
from gbdtlr.head.layout import lookup
from gbdtlr.metrics import sigmoid
from gbdtlr.release import Release, encode
from gbdtlr.samples import Samples, read_batches
from gbdtlr.samples.tables import read_tables
from gbdtlr.store import Store
from gbdtlr.trees import Rules
from gbdtlr.values.frames import column_of, texts

MOMENT = timedelta(microseconds=1)
MAX_ROWS = 200_000


@dataclass(frozen=True)
class Term:
    """One weight of a head and the rows it stands for.

    Attributes
    ----------
    what : the rule of a leaf, or the id of a wide column, in words
    weight : log-odds it adds
    code : where the weight stands: ``tree`` and ``leaf``, or ``column`` and ``bucket``; nothing of what shares a term
    """

    what: str
    weight: float
    code: Mapping[str, Any] = field(default_factory=dict)


def explain(release: Release, row: Mapping[str, Any], by_tree: bool = False) -> dict[str, Any]:
    """The terms that make the margin of one row; they sum to it.

    Parameters
    ----------
    row : column names to values
    by_tree : a term for each tree, ids and the bias after them; else the largest term first, and trees that say the
        same of the row share one

    Returns
    -------
    ``release``, ``margin``, ``probability`` and ``terms``, each with ``what`` in words and ``weight`` in log-odds, and
    with ``by_tree`` with ``tree`` and ``leaf``, LightGBM's own numbers, or ``column`` and ``bucket``

    Raises
    ------
    SchemaError
        Columns missing or of the wrong type; the message lists them.
    """
    trees, head = release.trees, release.head
    rules = Rules(trees, {name: [str(value)] for name, value in row.items() if value is not None})
    codes = trees.encode_row(row).astype(np.int64) + trees.offsets[:-1]
    if by_tree:
        terms = [
            Term(rules.words(code), float(head.leaf_weights[code]), {"tree": t, "leaf": code - int(trees.offsets[t])})
            for t, code in enumerate(codes.tolist())
        ]
    else:
        leaves: dict[Hashable, list[int]] = {}
        for code in codes.tolist():
            leaves.setdefault(rules.key(code), []).append(code)
        terms = [Term(rules.words(same[0]), float(head.leaf_weights[same].sum())) for same in leaves.values()]
    terms += [*_id_terms(head, row, by_tree), Term("every row (bias)", head.bias)]
    if not by_tree:
        terms.sort(key=lambda term: -abs(term.weight))
    margin = release.row_margin(row)
    return {
        "release": release.entry.number,
        "margin": margin,
        "probability": float(sigmoid(np.array([margin]))[0]),
        "terms": [{**term.code, "what": term.what, "weight": term.weight} for term in terms],
    }


def _id_terms(head: Head, row: Mapping[str, Any], by_tree: bool) -> list[Term]:
    terms = []
    for name, bucket, index, weights in zip(
        head.wide.names, head.wide.row_buckets(row), head.layout.buckets, head.wide_weights, strict=True
    ):
        value = " and ".join(f"{part} is {_said(row[part])}" for part in name.split(":"))
        code = {"column": name, "bucket": bucket} if by_tree else {}
        terms.append(Term(value, _weight_of(index, weights, bucket), code))
    return terms


def row_of(release: Release, source: str, number: int) -> dict[str, Any]:
    """Row ``number``, from 0, of a file, folder or glob, as :func:`explain` takes it.

    Raises
    ------
    SamplesError
        The files cannot be read, or have fewer rows.
    """
    numeric = [feature.name for feature in release.trees.schema.features if feature.vocabulary is None]
    n_before = 0
    for table in read_tables(source, numeric):
        if number < n_before + len(table):
            (row,) = table.slice(number - n_before, 1).to_pylist()
            return dict(row)
        n_before += len(table)
    raise SamplesError(f"{source} has {tables.count(n_before, 'row')}, so there is no row {number}; rows count from 0")


def diff(store: Store, a: int | None = None, b: int | None = None, top: int = 20) -> dict[str, Any]:
    """What moved between the heads of two releases, told on the samples of the later head's window.

    Parameters
    ----------
    a, b : numbers of releases; None for the live one as ``b``, and the one before it as ``a``
    top : how many moves of leaves to tell, and how many of ids

    Returns
    -------
    ``a``, ``b`` : numbers; ``trees_differ`` : whether they stand on different trees, whose leaves cannot be compared
    ``rows`` : samples the effects are taken over, at most the newest ``MAX_ROWS``
    ``probability_a``, ``probability_b`` : mean over these rows
    ``moves`` : the largest, each with its ``kind``, which is ``leaf``, ``id`` or ``bias``, ``what`` in words,
        ``before`` and ``after`` in log-odds, the ``rows`` it touches, and ``effect``: what the move alone does to the
        mean probability, given all others. Leaves with one rule, as trees often share, move together

    Raises
    ------
    NoReleaseError
        No such releases.
    """
    live = store.live()
    if live is None:
        raise NoReleaseError(f"nothing is published in {store.url} yet; run first: gbdtlr train-trees")
    later = store.entry(b) if b is not None else live
    number = a if a is not None else later.number - 1
    if number < 1:
        raise NoReleaseError(f"there is no release before {later.number} to compare it with; publish another first")
    new = Release.load(store, later)
    old = Release.load(store, store.entry(number), known=new)
    samples = window_samples(new)
    told: dict[str, Any] = {
        "a": old.entry.number,
        "b": new.entry.number,
        "trees_differ": old.entry.trees != new.entry.trees,
        "rows": 0 if samples is None else len(samples),
        "probability_a": None,
        "probability_b": None,
        "moves": [],
    }
    if samples is None:
        return told
    codes = encode(samples, new.trees, new.head.wide)
    p_new = sigmoid(_margin(new, codes))
    told["probability_b"] = _mean(p_new, samples)
    old_codes = codes if not told["trees_differ"] else encode(samples, old.trees, old.head.wide)
    if old.head.wide == new.head.wide or told["trees_differ"]:
        told["probability_a"] = _mean(sigmoid(_margin(old, old_codes)), samples)
    rules = Rules(new.trees, _most_common_first(samples, new))
    leaves = [] if told["trees_differ"] else _leaf_moves(old, new, codes, rules)
    bias = _Move("bias", "every row", old.head.bias, new.head.bias, len(samples), lambda: np.arange(len(samples)))
    margin, weight = _margin(new, codes), samples.weight

    def effect(move: _Move) -> float:
        rows = move.rows()
        back = sigmoid(margin[rows] - (move.after - move.before))
        return float((p_new[rows] - back) @ weight[rows] / weight.sum()) if weight.any() else 0.0

    for moves in ([bias, *leaves], _wide_moves(old.head, new.head, codes, samples)):
        moved = [move for move in moves if move.after != move.before and move.n_rows]
        moved.sort(key=lambda move: -abs(move.after - move.before) * move.n_rows)
        likely = [(effect(move), move) for move in moved[: 4 * top]]  # a sigmoid for each row of each is too much
        likely.sort(key=lambda each: -abs(each[0]))
        told["moves"] += [
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
    return told


def importance(release: Release, codes: Codes | None) -> list[tuple[str, float]]:
    """Features by how much of the spread of the margin their trees' splits and their ids carry, largest first.

    A leaf's variance over the rows is shared equally among the splits on its path.
    """
    trees, head = release.trees, release.head
    found: dict[str, float] = {}
    rules = Rules(trees)
    for t in range(trees.n_trees):
        first, last = trees.offsets[t], trees.offsets[t + 1]
        weights = head.leaf_weights[first:last]
        share = np.ones(last - first) if codes is None else np.bincount(codes.leaves[t], minlength=last - first)
        total = share.sum()
        if not total:
            continue
        spread = share / total * (weights - share @ weights / total) ** 2
        for leaf, part in enumerate(spread):
            path = rules.features(int(first) + leaf)
            for name in path:
                found[name] = found.get(name, 0.0) + float(part) / len(path)
    if codes is not None:
        for name, bucket, index, weights in zip(
            head.wide.names, codes.buckets, head.layout.buckets, head.wide_weights, strict=True
        ):
            found[name] = found.get(name, 0.0) + float(np.var(lookup(index, weights, bucket)))
    total_spread = sum(found.values()) or 1.0
    return sorted(((name, part / total_spread) for name, part in found.items()), key=lambda each: (-each[1], each[0]))


def window_samples(release: Release) -> Samples | None:
    """Samples the release's head learned from, as its own config finds them; the newest ``MAX_ROWS``, None of none."""
    made = release.head_manifest["config"]
    # No more than is needed: a version since may refuse other keys, and the release is to be told all the same.
    config = Config.from_dict({"samples": made["samples"], "head": {"window": made["head"]["window"]}})
    as_of = release.head_as_of
    try:
        parts = list(read_batches(config.samples, as_of - config.head.window, as_of + MOMENT, as_of))
    except SamplesError:  # moved away or cleaned up since: the weights can still be told
        return None
    if not parts:
        return None
    samples = Samples.concat(parts)
    return samples.take(np.arange(max(0, len(samples) - MAX_ROWS), len(samples)))


@dataclass(frozen=True)
class _Move:
    kind: str
    what: str | int  # words, or the code of a leaf: its words are only made if they are told
    before: float
    after: float
    n_rows: int
    rows: Callable[[], NDArray[np.int64]]  # found when asked for: those of all leaves would fill the memory


def _leaf_moves(old: Release, new: Release, codes: Codes, rules: Rules) -> list[_Move]:
    """Moves of the rules of leaves, each the sum over the leaves that have it."""
    moves: dict[Hashable, _Move] = {}
    before, after, offsets = old.head.leaf_weights, new.head.leaf_weights, new.trees.offsets
    for t in range(new.trees.n_trees):
        counts = np.bincount(codes.leaves[t], minlength=int(offsets[t + 1] - offsets[t]))
        for leaf in np.flatnonzero(counts).tolist():
            code = int(offsets[t]) + leaf
            key, rows = rules.key(code), partial(_rows_in, codes.leaves[t], leaf)
            same = moves.get(key) or _Move("leaf", code, 0.0, 0.0, int(counts[leaf]), rows)
            moves[key] = replace(same, before=same.before + float(before[code]), after=same.after + float(after[code]))
    return list(moves.values())


def _rows_in(leaves: NDArray[Any], leaf: int) -> NDArray[np.int64]:
    return np.flatnonzero(leaves == leaf)


def _wide_moves(old: Head, new: Head, codes: Codes, samples: Samples) -> list[_Move]:
    if old.wide != new.wide:
        return []
    moves = []
    for j, name in enumerate(new.wide.names):
        bucket = codes.buckets[j]
        order = np.argsort(bucket, kind="stable")
        values, starts = np.unique(bucket[order], return_index=True)
        before = lookup(old.layout.buckets[j], old.wide_weights[j], values)
        after = lookup(new.layout.buckets[j], new.wide_weights[j], values)
        ends = [*starts[1:], len(order)]
        parts = name.split(":")
        columns = [texts(column_of(samples.table, part)) for part in parts]
        for i in np.flatnonzero(before != after):
            rows = order[starts[i] : ends[i]]
            said = " and ".join(
                f"{part} is {_said(_most_common(column, rows))}" for part, column in zip(parts, columns, strict=True)
            )
            moves.append(_Move("id", said, float(before[i]), float(after[i]), len(rows), partial(_itself, rows)))
    return moves


def _itself(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    return rows


def _most_common_first(samples: Samples, release: Release) -> dict[str, list[str]]:
    """Values of each categorical feature, the most common first."""
    common = {}
    for feature in release.trees.schema.features:
        if feature.vocabulary is not None:
            counts = texts(column_of(samples.table, feature.name)).value_counts()
            order = np.argsort(-counts.field("counts").to_numpy(zero_copy_only=False), kind="stable")
            values = counts.field("values").to_pylist()
            common[feature.name] = [values[i] for i in order.tolist()]
    return common


def _most_common(column: Any, rows: NDArray[np.int64]) -> Any:
    """The id most rows of a bucket have; others that share the bucket are rare by design."""
    counts = column.take(pa.array(rows[:1000])).value_counts()
    best = int(np.argmax(counts.field("counts").to_numpy(zero_copy_only=False)))
    return counts.field("values")[best].as_py()


def _said(value: Any) -> str:
    missing = value is None or (isinstance(value, float) and math.isnan(value))
    return "missing" if missing else str(value)


def _margin(release: Release, codes: Codes) -> NDArray[np.float64]:
    return release.head.margin(codes)


def _mean(probability: NDArray[np.float64], samples: Samples) -> float | None:
    return float(probability @ samples.weight / samples.weight.sum()) if samples.weight.any() else None


def _weight_of(index: NDArray[Any], weights: NDArray[np.float64], bucket: int) -> float:
    return float(lookup(index, weights, np.array([bucket], index.dtype))[0])
