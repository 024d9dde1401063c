"""Dense columns over HTTP: the same probability through every protocol, and every mistake told by its column."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet
from serving_kit import ARROW, Application, application, ask, stream_of

from gbdtlr.config import Config
from gbdtlr.inspect.diff import diff
from gbdtlr.inspect.explain import explain, row_of
from gbdtlr.inspect.importance import importance
from gbdtlr.jobs import train_trees, update_lr
from gbdtlr.scoring import Scorer
from gbdtlr.store import Store

Made = tuple[Config, list[dict[str, Any]]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, make_samples: Callable[..., pa.Table], make_config: Any) -> Made:
    """A config whose store has a release with a number and a list of three, and rows of every kind."""
    from datetime import UTC, datetime

    folder, start = tmp_path_factory.mktemp("served"), datetime(2024, 3, 1, tzinfo=UTC)
    (folder / "samples").mkdir()
    for day in range(3):
        table = make_samples(start + timedelta(days=day))
        rng = np.random.default_rng(day)
        net = np.asarray(table.column("label")) + rng.normal(size=len(table)) - 2.0
        hidden = [
            None if i % 30 == 4 else [*each, None if i % 20 == 3 else 1.0]
            for i, each in enumerate(rng.normal(size=(len(table), 2)).tolist())
        ]
        table = table.append_column("net", pa.array(net)).append_column(
            "hidden", pa.array(hidden, pa.list_(pa.float64()))
        )
        parquet.write_table(table, folder / "samples" / f"{day}.parquet")
    config = make_config(
        folder, samples={"dense": ["net", "hidden"]}, head={"dense_anchor": {"hidden": [0.1, 0.0, -0.1]}}
    )
    assert train_trees(config, start + timedelta(days=2)).status == "published"
    assert update_lr(config, start + timedelta(days=2.5)).status == "published"
    rows = table.drop_columns(["ts", "label"]).slice(0, 40).to_pylist()
    return config, rows


@pytest.fixture(scope="module")
def app(made: Made) -> Application:
    return application(made[0].store)


def test_every_protocol_gives_the_probability_of_the_scorer(app: Application, made: Made) -> None:
    scorer, rows = Scorer.open(made[0].store), made[1]
    expected = [scorer.score_row(row) for row in rows]
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    assert ask(app, "/score", rows[0]).json["probability"] == expected[0]
    assert ask(app, "/score", {"rows": rows}).json["probability"] == expected
    assert ask(app, "/score", {"columns": columns}).json["probability"] == expected
    table = pa.Table.from_pylist(rows)
    fixed = pa.array(columns["hidden"], pa.list_(pa.float64(), 3))
    for hidden in (table.column("hidden"), fixed):
        at = table.schema.get_field_index("hidden")
        sent = table.set_column(at, "hidden", hidden)
        assert ask(app, "/score", stream_of(sent), ARROW).table.column("probability").to_pylist() == expected
    for body in ({"dataframe_records": rows}, {"inputs": columns}):
        assert ask(app, "/invocations", body).json["predictions"] == expected
    split = {"columns": [*columns], "data": [[row[name] for name in columns] for row in rows]}
    assert ask(app, "/invocations", {"dataframe_split": split}).json["predictions"] == expected
    numbered = [{**row, **{f"hidden_{j}": row["hidden"] and row["hidden"][j] for j in range(3)}} for row in rows]
    names = [name for name in numbered[0] if name != "hidden"]
    lines = [",".join("" if row[name] is None else repr(row[name]).strip("'") for name in names) for row in numbered]
    body = "\n".join([",".join(names), *lines]).encode()
    found = ask(app, "/invocations", body, "text/csv")
    assert found.json["predictions"] == expected


def test_tensors_of_lists_are_taken_flat_and_nested(app: Application, made: Made) -> None:
    rows = [row for row in made[1] if row["hidden"] is not None][:12]
    expected = [Scorer.open(made[0].store).score_row(row) for row in rows]
    inputs = {each["name"]: each for each in ask(app, "/v2/models/gbdtlr").json["inputs"]}
    assert inputs["hidden"] == {"name": "hidden", "datatype": "FP64", "shape": [-1, 3]}
    assert inputs["net"] == {"name": "net", "datatype": "FP64", "shape": [-1]}
    nested = [row["hidden"] for row in rows]
    flat = [value for each in nested for value in each]
    others = [
        {
            "name": name,
            "datatype": "BYTES" if name == "colour" else "INT64" if name == "shop" else "FP64",
            "shape": [12],
            "data": [row[name] for row in rows],
        }
        for name in rows[0]
        if name != "hidden"
    ]
    for data in (nested, flat):
        tensor = {"name": "hidden", "datatype": "FP64", "shape": [12, 3], "data": data}
        found = ask(app, "/v2/models/gbdtlr/infer", {"inputs": [*others, tensor]})
        assert found.json["outputs"][0]["data"] == expected
    for wrong, told in (
        ({"shape": [12]}, "[n, 3] expected"),
        ({"shape": [12, 3], "data": nested[:5]}, "lists of other lengths"),
        ({"shape": [12, 3], "data": flat[:-1]}, "36"),
    ):
        tensor = {"name": "hidden", "datatype": "FP64", "shape": [12, 3], "data": nested, **wrong}
        found = ask(app, "/v2/models/gbdtlr/infer", {"inputs": [*others, tensor]})
        assert found.status == 422
        assert "hidden" in found.json["error"]
        assert told in found.json["error"]


def test_what_is_wrong_is_told_by_column_and_described_before(app: Application, made: Made) -> None:
    row = made[1][0]
    for hidden, told in (([1.0], "a list of 3 numbers expected"), ("x", "a number expected"), (0.5, "a list of 3")):
        answer = ask(app, "/score", {**row, "hidden": hidden, "net": "y"})
        assert answer.status == 422
        assert told in answer.json["problems"]["hidden"]
        assert "a number expected" in answer.json["problems"]["net"]
    del (less := dict(row))["hidden"]
    assert ask(app, "/score", less).json["problems"]["hidden"] == "is missing"
    schema = ask(app, "/openapi.json").json["components"]["schemas"]["Row"]["properties"]
    assert schema["hidden"]["oneOf"][0]["minItems"] == schema["hidden"]["oneOf"][0]["maxItems"] == 3
    assert {"type": "null"} in schema["net"]["oneOf"]
    told = {each["name"]: each for each in ask(app, "/status.json").json["columns"]}
    assert told["hidden"] == {"name": "hidden", "kind": "list", "size": 3}
    assert told["net"]["kind"] == "number"


def test_explain_has_one_term_for_each_column_and_sums_to_the_margin(
    app: Application, made: Made, tmp_path: Path
) -> None:
    rows = made[1]
    model = Scorer.open(made[0].store).loaded.model
    for row in rows[:8]:
        for by_tree in (False, True):
            told = explain(model, row, by_tree)
            assert math.fsum(term["weight"] for term in told["terms"]) == pytest.approx(told["margin"], abs=1e-9)
            of_list = [term for term in told["terms"] if term["what"].startswith("hidden ")]
            assert len(of_list) == 1
            assert by_tree == (of_list[0].get("column") == "hidden")
        assert ask(app, "/explain", row).json["margin"] == told["margin"]
    missing = explain(model, {**rows[0], "hidden": None})
    assert {term["what"]: term["weight"] for term in missing["terms"]}["hidden is missing"] == 0.0
    numbered = {**rows[0], **{f"hidden_{j}": rows[0]["hidden"][j] for j in range(3)}}
    del numbered["hidden"]
    (tmp_path / "rows.csv").write_text(
        ",".join(numbered) + "\n" + ",".join("" if value is None else str(value) for value in numbered.values()) + "\n"
    )
    (tmp_path / "rows.jsonl").write_text(json.dumps(rows[0]) + "\n")
    parquet.write_table(pa.Table.from_pylist(rows[:1]), tmp_path / "rows.parquet")
    for name in ("rows.csv", "rows.jsonl", "rows.parquet"):
        assert explain(model, row_of(model, str(tmp_path / name), 0))["margin"] == model.row_margin(rows[0])


def test_diff_and_importance_tell_dense_columns(made: Made) -> None:
    store = Store.open(made[0].store)
    told = diff(store)
    moves = {move["what"]: move for move in told["moves"] if move["kind"] == "dense"}
    assert moves.keys() == {"net", "hidden"}
    scorers = [Scorer.open(store, number).loaded for number in (1, 2)]
    assert [moves["net"][key] for key in ("before", "after")] == [each.head.dense_weights[0] for each in scorers]
    assert moves["hidden"]["after"] > 0
    from gbdtlr.inspect.rows import window_samples

    samples = window_samples(scorers[1])
    assert samples is not None
    codes = scorers[1].model.encode(samples)
    margins = [each.head.margin(codes) for each in scorers]
    mean = [float(1 / (1 + np.exp(-each)) @ samples.weight / samples.weight.sum()) for each in margins]
    assert [told["probability_a"], told["probability_b"]] == pytest.approx(mean)
    back = margins[1] - (scorers[1].head.dense_weights[0] - scorers[0].head.dense_weights[0]) * codes.dense[0]
    effect = mean[1] - float(1 / (1 + np.exp(-back)) @ samples.weight / samples.weight.sum())
    assert moves["net"]["effect"] == pytest.approx(effect)
    shares = dict(importance(scorers[1].model, codes))
    assert shares["net"] > 0.02
    assert 0 < shares["hidden"] < shares["net"]
