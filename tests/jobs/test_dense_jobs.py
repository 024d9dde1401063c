"""Dense columns from files to releases: by every method, from every format, and what is refused."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from methods_kit import HOUR, START, rows
from methods_kit import config as plain_config
from pyarrow import csv, parquet

from gbdtlr.config import Config
from gbdtlr.errors import ConfigError, MismatchError, SchemaError
from gbdtlr.jobs import train_trees, update_lr
from gbdtlr.jobs.learn import learn
from gbdtlr.release import Release
from gbdtlr.scoring import Scorer
from gbdtlr.scoring.files import score_file
from gbdtlr.store import Store

METHODS = ("refit", "incremental", "ftrl", "rda", "fobos")
HOURS = 54
DENSE = {"dense": ["net", "hidden"]}


def with_net(table: pa.Table, seed: int, shift: float = 0.0) -> pa.Table:
    """The rows with another model's margin, now and then missing, and a list of three numbers of it."""
    rng = np.random.default_rng([seed, len(table)])
    x = np.asarray(table.column("x"))
    net = x + 0.8 * np.asarray(table.column("label")) + rng.normal(size=len(x)) + 3.0 + shift
    hidden = [
        None
        if i % 50 == 7
        else [float(np.tanh(each)), None if i % 40 == 3 else 0.25 * float(each) + shift, float(i % 9)]
        for i, each in enumerate(x)
    ]
    table = table.append_column("net", pa.array(net, mask=rng.random(len(x)) < 0.05))
    return table.append_column("hidden", pa.array(hidden, pa.list_(pa.float64())))


def write(folder: Path, hours: int = HOURS, suffix: str = "parquet", start: int = 0, shift: float = 0.0) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for h in range(start, hours):
        table = with_net(rows(60, START + h * HOUR, HOUR), h, shift)
        path = folder / f"{h:03d}.{suffix}"
        if suffix == "parquet":
            parquet.write_table(table, path)
        elif suffix == "jsonl":
            lines = [
                json.dumps({**row, "at": str(row["at"]), "known_at": str(row["known_at"])}) for row in table.to_pylist()
            ]
            path.write_text("\n".join(lines) + "\n")
        else:
            lists = table.column("hidden").to_pylist()
            for j in range(3):
                table = table.append_column(f"hidden_{j}", pa.array([each and each[j] for each in lists], pa.float64()))
            csv.write_csv(table.drop_columns(["hidden"]), path)


def config(folder: Path, method: str = "refit", **changes: Any) -> Config:
    head = {"dense_anchor": {"net": 0.5}, **changes.pop("head", {})}
    return plain_config(folder, method, samples={**DENSE, **changes.pop("samples", {})}, **head, **changes)


def at(days: float) -> datetime:
    return START + timedelta(days=days)


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("nets")
    write(folder / "log")
    return folder


def live(c: Config) -> Release:
    release = Release.live(Store.open(c.store))
    assert release is not None
    return release


@pytest.mark.parametrize("method", METHODS)
def test_every_method_learns_dense_columns_from_training_to_update(log: Path, method: str) -> None:
    c = config(log, method, store=f"store-{method}")
    assert train_trees(c, at(1.75)).status == "published"
    for days in (1.875, 2.0, 2.125):
        assert update_lr(c, at(days)).status == "published"
    release = live(c)
    assert [each.name for each in release.head.dense.columns] == ["net", "hidden"]
    assert [each.size for each in release.head.dense.columns] == [1, 3]
    assert release.head.dense.columns[0].anchor == (0.5,)
    assert np.abs(release.head.dense_weights - release.head.dense.anchor).min() > 1e-3, "all of them were learned"
    assert release.entry.metrics["progressive"]["ne"] < 0.95
    bare = release.model.bare().head
    assert bare.dense_weights.tolist() == release.head.dense.anchor.tolist()


