"""MLflow's protocol: every form its clients send scores as by the Scorer, and errors are in its form."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pyarrow import csv
from serving_kit import ROW, ROWS, Application, ask, values_of

from gbdtlr.scoring import Scorer, score_file

RECORDS = [ROW, *ROWS[1:3]]
SPLIT = {"columns": [*ROW], "index": [0, 1, 2], "data": [[row[name] for name in ROW] for row in RECORDS]}
FORMS = {
    "dataframe_split": SPLIT,
    "dataframe_records": RECORDS,
    "instances": RECORDS,
    "inputs": values_of(RECORDS),
}


@pytest.fixture(scope="module")
def expected(store: str) -> list[float]:
    scorer = Scorer.open(store)
    return [scorer.score_row(row) for row in RECORDS]


@pytest.mark.parametrize("form", FORMS)
def test_every_form_scores_the_same(app: Application, expected: list[float], form: str) -> None:
    reply = ask(app, "/invocations", {form: FORMS[form]})
    assert (reply.status, reply.release) == (200, 5)
    assert reply.json == {"predictions": expected, "release": 5}
    assert ask(app, "/invocations", {form: FORMS[form], "params": {}}).json["predictions"] == expected


def test_inputs_may_be_rows_or_tensors_of_one_column(app: Application, expected: list[float]) -> None:
    deep = {name: [[value] for value in values] for name, values in values_of(RECORDS).items()}
    for inputs in (RECORDS, deep):
        assert ask(app, "/invocations", {"inputs": inputs}).json["predictions"] == expected


def test_csv_scores_as_the_file_would(app: Application, store: str, tmp_path: Path) -> None:
    text = 'x,y,note,colour,shop\n0.5,-1.25,"a, b",red,3\n,0,,blue,4\n1e3,NaN,x,,007\n-1,2,"two\nlines",,\n'
    (tmp_path / "rows.csv").write_text(text)
    score_file(Scorer.open(store), str(tmp_path / "rows.csv"), str(tmp_path / "scored.csv"))
    scored = csv.read_csv(tmp_path / "scored.csv", parse_options=csv.ParseOptions(newlines_in_values=True))
    reply = ask(app, "/invocations", text.encode(), "text/csv")
    assert reply.json["predictions"] == scored["probability"].to_pylist()
    assert ask(app, "/invocations", b"\xef\xbb\xbf" + text.encode(), "text/csv; charset=utf-8").body == reply.body
    assert ask(app, "/invocations", b"x,y,colour,shop\n", "text/csv").json["predictions"] == []


@pytest.mark.parametrize(
    ("body", "status", "told"),
    [
        (b"", 400, "names of the columns"),
        (b"\xff\xfe", 400, "CSV"),
        (b"x,y,colour,shop\n1,2\n", 400, "CSV"),
        (b"x,y,colour\n1,2,red\n", 422, "shop is missing"),
        (b"x,y,colour,shop\nhigh,2,red,3\n", 422, "number"),
        (b"x,x,y,colour,shop\n1,1,2,red,3\n", 422, "x is there more than once"),
    ],
)
def test_csv_that_cannot_be_read_is_refused(app: Application, body: bytes, status: int, told: str) -> None:
    reply = ask(app, "/invocations", body, "text/csv")
    assert reply.status == status
    assert told in reply.json["message"]


def test_more_columns_are_ignored_as_mlflow_does(app: Application) -> None:
    more = [{**row, "campaign": 1} for row in RECORDS]
    assert ask(app, "/invocations", {"dataframe_records": more}).status == 200
    assert ask(app, "/invocations?unknown=refuse", {"dataframe_records": more}).status == 422


@pytest.mark.parametrize(
    ("document", "status", "told"),
    [
        ([], 400, "an object with one of"),
        ({}, 400, "an object with one of"),
        ({"columns": [], "data": []}, 400, "an object with one of"),
        ({"instances": RECORDS, "inputs": {}}, 400, "an object with one of"),
        ({"instances": RECORDS, "more": 1}, 400, "an object with one of"),
        ({"dataframe_split": []}, 400, "columns"),
        ({"dataframe_split": {"columns": ["x", 3], "data": []}}, 400, "columns"),
        ({"dataframe_split": {"columns": ["x", "x"], "data": [[1, 2]]}}, 422, "more than once"),
        ({"dataframe_split": {"columns": ["x", "y"], "data": [[1, 2], [3]]}}, 422, "row 1"),
        ({"dataframe_records": {"x": [1]}}, 400, "a list of objects"),
        ({"dataframe_records": 7}, 400, "a list of objects"),
        ({"instances": {"x": [1]}}, 400, "a list of objects"),
        ({"inputs": 7}, 400, "an object of lists, one for each column, or a list of objects"),
        ({"instances": [[1, 2]]}, 422, "found by name"),
        ({"inputs": {**values_of([ROW]), "x": ["high"]}}, 422, "high"),
        ({"dataframe_records": [{**ROW, "x": "high"}]}, 422, "x in row 0"),
    ],
    ids=json.dumps,
)
def test_errors_are_in_mlflows_form(app: Application, document: Any, status: int, told: str) -> None:
    reply = ask(app, "/invocations", document)
    assert reply.status == status
    assert reply.json.keys() == {"error_code", "message", "release"}
    assert reply.json["error_code"] == "BAD_REQUEST"
    assert told in reply.json["message"]


def test_ping(app: Application) -> None:
    reply = ask(app, "/ping")
    assert (reply.status, reply.body, reply.release) == (200, b"\n", 5)
