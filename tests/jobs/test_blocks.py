"""A block of lines gives what its lines give one by one: the same samples, codes, refusals and first reason."""

from __future__ import annotations

import json
from typing import Any

import lightgbm as lgb
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gbdtlr.config import SamplesConfig
from gbdtlr.errors import SamplesError
from gbdtlr.head import WideColumns
from gbdtlr.jobs.blocks import Block
from gbdtlr.jobs.lines import sample_of
from gbdtlr.model import Model
from gbdtlr.streams import Piece
from gbdtlr.trees import FrozenTrees
from gbdtlr.trees.schema import Feature, Schema

CONFIG = SamplesConfig(
    path=("x",),
    event_time="t",
    label_delay=None,
    label_time="known",
    weight="w",
    numeric=("x", "k"),
    categorical=("colour",),
    wide=("shop", "k", "colour:shop"),
)
PLAIN = '{"label": 1, "w": 2, "x": 0.5, "k": 7, "colour": "red", "shop": 11}'
VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.integers(0, 9), st.floats(), st.text(max_size=4),
    st.sampled_from(["True", "7.0", "007", "1e+06", "1e+17", "\ud800", "red"]), st.lists(st.integers(), max_size=1),
)  # fmt: skip
ROWS = st.fixed_dictionaries(
    {},
    optional={
        "label": st.one_of(st.sampled_from([0, 1, 1, 0, "1", True, 1.0, 2]), VALUES),
        "w": st.one_of(st.just(1), st.floats(0, 10), VALUES),
        **dict.fromkeys(("x", "k", "colour", "shop"), VALUES),
    },
)
LINES = st.lists(
    st.one_of(st.just(PLAIN), ROWS.map(json.dumps), st.sampled_from(["", " ", "{", "[]", "1", '{"label": 1}'])),
    max_size=6,
)


@pytest.fixture(scope="module")
def model() -> Model:
    rng = np.random.default_rng(0)
    matrix = np.column_stack([rng.normal(size=300), rng.integers(0, 9, 300), rng.integers(0, 3, 300)]).astype(float)
    label = rng.random(300) < np.where(matrix[:, 0] + matrix[:, 2] > 1, 0.8, 0.2)
    data = lgb.Dataset(matrix, label, feature_name=["x", "k", "colour"])
    booster = lgb.train({"objective": "binary", "verbosity": -1, "num_threads": 1, "num_leaves": 8}, data, 5)
    schema = Schema((Feature("x"), Feature("k"), Feature("colour", ("green", "red"))))
    return Model.of(FrozenTrees(booster.model_to_string(), schema), WideColumns(CONFIG.wide, 64))


def one_by_one(lines: list[str], model: Model, labels: Any = None, factors: Any = None) -> Block:
    """What becomes of the lines, each by itself and by the functions for one row."""
    block = Block()
    for i, line in enumerate(lines):
        if not line.strip():
            block.n_blank += 1
            continue
        try:
            row, label, weight = sample_of(line, CONFIG, None if labels is None else float(labels[i]))
            codes = model.encode_row(row)
        except (SamplesError, ValueError, RecursionError) as error:
            block.n_refused += 1
            block.reason = block.reason or " ".join(str(error).split())
            continue
        block.rows.append(row)
        block.codes.append(codes)
        block.label.append(label)
        block.weight.append(weight if factors is None else weight * factors[i])
    return block


def said(block: Block) -> Any:
    codes = [each.tolist() for each in block.codes]
    return repr((block.rows, codes, block.label, block.weight, block.n_blank, block.n_refused, block.reason))


@given(LINES)
@example([PLAIN, PLAIN.replace("11", "9007199254740993"), PLAIN.replace('"red"', "null")])
@example([PLAIN, PLAIN.replace("0.5", "NaN"), "{}"])
@example([PLAIN, '{"label": 0, "w": 1}', '{"label": 0, "w": 1, "x": null}'])
@settings(max_examples=300, deadline=None)
def test_a_block_is_what_its_lines_are_one_by_one(model: Model, lines: list[str]) -> None:
    assert said(Block.of(Piece(lines), CONFIG, model)) == said(one_by_one(lines, model))
    as_bytes = [line.encode("utf-8", "surrogatepass") for line in lines]
    assert said(Block.of(Piece(as_bytes), CONFIG, model)) == said(one_by_one(as_bytes, model))  # type: ignore[arg-type]


@given(LINES)
@example([PLAIN, "", PLAIN])
@settings(max_examples=30, deadline=None)
def test_labels_beside_the_lines_stand_in_for_their_own(model: Model, lines: list[str]) -> None:
    labels, factors = [i % 2 for i in range(len(lines))], [0.5 + i for i in range(len(lines))]
    expected = one_by_one(lines, model, labels, factors)
    assert said(Block.of(Piece(lines, labels, factors), CONFIG, model)) == said(expected)
    refused = Block.of(Piece(lines, labels, factors, ["no\nthing", "more"]), CONFIG, model)
    assert (refused.n_refused, refused.reason) == (expected.n_refused + 2, "no thing")
    assert refused.label == expected.label


def test_plain_lines_are_coded_together(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gbdtlr.jobs.blocks.sample_of", None)
    block = Block.of(Piece([PLAIN, "", PLAIN.replace("11", '"b"')]), CONFIG, model)
    assert (len(block.rows), block.n_blank, block.n_refused) == (2, 1, 0)
