"""Explaining: why one row got its probability, term by term, with leaves as rules in words."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gbdtlr import tables
from gbdtlr.errors import SamplesError
from gbdtlr.head import Head
from gbdtlr.head.in_use import lookup
from gbdtlr.inspect.words import dense_in_words, id_in_words
from gbdtlr.metrics import sigmoid
from gbdtlr.model import Model
from gbdtlr.samples.tables import read_tables
from gbdtlr.trees import Rules
from gbdtlr.values import scalars
from gbdtlr.values.crosses import parts_of
from gbdtlr.values.vectors import numbered, row_vector


@dataclass(frozen=True)
class Term:
    """One weight of a head and the rows it stands for.

    Attributes
    ----------
    what : the rule of a leaf, or the id of a wide column, in words
    weight : log-odds it adds
    code : where the weight stands: ``tree`` and ``leaf``, ``column`` and ``bucket``, or the ``column`` alone of a dense
        one; nothing of what shares a term
    """

    what: str
    weight: float
    code: Mapping[str, Any] = field(default_factory=dict)


def explain(model: Model, row: Mapping[str, Any], by_tree: bool = False) -> dict[str, Any]:
    """The terms that make the margin of one row; they sum to it.

    Parameters
    ----------
    row : column names to values
    by_tree : a term for each tree, ids, dense columns and the bias after them; else the largest term first, and trees
        that say the same of the row share one

    Returns
    -------
    ``margin``, ``probability`` and ``terms``, each with ``what`` in words and ``weight`` in log-odds, and
    with ``by_tree`` with ``tree`` and ``leaf``, LightGBM's own numbers, or ``column`` and ``bucket``. A dense column
    has one term, a list too: how much more than its centre it adds

    Raises
    ------
    SchemaError
        Columns missing or of the wrong type; the message lists them.
    """
    trees, head = model.trees, model.head
    codes = trees.encode_row(row).astype(np.int64) + trees.offsets[:-1]
    spell = scalars.written if trees.schema.as_written else scalars.text
    categories = ((f.name, spell(row[f.name])) for f in trees.schema.features if f.vocabulary is not None)
    rules = Rules(trees, {name: [text] for name, text in categories if text is not None})
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
    terms += [*_id_terms(head, row, by_tree), *_dense_terms(head, row, by_tree)]
    terms.append(Term("every row (bias)", head.bias))
    if not by_tree:
        terms.sort(key=lambda term: -abs(term.weight))
    margin = model.row_margin(row)
    return {
        "margin": margin,
        "probability": float(sigmoid(np.array([margin]))[0]),
        "terms": [{**term.code, "what": term.what, "weight": term.weight} for term in terms],
    }


def row_of(model: Model, source: str, number: int) -> dict[str, Any]:
    """Row ``number``, from 0, of a file, folder or glob, as :func:`explain` takes it: the columns of the model.

    Raises
    ------
    SamplesError
        The files cannot be read, or have fewer rows.
    """
    numeric = [feature.name for feature in model.trees.schema.features if feature.vocabulary is None]
    n_before = 0
    dense = model.head.dense.names
    for table in read_tables(source, numeric, dense):
        if number < n_before + len(table):
            there = {*table.schema.names}
            parts = [part for name in dense if name not in there for part in numbered(there, name)]
            names = [*(name for name in model.columns if name in there), *parts]
            return {name: scalars.unwrapped(table.column(name)[number - n_before]) for name in names}
        n_before += len(table)
    raise SamplesError(f"{source} has {tables.count(n_before, 'row')}, so there is no row {number}; rows count from 0")


def _dense_terms(head: Head, row: Mapping[str, Any], by_tree: bool) -> list[Term]:
    products = head.dense.row_values(row).astype(np.float64) * head.dense_weights if head.dense.n else np.empty(0)
    terms = []
    for column, where in zip(head.dense.columns, head.dense.places, strict=True):
        found = row_vector(row, column.name, column.size)
        words = dense_in_words(column.name, found, column.is_list)
        code = {"column": column.name} if by_tree else {}
        terms.append(Term(words, float(products[where].sum()), code))
    return terms


def _id_terms(head: Head, row: Mapping[str, Any], by_tree: bool) -> list[Term]:
    terms = []
    for name, bucket, index, weights in zip(
        head.wide.names, head.wide.row_buckets(row), head.layout.buckets, head.wide_weights, strict=True
    ):
        weight = float(lookup(index, weights, np.array([bucket], index.dtype))[0])
        code = {"column": name, "bucket": bucket} if by_tree else {}
        terms.append(Term(id_in_words(name, [row[part] for part in parts_of(name)]), weight, code))
    return terms
