"""The Open Inference Protocol v2: what its clients send is scored as by the Scorer, in its words and error form."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from serving_kit import ROW, ROWS, application, ask

import gbdtlr
from gbdtlr.scoring import Scorer
from gbdtlr.serving import Application

MODEL = "/v2/models/gbdtlr"
TYPES = {"x": "FP64", "y": "FP64", "colour": "BYTES", "shop": "INT64"}


def tensors(rows: list[dict[str, Any]], **types: str) -> list[dict[str, Any]]:
    kinds = {**TYPES, **types}
    return [
        {"name": name, "datatype": kinds[name], "shape": [len(rows)], "data": [row[name] for row in rows]}
        for name in ROW
    ]


def infer(app: Application, inputs: Any, path: str = MODEL, **more: Any) -> Any:
    return ask(app, f"{path}/infer", {"inputs": inputs, **more})


PLAIN = [ROW, {**ROWS[1], "x": 2.5}, {"x": -1, "y": 3, "colour": "green", "shop": 12}]


def test_tensors_score_as_rows(app: Application, store: str) -> None:
    scorer = Scorer.open(store)
    expected = [scorer.score_row(row) for row in PLAIN]
    reply = infer(app, tensors(PLAIN), id="request 7")
    assert (reply.status, reply.release) == (200, 5)
    assert reply.json == {
        "model_name": "gbdtlr",
        "model_version": "5",
        "id": "request 7",
        "outputs": [{"name": "probability", "datatype": "FP64", "shape": [3], "data": expected}],
    }
    as_columns = [
        {**tensor, "shape": [3, 1], "data": [[value] for value in tensor["data"]]} for tensor in tensors(PLAIN)
    ]
    flat_columns = [{**tensor, "shape": [3, 1]} for tensor in tensors(PLAIN)]
    for inputs in (as_columns, flat_columns):
        assert infer(app, inputs).json["outputs"][0]["data"] == expected
    asked = infer(app, tensors(PLAIN), outputs=[{"name": "probability"}], parameters={"content_type": "pd"})
    assert asked.json["outputs"][0]["data"] == expected


def test_a_number_in_single_precision_is_that_number(app: Application, store: str) -> None:
    scorer = Scorer.open(store)
    rows = [{**ROW, "y": value} for value in (0.1, 1e-3, 123.456)]
    found = infer(app, tensors(rows, y="FP32")).json["outputs"][0]["data"]
    frame = {
        "x": [row["x"] for row in rows],
        "y": np.array([row["y"] for row in rows], np.float32),
        "colour": pa.array([row["colour"] for row in rows]),
        "shop": [row["shop"] for row in rows],
    }
    assert found == scorer.score(frame).tolist()


def test_null_is_missing_in_every_type(app: Application, store: str) -> None:
    row = dict.fromkeys(ROW)
    expected = [Scorer.open(store).score_row(row)]
    for datatype in ("FP64", "FP32", "INT64", "BYTES", "BOOL"):
        found = infer(app, tensors([row], **dict.fromkeys(ROW, datatype)))
        wrong_for_numbers = datatype == "BYTES"
        assert found.status == 200, (datatype, wrong_for_numbers, found.body)
        assert found.json["outputs"][0]["data"] == expected


def test_a_truth_value_is_a_number_or_a_category(app: Application, store: str) -> None:
    row = {"x": True, "y": 0.0, "colour": False, "shop": 3}
    found = infer(app, tensors([row], x="BOOL", colour="BOOL")).json["outputs"][0]["data"]
    assert found == [Scorer.open(store).score_row(row)]


def test_metadata_and_health(app: Application) -> None:
    assert ask(app, "/v2").json == {"name": "gbdtlr", "version": gbdtlr.__version__, "extensions": []}
    assert ask(app, "/v2/health/live").json == {"live": True}
    assert ask(app, "/v2/health/ready").json == {"ready": True}
    inputs = [{"name": name, "datatype": "BYTES", "shape": [-1]} for name in ("colour", "shop")]
    inputs = [{"name": name, "datatype": "FP64", "shape": [-1]} for name in ("x", "y")] + inputs
    expected = {
        "name": "gbdtlr",
        "versions": ["5"],
        "platform": "gbdtlr",
        "inputs": inputs,
        "outputs": [{"name": "probability", "datatype": "FP64", "shape": [-1]}],
    }
    for path in (MODEL, f"{MODEL}/versions/5"):
        assert ask(app, path).json == expected
        assert ask(app, f"{path}/ready").json == {"name": "gbdtlr", "ready": True}
        assert infer(app, tensors(PLAIN), path).status == 200


@pytest.mark.parametrize(
    "path", [f"{MODEL}/versions/{n}" for n in ("4", "6", "05", "x", "")] + ["/v2/models/other", "/v2/models", "/v2/x"]
)
def test_what_is_not_live_is_not_there(app: Application, path: str) -> None:
    for more, body in (("", None), ("/ready", None), ("/infer", {"inputs": tensors(PLAIN)})):
        reply = ask(app, path + more, body)
        assert reply.status == 404
        assert reply.json["error"]
        assert reply.release == 5


def test_the_model_is_called_as_the_config_says(store: str) -> None:
    app = application(store, name="ctr")
    assert ask(app, "/v2/models/ctr").json["name"] == "ctr"
    assert infer(app, tensors(PLAIN), "/v2/models/ctr").json["model_name"] == "ctr"
    assert ask(app, MODEL).status == 404


X = {"name": "x", "datatype": "FP64", "shape": [1], "data": [1.0]}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"datatype": "FP16"}, "x has datatype FP16"),
        ({"datatype": 7}, "x has datatype 7"),
        ({"shape": [2]}, "x has shape [2] and 1 values"),
        ({"shape": [1, 2]}, "x has shape [1, 2]; [n] or [n, 1] expected"),
        ({"shape": [-1]}, "x needs a shape"),
        ({"shape": "1"}, "x needs a shape"),
        ({"data": None}, "x needs data"),
        ({"data": ["a"]}, "x holds 'a', which is no FP64"),
        ({"data": [[1.0]]}, "x holds '[1.0]', which is no FP64"),
        ({"data": [10**400]}, "which is no FP64"),
        ({"datatype": "FP32", "data": [1e39]}, "x holds 1e+39, which is no FP32"),
        ({"datatype": "INT64", "data": [2**63]}, "x holds 9223372036854775808, which is no INT64"),
        ({"datatype": "UINT8", "data": [-1]}, "x holds -1, which is no UINT8"),
        ({"datatype": "INT64", "data": [1.5]}, "x holds '1.5', which is no INT64"),
        ({"datatype": "BYTES", "data": ["a"]}, "x"),
        ({"name": "xx"}, "xx is no column of release 5; did you mean x?"),
        ({"name": "y"}, "y is there more than once"),
    ],
    ids=str,
)
def test_what_is_wrong_with_a_tensor_is_told_in_the_protocols_form(app: Application, change: Any, told: str) -> None:
    inputs = [X | change, *tensors([ROW])[1:]]
    reply = infer(app, inputs)
    assert reply.status == 422
    assert reply.json.keys() == {"error", "model_version"}
    assert told in reply.json["error"]


@pytest.mark.parametrize(
    "document",
    [
        [],
        {},
        {"inputs": []},
        {"inputs": {}},
        {"inputs": [7]},
        {"inputs": [{"datatype": "FP64"}]},
        {"inputs": [X], "id": 7},
    ],
    ids=json.dumps,
)
def test_what_is_no_inference_is_refused(app: Application, document: Any) -> None:
    reply = ask(app, f"{MODEL}/infer", document)
    assert (reply.status, reply.json.keys()) == (400, {"error", "model_version"})


def test_other_outputs_and_binary_tensors_are_refused(app: Application) -> None:
    for outputs in ([{"name": "leaves"}], 3, {"name": "probability"}):
        reply = infer(app, tensors([ROW]), outputs=outputs)
        assert (reply.status, "or left out" in reply.json["error"]) == (422, True)
    body = {"inputs": tensors([ROW])}
    assert ask(app, f"{MODEL}/infer", body, headers={"inference-header-content-length": "10"}).status == 415
