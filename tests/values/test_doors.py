"""A value means the same whichever door it comes through, to the last bit, or is refused at every one by name."""

from __future__ import annotations

import json
import math
import re
from enum import Enum
from types import MappingProxyType
from typing import Any

import lightgbm
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from values_kit import CASES, DOORS, PLAIN, REFUSED, ROLES, Case, Doors, constants, in_json, objects_of

from gbdtlr.errors import SchemaError
from gbdtlr.jobs.lines import sample_of
from gbdtlr.metrics import sigmoid
from gbdtlr.trees import Feature, FrozenTrees, Schema
from gbdtlr.values import scalars


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_door_gives_the_same_or_the_same_refusal(case: Case, door: str, doors: Doors) -> None:
    tried = 0
    for role in ROLES:
        meaning = case.meaning(role)
        if REFUSED not in meaning:
            found = DOORS[door](doors, case.array, role)
            if found is not None:
                tried += 1
                assert_same(found, doors.expected(role, meaning), role)
        elif door.endswith("csv") and case.name != "string of a float":
            continue  # what is refused elsewhere is a text there
        else:
            for i, value in enumerate(meaning):
                tried += check_one(doors, door, case, role, i, value)
    if not tried:
        pytest.skip("this door cannot carry these values")


def check_one(doors: Doors, door: str, case: Case, role: str, i: int, value: Any) -> int:
    array = case.array.slice(i, 1)
    if value is not REFUSED:
        found = DOORS[door](doors, array, role)
        if found is not None:
            assert_same(found, doors.expected(role, [value]), role)
        return int(found is not None)
    found = outcome(doors, door, array, role)
    if found is None:
        return 0
    assert isinstance(found, SchemaError), "taken for something"
    assert re.search(rf"\b{role} ", str(found))
    return 1


def outcome(doors: Doors, door: str, array: pa.Array, role: str) -> Any:
    try:
        return DOORS[door](doors, array, role)
    except SchemaError as error:
        return error


def assert_same(found: tuple[Any, ...], expected: tuple[Any, ...], role: str) -> None:
    if found[0] is None:  # a file of probabilities
        np.testing.assert_array_equal(found[2], sigmoid(expected[2]), strict=True)
        return
    for what, one, other in zip(("leaves", "buckets", "margins"), found, expected, strict=True):
        np.testing.assert_array_equal(np.ascontiguousarray(one), other, strict=True, err_msg=f"{what} of {role}")


def test_the_release_tells_the_values_apart(doors: Doors) -> None:
    """Or else equal leaves, buckets and margins would say nothing."""
    apart = [
        ["a", "7", "0", "-3", "true", "false", None, "never seen", "007", "100000"],
        [0.0, 1.0, 7.0, -3.0, math.nan],
    ]
    for role, values in (("c", apart[0]), ("u", apart[0]), ("x", apart[1])):
        margins = doors.expected(role, values)[2]
        assert len(np.unique(margins)) == len(values), role


class Enumerated(Enum):
    """Members that stand for a text and for a number."""

    TEXT = "a"
    NUMBER = 7


whole_numbers = st.integers(-(2**70), 2**70) | st.integers(-9, 9)
fractions = st.floats() | st.integers(-9, 9).map(float)
words = st.text(max_size=4) | st.sampled_from(["7", "7.0", "True", "false", "", "1e+05", "a", "007"])
any_value = st.one_of(
    st.none(),
    st.booleans(),
    whole_numbers,
    fractions,
    words,
    st.decimals(),
    st.decimals(-9, 9, places=2),
    st.fractions(),
    st.uuids(),
    st.sampled_from(Enumerated),
    st.sampled_from([pd.NA, pd.NaT, np.ma.masked, np.datetime64("NaT")]),
    whole_numbers.filter(lambda value: abs(value) < 2**63).map(np.int64),
    st.floats(width=32).map(np.float32),
    st.booleans().map(np.bool_),
    words.map(np.str_),
    st.binary(max_size=3),
    st.datetimes(),
    st.lists(st.integers(), max_size=2),
)


@given(values=st.lists(any_value, min_size=1, max_size=4), role=st.sampled_from(ROLES))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=300)
def test_any_python_values_mean_the_same_in_rows_lines_and_columns(doors: Doors, values: list[Any], role: str) -> None:
    read = scalars.number if role == "x" else scalars.text
    try:
        meaning = [read(value) for value in values]
    except SchemaError:
        meaning = None
    ways = {
        "row": lambda: doors.rows([{**PLAIN, role: value} for value in values]),
        "row of another mapping": lambda: doors.rows([MappingProxyType({**PLAIN, role: value}) for value in values]),
        "list": lambda: doors.frame({**constants(len(values)), role: values}),
        "objects": lambda: doors.frame({**constants(len(values)), role: objects_of(values)}),
        "series": lambda: doors.frame(
            pd.DataFrame({**constants(len(values)), role: pd.Series(objects_of(values), dtype=object)})
        ),
        "line": lambda: doors.rows([sample_of(line_of(value, role), doors.config("-"))[0] for value in values]),
    }
    if any(in_json(value) is None for value in values):
        del ways["line"]
    for name, way in ways.items():
        if meaning is None:
            with pytest.raises(SchemaError, match=rf"\b{role} "):
                way()
        else:
            assert_same(way(), doors.expected(role, meaning), f"{role} by {name} of {values!r}")


def line_of(value: Any, role: str) -> str:
    return json.dumps({**PLAIN, "label": 1, role: json.loads(in_json(value) or "null")})


@given(values=st.lists(st.none() | st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=4).filter(any))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=50)
def test_a_number_that_is_an_id_too_is_both_in_every_door(doors: Doors, values: list[int | None]) -> None:
    array = pa.array(values, pa.int64())
    expected = doors.rows([{**PLAIN, "n": value} for value in values])
    for name in ("table", "stream", "lists", "masked", "polars", "row", "line", "parquet", "score_parquet"):
        assert_same(DOORS[name](doors, array, "n"), expected, name)
    for name in ("csv", "json_lines", "score_json_lines"):
        assert_same(DOORS[name](doors, array, "n"), expected, name)
    small = [value for value in values if value is None or abs(value) < 2**53]
    if any(value is not None for value in small):
        as_floats = pa.array([None if value is None else float(value) for value in small], pa.float64())
        expected = doors.rows([{**PLAIN, "n": value} for value in small])
        for name in ("table", "lists", "row", "parquet", "score_parquet", "line", "pandas"):
            assert_same(DOORS[name](doors, as_floats, "n"), expected, name)


def test_a_number_that_was_never_missing_in_training_is_zero_when_it_is() -> None:
    """LightGBM's own rule, which the docs tell; where there were gaps, missing has a side of its own."""
    rng = np.random.default_rng(0)
    x = rng.normal(100, 1, 2000)
    label = rng.random(2000) < 1 / (1 + np.exp(100 - x))
    for gaps in (False, True):
        column = np.where(rng.random(2000) < 0.2, np.nan, x) if gaps else x
        matrix = column[:, None]
        params = {"objective": "binary", "verbosity": -1, "num_leaves": 8}
        booster = lightgbm.train(params, lightgbm.Dataset(matrix, label, feature_name=["x"]), 10)
        trees = FrozenTrees(booster.model_to_string(), Schema((Feature("x"),)))
        leaves = [trees.encode_row({"x": value}).tolist() for value in (None, 0.0, 100.0)]
        assert (leaves[0] == leaves[1]) is not gaps
        assert leaves[0] == booster.predict([[math.nan]], pred_leaf=True)[0].tolist()
