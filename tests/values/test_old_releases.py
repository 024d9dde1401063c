"""Trees of before a text had one spelling go on reading texts as they stood when they grew."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from gbdtlr.errors import SchemaError
from gbdtlr.head import WideColumns
from gbdtlr.model import Golden, Model
from gbdtlr.scoring import Scorer
from gbdtlr.trees import Feature, Schema
from gbdtlr.trees.schema import FORMAT

VOCABULARY = ("", "7", "7.0", "True", "a", "true")
OLD = {"format": 1, "features": [{"name": "c", "kind": "categorical", "vocabulary": list(VOCABULARY)}]}
VALUES = ["", "7", "7.0", "True", "a", "true", "TRUE", "1e+16", None, "b"]
CODES = [0, 1, 2, 3, 4, 5, 6, 6, math.nan, 6]


@pytest.fixture
def old() -> Schema:
    return Schema.from_json(json.dumps(OLD).encode())


def test_texts_are_met_as_they_were_learned(old: Schema) -> None:
    column = pa.array(VALUES)
    frames: list[Any] = [VALUES, column, column.dictionary_encode(), np.array(VALUES, object), pd.Series(VALUES)]
    for values in frames:
        np.testing.assert_array_equal(old.matrix({"c": values})[:, 0], CODES)
    np.testing.assert_array_equal([old.row({"c": value})[0] for value in VALUES], CODES)


def test_values_of_other_types_are_met_as_they_were(old: Schema) -> None:
    for values, code in (([7, None], 1), ([7.0, None], 1), ([True, None], 5)):
        assert old.matrix({"c": values})[0, 0] == old.row({"c": values[0]})[0] == code
    with pytest.raises(SchemaError, match="c holds"):
        old.matrix({"c": [2.0**60]})


def test_new_trees_learn_one_spelling() -> None:
    schema = Schema.fit({"c": [*VALUES[:6], "TRUE"]}, [], ["c"], min_category_count=1)
    assert schema.features == (Feature("c", ("7", "a", "true")),)
    np.testing.assert_array_equal(schema.matrix({"c": VALUES[:7]})[:, 0], [math.nan, 0, 0, 2, 1, 2, 2])
    assert json.loads(schema.to_json())["format"] == FORMAT == 2


def test_old_schemas_are_written_as_they_were_read(old: Schema) -> None:
    assert json.loads(old.to_json()) == OLD
    assert Schema.from_json(old.to_json()) == old
    assert old != Schema(old.features)


def test_the_golden_rows_of_an_old_release_are_replayed_in_its_own_meaning(store: str, tmp_path: Path) -> None:
    """As when all its rows had an empty text, a category its trees know or have never seen."""
    scorer = Scorer.open(shutil.copytree(store, tmp_path / "store"))
    model = scorer.loaded.model
    trees = model.trees
    files = trees.to_files()
    table = json.loads(files["schema.json"])
    table["format"] = 1
    table["features"][-1]["vocabulary"][:1] = [""]
    old = type(trees).from_files({**files, "schema.json": json.dumps(table).encode()})
    rows = pa.Table.from_pylist([{"x": 0.5, "n": 1, "c": text, "u": "7"} for text in ("", "TRUE", "7.0", "a")])
    made = Model(old, model.head)
    Golden.from_bytes(Golden.of(rows, made).to_bytes()).replay(made)
    unseen = len(table["features"][-1]["vocabulary"])
    np.testing.assert_array_equal(old.schema.matrix(rows)[:3, -1], [0, unseen, unseen])
    assert np.isnan(trees.schema.matrix(rows)[0, -1])


def test_ids_of_the_first_hash_are_the_texts_that_stood_there() -> None:
    old, new = WideColumns(("c",), 2**20, "blake2b"), WideColumns(("c",), 2**20)
    rows = [{"c": value} for value in VALUES if value not in ("1e+16", None)]
    texts = [row["c"] for row in rows]
    by_row = np.array([old.row_buckets(row) for row in rows])[:, 0]
    for column in (texts, pa.array(texts), pa.array(texts).dictionary_encode(), pd.Series(texts)):
        np.testing.assert_array_equal(old.buckets({"c": column})[0], by_row)
    assert len(set(by_row)) == len(texts)
    new_rows = np.array([new.row_buckets(row) for row in rows])[:, 0]
    assert len(set(new_rows)) == len({"", "7", "true", "a", "b"})
    np.testing.assert_array_equal(new.buckets({"c": texts})[0], new_rows)
    assert new.row_buckets({"c": ""}) == new.row_buckets({"c": None})