def test_a_head_knows_what_is_in_the_dense_columns_and_the_store_is_whole(log: Path) -> None:
    plain = plain_config(log, "refit", store="plain")
    c = config(log, store="both")
    for each in (plain, c):
        assert train_trees(each, at(1.75)).status == "published"
        assert update_lr(each, at(2.0)).status == "published"
    assert all(finding.ok for finding in Store.open(c.store).check())
    with_dense, without = (Store.open(each.store).live().metrics["fit"]["log_loss"] for each in (c, plain))
    assert with_dense < without - 0.005
    manifest = live(plain).head_manifest
    told = json.dumps(manifest["config"])
    assert '"dense' not in told
    assert "drift" not in told
    assert "dense.json" not in live(plain).slow.trees_manifest["files"]


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_the_same_values_in_another_format_give_the_same_head(log: Path, tmp_path: Path, suffix: str) -> None:
    write(tmp_path / "log", suffix=suffix)
    heads = []
    for folder, store in ((log, f"as-{suffix}"), (tmp_path, "store")):
        c = config(folder, store=store, samples={"negative_keep_rate": 0.8})
        assert train_trees(c, at(1.75)).status == "published"
        assert update_lr(c, at(2.0)).status == "published"
        heads.append(live(c).head.to_bytes())
    assert heads[0] == heads[1]


def test_scores_are_the_same_bits_by_frame_row_and_file(log: Path, tmp_path: Path) -> None:
    c = config(log, store="doors")
    train_trees(c, at(1.75))
    update_lr(c, at(2.0))
    scorer = Scorer.open(c.store)
    write(tmp_path / "in", hours=1)
    write(tmp_path / "in", hours=1, suffix="jsonl")
    write(tmp_path / "in", hours=1, suffix="csv")
    table = parquet.read_table(tmp_path / "in/000.parquet")
    expected = scorer.score(table)
    codes = scorer.loaded.model.encode(table)
    assert (1 / (1 + np.exp(-scorer.loaded.head.margin(codes)))) == pytest.approx(expected, abs=1e-12)
    records = table.to_pylist()
    assert [scorer.score_row(row) for row in records] == expected.tolist()
    numbered = [{**row, **{f"hidden_{j}": row["hidden"] and row["hidden"][j] for j in range(3)}} for row in records]
    for row in numbered:
        del row["hidden"]
    assert [scorer.score_row(row) for row in numbered] == expected.tolist()
    columns = {name: [row[name] for row in records] for name in records[0]}
    matrix = np.array([[np.nan] * 3 if row is None else row for row in columns["hidden"]], float)
    fixed = pa.array(columns["hidden"], pa.list_(pa.float64(), 3))
    for hidden in (
        columns["hidden"],
        matrix,
        fixed,
        np.ma.masked_invalid(matrix),
        pa.chunked_array([fixed[:7], fixed[7:]]),
    ):
        assert scorer.score({**columns, "hidden": hidden}).tobytes() == expected.tobytes()
    frame = table.to_pandas()
    assert scorer.score(frame).tobytes() == expected.tobytes()
    assert [scorer.score_row(frame.iloc[i]) for i in range(10)] == expected[:10].tolist()
    for name in ("000.parquet", "000.jsonl", "000.csv"):
        for out in ("out.parquet", "out.jsonl"):
            assert score_file(scorer, str(tmp_path / "in" / name), str(tmp_path / out)) == len(table)
            if out.endswith("parquet"):
                found = parquet.read_table(tmp_path / out).column("probability").to_pylist()
            else:
                found = [json.loads(line)["probability"] for line in (tmp_path / out).read_text().splitlines()]
            assert found == expected.tolist(), (name, out)


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ([0.1, 0.2], "hidden has a list of 2, a list of 3 numbers expected"),
        (0.5, "hidden has a number, a list of 3 numbers expected"),
        ("no", "a number expected"),
        ([0.1, "a", 0.2], "a number expected"),
    ],
)
def test_what_is_no_such_list_is_refused_by_name(log: Path, value: Any, told: str) -> None:
    c = config(log, store="refusals")
    if Store.open(c.store).live() is None:
        train_trees(c, at(1.75))
    scorer = Scorer.open(c.store)
    row = {"x": 0.1, "kind": "a", "shop": "s1", "net": 0.3, "hidden": value}
    with pytest.raises(SchemaError, match=told):
        scorer.score_row(row)
    with pytest.raises(SchemaError, match="hidden"):
        scorer.score({name: [each] * 9 for name, each in row.items()})
    del row["hidden"]
    for score in (scorer.score_row, lambda row: scorer.score({name: [each] for name, each in row.items()})):
        with pytest.raises(SchemaError, match="dense columns missing: hidden"):
            score(row)


