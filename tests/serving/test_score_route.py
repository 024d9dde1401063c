"""``/score`` and ``/explain``: JSON and Arrow give what the Scorer gives, and say what is wrong by column."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from serving_kit import ARROW, JSON, ROW, ROWS, application, ask, stream_of, values_of

from gbdtlr.errors import SchemaError
from gbdtlr.head import WideColumns
from gbdtlr.scoring import Scorer
from gbdtlr.serving import Application
from gbdtlr.serving.columns import Columns
from gbdtlr.serving.forms import check_form, form_of


@pytest.fixture(scope="module")
def scorer(store: str) -> Scorer:
    return Scorer.open(store)


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_a_row_scores_as_by_the_scorer(app: Application, scorer: Scorer, row: dict[str, Any]) -> None:
    reply = ask(app, "/score", row)
    assert (reply.status, reply.headers["content-type"]) == (200, JSON)
    assert reply.json == {"probability": scorer.score_row(row), "release": 5}
    assert reply.release == 5


_NUMBERS = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**53), 2**53), st.floats(allow_nan=False, allow_infinity=False)
)
_CATEGORIES = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from(["red", "green", "7", "7.0", "true", ""]),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(-(2**52), 2**52).map(float.__round__).map(float),
    st.text(st.characters(exclude_categories=["Cs"])),
)
_ROWS = st.fixed_dictionaries({"x": _NUMBERS, "y": _NUMBERS, "colour": _CATEGORIES, "shop": _CATEGORIES})


@settings(max_examples=150, deadline=None)
@given(st.lists(_ROWS, max_size=24))
def test_rows_and_columns_score_as_each_row_alone(app: Application, scorer: Scorer, rows: list[dict[str, Any]]) -> None:
    """More rows than are taken one by one, with values of any types side by side."""
    sent = [{"rows": rows}, *([{"columns": values_of(rows)}] if rows else [])]
    try:
        expected = [scorer.score_row(row) for row in rows]
    except SchemaError:
        assert {ask(app, "/score", body).status for body in sent} == {422}
        return
    for body in sent:
        assert ask(app, "/score", body).json == {"probability": expected, "release": 5}


def test_no_rows_are_no_probabilities(app: Application, scorer: Scorer) -> None:
    empty = pa.table({name: pa.array([], pa.float64() if name in "xy" else pa.string()) for name in ROW})
    for body in ({"rows": []}, {"columns": {name: [] for name in ROW}}):
        assert ask(app, "/score", body).json == {"probability": [], "release": 5}
    assert len(ask(app, "/score", stream_of(empty), ARROW).table) == 0
    assert scorer.score(empty).shape == (0,)


# Arrow.


def arrow_rows(n: int = 30) -> pa.Table:
    rng = np.random.default_rng(0)
    return pa.table(
        {
            "shop": pa.array(rng.integers(0, 20, n), mask=rng.random(n) < 0.1),
            "colour": pa.array(rng.choice(["red", "green", "mauve"], n)),
            "y": rng.normal(size=n).astype(np.float32),
            "x": pa.array(rng.normal(size=n), mask=rng.random(n) < 0.1),
        }
    )


def test_arrow_in_is_arrow_out(app: Application, scorer: Scorer) -> None:
    rows = arrow_rows()
    reply = ask(app, "/score", stream_of(rows), ARROW)
    assert (reply.status, reply.headers["content-type"], reply.release) == (200, ARROW, 5)
    assert reply.table["probability"].to_pylist() == scorer.score(rows).tolist()
    assert reply.table["release"].to_pylist() == [5] * len(rows)


@pytest.mark.parametrize(
    ("sent", "accept", "given_back"),
    [(ARROW, JSON, JSON), (JSON, ARROW, ARROW), (JSON, "*/*", JSON), (ARROW, "*/*", ARROW)],
)
def test_the_answer_comes_as_the_client_accepts(app: Application, sent: str, accept: str, given_back: str) -> None:
    rows = arrow_rows()
    body = stream_of(rows) if sent == ARROW else {"columns": rows.to_pydict()}
    reply = ask(app, "/score", body, sent, headers={"accept": accept})
    assert reply.headers["content-type"] == given_back
    values = reply.json["probability"] if given_back == JSON else reply.table["probability"].to_pylist()
    assert len(values) == len(rows)
    assert ask(app, "/score", ROW, headers={"accept": ARROW}).table.num_rows == 1


def test_any_batches_and_encodings_of_arrow_score_the_same(app: Application, scorer: Scorer) -> None:
    rows = arrow_rows()
    expected = scorer.score(rows).tolist()
    several = pa.concat_tables([rows.slice(0, 7), rows.slice(7, 0), rows.slice(7)])
    dictionary = rows.set_column(1, "colour", rows["colour"].dictionary_encode())
    large = rows.set_column(1, "colour", rows["colour"].cast(pa.large_string()))
    for table in (several, dictionary, large):
        assert ask(app, "/score", stream_of(table), ARROW).table["probability"].to_pylist() == expected


def test_arrow_that_could_fill_the_memory_is_refused(app: Application) -> None:
    rows = arrow_rows()
    for codec in ("zstd", "lz4"):
        reply = ask(app, "/score", stream_of(rows, compression=codec), ARROW)
        assert (reply.status, "compress" in reply.json["detail"]) == (415, True)
        of_dictionary = rows.set_column(1, "colour", rows["colour"].dictionary_encode())
        assert ask(app, "/score", stream_of(of_dictionary, compression=codec), ARROW).status == 415
    nothing = pa.table({name: pa.nulls(10_000_000) for name in ROW})
    assert len(stream_of(nothing)) < 2000
    assert ask(app, "/score", stream_of(nothing), ARROW).status == 413


def test_arrow_that_is_none_or_damaged_is_refused(app: Application) -> None:
    stream = stream_of(arrow_rows())
    for body in (b"", b"{}", stream[:40], stream[:-60], stream[:300] + b"\xff" * 60 + stream[360:]):
        assert ask(app, "/score", body, ARROW).status in (400, 422), body[:20]
    wild = pa.StringArray.from_buffers(2, pa.py_buffer(np.array([0, 2**30, 3], np.int32)), pa.py_buffer(b"abc"))
    table = arrow_rows(2)
    batch = pa.RecordBatch.from_arrays(
        [table["shop"].chunk(0), wild, table["y"].chunk(0), table["x"].chunk(0)], table.schema.names
    )
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    assert ask(app, "/score", sink.getvalue().to_pybytes(), ARROW).status == 400


# What is wrong is told by column.


@pytest.mark.parametrize("body", ["row", "rows", "columns", "arrow"])
def test_every_problem_is_told_by_column(app: Application, body: str) -> None:
    row = {"x": "high", "color": "red", "shop": 3}
    sent: Any = {"row": row, "rows": {"rows": [ROW, row]}, "columns": {"columns": values_of([row])}}.get(body)
    if body == "arrow":
        sent = stream_of(pa.table(values_of([row])))
    reply = ask(app, "/score", sent, ARROW if body == "arrow" else JSON)
    assert (reply.status, reply.headers["content-type"]) == (422, "application/problem+json")
    document = reply.json
    assert document["status"] == 422
    assert document["title"]
    assert (document["release"], reply.release) == (5, 5)
    problems = document["problems"]
    assert {"y", "colour", "color"} <= problems.keys() <= {"x", "y", "colour", "color"}
    assert problems["y"].endswith("is missing")
    assert problems["color"].endswith("is no column of release 5; did you mean colour?")
    if body != "arrow":  # of a table whose columns are not those asked for, nothing is read
        assert "number" in problems["x"]
    assert ("in row 1" in problems["y"]) == (body == "rows")


def test_a_wrong_value_in_any_row_is_found(app: Application) -> None:
    rows = [dict(ROW) for _ in range(30)]
    rows[17]["x"] = "high"
    for body in ({"rows": rows}, {"columns": values_of(rows)}):
        reply = ask(app, "/score", body)
        assert reply.status == 422
        assert reply.json["problems"].keys() == {"x"}
        assert "row 17" in reply.json["problems"]["x"]
        assert "high" in reply.json["problems"]["x"]
    reply = ask(app, "/score", stream_of(pa.table(values_of([{**ROW, "x": "high"}]))), ARROW)
    assert (reply.status, reply.json["problems"].keys()) == (422, {"x"})


def test_columns_of_different_lengths_are_refused(app: Application) -> None:
    frame = {**values_of(ROWS), "shop": [1, 2]}
    reply = ask(app, "/score", {"columns": frame})
    assert (reply.status, reply.json["problems"]["shop"]) == (422, "has 2 values")
    assert ask(app, "/score", {"columns": {**values_of(ROWS), "x": 3}}).json["problems"] == {
        "x": "is a number, a list expected"
    }


@pytest.mark.parametrize("value", [None, True, 3, "x", [], [ROW], 1.5])
def test_what_is_no_row_is_refused(app: Application, value: Any) -> None:
    for path in ("/score", "/explain"):
        assert ask(app, path, json.dumps(value).encode()).status == 422
    assert ask(app, "/score", {"rows": [value]}).status == 422


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({"rows": 3}, "rows is a number, a list of objects, one for each row, expected"),
        ({"rows": None}, "rows is null, a list of objects"),
        ({"rows": {"x": 1}}, "rows is an object, a list of objects"),
        ({"columns": [ROW]}, "columns is a list, an object of lists, one for each column, expected"),
        ({"columns": "x"}, "columns is a text"),
        ({"rows": [ROW], "columns": {}}, "beside rows there may be user, events and vectors, but not columns"),
        ({"rows": [ROW], "z": 1}, "but not z"),
        ({"rows": [ROW], "vectors": True}, "send user too"),
        ({"rows": 3, "user": None}, "rows is a number"),
        ({"user": None, "vectors": True}, "send rows or columns beside it"),
        ([ROW], 'not a list; send {"rows": [...]}'),
    ],
    ids=str,
)
def test_what_is_meant_as_rows_or_columns_is_not_taken_for_a_row(app: Application, body: Any, told: str) -> None:
    for query in ("", "?unknown=ignore"):
        reply = ask(app, f"/score{query}", body)
        assert (reply.status, reply.json["problems"], reply.release) == (422, {}, 5)
        assert told in reply.json["detail"]


def test_an_object_with_columns_of_the_release_is_a_row(app: Application) -> None:
    """Which others it has beside them is told, or not minded, as of any row."""
    more = {**ROW, "rows": 3, "user": "u7"}
    assert ask(app, "/score", more).json["problems"].keys() == {"rows", "user"}
    assert ask(app, "/score?unknown=ignore", more).json == ask(app, "/score", ROW).json


def test_a_column_may_be_called_rows(store: str) -> None:
    model = Scorer.open(store).loaded.model.bare(wide=WideColumns(("rows",), 8))
    columns = Columns(replace(Scorer.open(store).loaded, model=model))
    assert form_of({"rows": 3}, columns) is None
    check_form({"rows": 3}, columns)


def test_rows_are_explained_one_by_one(app: Application) -> None:
    for body in ({"rows": [ROW]}, {"columns": values_of([ROW])}, {"rows": 3}):
        reply = ask(app, "/explain", body)
        assert (reply.status, "send one row" in reply.json["detail"]) == (422, True)


def test_unknown_columns_are_an_error_unless_they_are_to_be_ignored(app: Application, store: str) -> None:
    more = {**ROW, "campaign": 7}
    expected = ask(app, "/score", ROW).json
    sent: list[tuple[Any, str]] = [(more, JSON), ({"rows": [more] * 20}, JSON), ({"columns": values_of([more])}, JSON)]
    sent += [(stream_of(pa.table(values_of([more]))), ARROW)]
    lenient = application(store, unknown_columns="ignore")
    for body, kind in sent:
        refused = ask(app, "/score", body, kind)
        assert (refused.status, refused.json["problems"].keys()) == (422, {"campaign"})
        for reply in (ask(app, "/score?unknown=ignore", body, kind), ask(lenient, "/score", body, kind)):
            assert reply.status == 200
        assert ask(lenient, "/score?unknown=refuse", body, kind).status == 422
    assert ask(app, "/score?unknown=ignore", more).json == expected
    assert ask(app, "/score?unknown=maybe", more).status == 400
    assert ask(app, "/explain", more).status == 422
    assert ask(app, "/explain?unknown=ignore", more).status == 200


NO_JSON = [b"", b"{", b"NaN", b'{"x": NaN}', b'{"x": 1e999}', b"[" * 100_000, b"\xff\xfe", b'"\xff"', b"{} {}"]


@pytest.mark.parametrize("body", NO_JSON, ids=lambda body: repr(body[:12]))
def test_what_is_no_json_is_refused(app: Application, body: bytes) -> None:
    for path in ("/score", "/explain", "/invocations", "/v2/models/gbdtlr/infer"):
        assert ask(app, path, body).status == 400


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "application/octet-stream", "x" * 500]
)
def test_a_content_type_that_is_not_understood_is_refused(app: Application, kind: str) -> None:
    for path in ("/score", "/explain", "/invocations", "/v2/models/gbdtlr/infer"):
        assert ask(app, path, ROW, kind).status == 415
    assert ask(app, "/score", ROW, "application/json; charset=utf-8").status == 200
    assert ask(app, "/score", ROW, "APPLICATION/JSON").status == 200
    assert ask(app, "/score", ROW, None).status == 200
    assert ask(app, "/score", ROW, headers={"content-encoding": "gzip"}).status == 415


def test_numbers_beyond_any_column_are_refused_by_name(app: Application) -> None:
    huge = int("9" * 400)
    for body in ({**ROW, "x": huge}, {"rows": [{**ROW, "x": huge}] * 12}, {"columns": values_of([{**ROW, "x": huge}])}):
        assert ask(app, "/score", body).status in (400, 422)
    for body in ({**ROW, "shop": 2**70}, {"rows": [{**ROW, "colour": 2**70}] * 12}):
        reply = ask(app, "/score", body)
        assert reply.status in (200, 422)
        assert reply.status == 200 or reply.json["problems"]


# Why.


def test_explain_sums_to_the_margin(app: Application, scorer: Scorer) -> None:
    reply = ask(app, "/explain", ROW)
    assert (reply.status, reply.release) == (200, 5)
    found = reply.json
    assert found["probability"] == scorer.score_row(ROW)
    assert math.isclose(sum(term["weight"] for term in found["terms"]), found["margin"], abs_tol=1e-9)
    assert any("shop" in term["what"] for term in found["terms"])
    refused = ask(app, "/explain", {**ROW, "x": "high"})
    assert (refused.status, refused.json["problems"].keys()) == (422, {"x"})
