"""Rows decoded straight to what is scored mean what they mean as mappings, or are left to those who read mappings."""

from __future__ import annotations

import json
import random
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gbdtlr.head import DenseColumn, DenseColumns, WideColumns
from gbdtlr.model import Model
from gbdtlr.scoring import Scorer
from gbdtlr.serving.json_rows import MAX_COLUMNS, JsonRows
from gbdtlr.trees import Feature, FrozenTrees, Schema

NUMBERS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.just(10**400)
)
TEXTS = st.one_of(st.none(), st.sampled_from(["red", "7", "7.0", "TRUE", "", "mauve"]), st.text(max_size=3))
ODD = st.one_of(st.just([]), st.just({}), st.just("high"), st.just([1.5]))
KINDS = ("ids", "leaves", "mixed")
NAMES = ("x", "y", "colour", "shop")


@pytest.fixture(scope="module")
def models(store: str) -> dict[str, Model]:
    """With ids, without, and of trees whose categories come before their numbers."""
    whole = Scorer.open(store).loaded.model
    leaves = whole.bare(wide=WideColumns((), 1))
    mixed = Schema((Feature("colour", ("red", "7")), Feature("x"), Feature("y")))
    text = whole.trees.to_files()["booster.txt"].decode()
    return {"ids": whole, "leaves": leaves, "mixed": Model.of(FrozenTrees(text, mixed), WideColumns((), 1))}


@st.composite
def texts_of_rows(draw: st.DrawFn) -> str:
    """JSON of an object: of the columns in any order, and now and then with others, twice, or with what is no value."""
    pairs = [(name, draw(NUMBERS if name in "xy" else st.one_of(NUMBERS, TEXTS))) for name in NAMES]
    kind = draw(st.sampled_from(["plain", "plain", "plain", "less", "more", "twice", "odd"]))
    at = draw(st.integers(0, 3))
    if kind == "less":
        del pairs[at]
    elif kind == "more":
        pairs.append((draw(st.sampled_from(["rows", "user", "z", ""])), 1))
    elif kind == "twice":
        pairs.append((NAMES[at], draw(NUMBERS)))
    elif kind == "odd":
        pairs[at] = NAMES[at], draw(ODD)
    draw(st.randoms(use_true_random=False)).shuffle(pairs)
    escaped = draw(st.booleans())
    return "{" + ", ".join(f"{json.dumps(n)}: {json.dumps(v, ensure_ascii=escaped)}" for n, v in pairs) + "}"


@pytest.mark.parametrize("kind", KINDS)
@given(text=texts_of_rows())
def test_a_row_means_what_the_mapping_does(models: dict[str, Model], kind: str, text: str) -> None:
    model = models[kind]
    rows = JsonRows.of(model)
    assert rows is not None
    found = rows.margin(text.encode("utf-8", "surrogatepass"))
    if found is not None:
        row = msgspec.json.decode(text)
        assert row.keys() == {*model.columns}
        assert found == model.row_margin(row)


@pytest.mark.parametrize("kind", KINDS)
def test_ordinary_rows_are_plain(models: dict[str, Model], kind: str) -> None:
    model, rng = models[kind], random.Random(1)
    rows = JsonRows.of(model)
    assert rows is not None
    for _ in range(200):
        row: dict[str, Any] = {
            "x": rng.choice([None, rng.random(), 3, True]),
            "y": rng.normalvariate(),
            "colour": rng.choice(["red", "mauve", None, 7]),
            "shop": rng.choice([rng.randrange(30), "4", None]),
        }
        row = {name: row[name] for name in rng.sample(model.columns, len(model.columns))}
        assert rows.margin(json.dumps(row).encode()) == model.row_margin(row), row


@pytest.mark.parametrize("body", [b"", b"{", b"[1]", b"3", b"null", b'{"x": NaN}', b"\xff", b"[" * 100_000, b"{} {}"])
def test_what_is_no_row_is_left_to_others(models: dict[str, Model], body: bytes) -> None:
    rows = JsonRows.of(models["leaves"])
    assert rows is not None
    assert rows.margin(body) is None


def test_models_whose_rows_cannot_be_plain_have_none(models: dict[str, Model]) -> None:
    model = models["leaves"]
    assert JsonRows.of(model.bare(dense=DenseColumns((DenseColumn("score", (0.0,), (1.0,)),)))) is None
    assert JsonRows.of(model.bare(wide=WideColumns(('a "quoted" name',), 8))) is None
    many = tuple(f"id{i}" for i in range(MAX_COLUMNS - 3))
    assert JsonRows.of(model.bare(wide=WideColumns(many, 8))) is not None
    assert JsonRows.of(model.bare(wide=WideColumns((*many, "another"), 8))) is None