def test_columns_that_the_live_trees_do_not_know_need_new_trees(log: Path) -> None:
    c = config(log, store="late")
    plain = plain_config(log, "refit", store="late")
    assert train_trees(plain, at(1.75)).status == "published"
    with pytest.raises(
        ConfigError, match=r"names net, hidden, for which the live trees .* run first: gbdtlr train-trees"
    ):
        update_lr(c, at(2.0))
    assert train_trees(c, at(2.0)).status == "published"
    assert update_lr(c, at(2.125)).status == "published"
    only_net = config(log, store="late", samples={"dense": ["net"]})
    assert update_lr(only_net, at(2.2)).status == "published"
    assert live(c).head.dense.names == ("net",)
    other = config(log, store="late", head={"dense_anchor": {"net": 0.5, "hidden": [1, 2]}})
    with pytest.raises(ConfigError, match="dense_anchor: hidden has 2 anchors and 3 numbers"):
        update_lr(other, at(2.25))
    assert update_lr(plain, at(2.25)).status == "published"
    assert not live(c).head.dense.n


@pytest.mark.parametrize("method", ["incremental", "ftrl"])
def test_another_anchor_is_learned_anew(log: Path, method: str) -> None:
    c = config(log, method, store=f"anchor-{method}")
    assert train_trees(c, at(1.75)).status == "published"
    assert update_lr(c, at(2.0)).metrics["late"] == 0
    other = config(log, method, store=f"anchor-{method}", head={"dense_anchor": {"net": 0.4}})
    result = update_lr(other, at(2.1))
    assert result.status == "published"
    assert "late" not in result.metrics, "the whole window"
    assert live(c).head.dense.columns[0].anchor == (0.4,)


def test_a_stream_learns_dense_columns_as_an_update_does(log: Path) -> None:
    c = config(log, "ftrl", store="stream")
    assert train_trees(c, at(2.0)).status == "published"
    table = with_net(rows(90, at(2.0), HOUR, 5), 5).drop_columns(["at", "known_at"])
    lines = [json.dumps(row) for row in table.to_pylist()]
    release = live(c)
    expected = release.online()
    assert expected is not None
    codes = release.model.encode(table)
    label = np.array(table.column("label"), np.float32)
    expected.learn_many(replace(codes, label=label))
    broken = [json.dumps({**json.loads(lines[0]), "hidden": [1.0]}), json.dumps({**json.loads(lines[0]), "net": "x"})]
    pieces = [lines[:1], lines[1:40], [*broken, *lines[40:]]]
    result = learn(c, pieces, lambda: at(2.05), publish_every=timedelta(minutes=1))
    assert result.status == "published"
    assert result.metrics["lines_refused"] == 2
    found = live(c)
    assert found.online().to_bytes() == expected.to_bytes()
    assert Store.open(c.store).check()
    golden = found.head_manifest["files"]
    assert golden


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("shift", r"column dense (net|hidden) .* standard deviations away; \[guard\] drift"),
        ("missing", r"column dense hidden is missing in 100%"),
        ("constant", r"column dense hidden is .* in all of"),
    ],
)
def test_a_dense_column_that_is_suddenly_another_is_refused(tmp_path: Path, fault: str, told: str) -> None:
    write(tmp_path / "log")
    c = config(tmp_path)
    assert train_trees(c, at(1.75)).status == "published"
    for h in range(39, HOURS):
        table = with_net(rows(60, START + h * HOUR, HOUR), h, 500.0 if fault == "shift" else 0.0)
        if fault != "shift":
            value = None if fault == "missing" else [0.25, 0.5, 1.0]
            at_ = table.schema.get_field_index("hidden")
            table = table.set_column(at_, "hidden", pa.array([value] * len(table), pa.list_(pa.float64())))
        parquet.write_table(table, tmp_path / f"log/{h:03d}.parquet")
    result = update_lr(c, at(2.2))
    assert result.status == "refused"
    assert re.search(told, result.reason), result.reason
    assert update_lr(c, at(2.2), force=True).status == "published"


def test_a_head_of_other_constants_is_refused(log: Path) -> None:
    c = config(log, store="constants")
    assert train_trees(c, at(1.75)).status == "published"
    release = live(c)
    store = Store.open(c.store)
    version = store.read_version("heads", release.entry.head, under=release.entry.trees)
    columns = release.slow.dense.columns
    moved = replace(columns[0], centre=(9.0,))
    for dense in (replace(release.slow.dense, columns=(moved, columns[1])), replace(release.slow.dense, columns=())):
        with pytest.raises(MismatchError, match="dense column"):
            replace(release.slow, dense=dense).model(version)
