"""Training gives the same trees again and again, the user's parameters untouched, and nothing the head cannot sum."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np
import pyarrow as pa
import pytest

from gbdtlr.config import SamplesConfig, TreesConfig
from gbdtlr.errors import ConfigError, SamplesError, SchemaError, TreesError
from gbdtlr.samples import Samples
from gbdtlr.trees import FrozenTrees, train

CONFIG = SamplesConfig(
    path=("nowhere",),
    event_time="at",
    label_delay=timedelta(hours=1),
    numeric=("price", "odd name: {price}"),
    categorical=("shop", "hour"),
)
MINUTE = 60_000_000


def samples(n: int = 1500, seed: int = 51) -> Samples:
    rng = np.random.default_rng(seed)
    price, hour, shop = rng.normal(size=n), rng.integers(0, 24, n), rng.integers(0, 12, n)
    score = price + np.sin(hour) + np.array([3, -3, 0] * 4)[shop] / 2 + rng.normal(size=n)
    table = pa.table(
        {
            "hour": hour,
            "price": np.where(rng.random(n) < 0.1, np.nan, price),
            "odd name: {price}": rng.integers(0, 5, n),
            "shop": pa.array([None if s == 11 else f"shop {s}" for s in shop]).dictionary_encode(),
        }
    )
    at = np.arange(n) * MINUTE
    return Samples(table, (score > 0).astype(np.int8), np.ones(n), at, at + MINUTE)


def grown(given: Samples | None = None, threads: int | None = 1, progress: Any = None, **keys: Any) -> FrozenTrees:
    keys.setdefault("params", {"num_leaves": 8, "n_estimators": 10})
    return train(given or samples(), TreesConfig(**keys), CONFIG, threads=threads, progress=progress)


def booster_of(trees: FrozenTrees) -> lgb.Booster:
    return lgb.Booster(model_str=trees.to_files()["booster.txt"].decode())


@pytest.mark.parametrize("boosting", ["gbdt", "dart"])
def test_anchor_is_the_raw_score_and_leaves_are_lightgbms(boosting: str) -> None:
    given = samples()
    trees = grown(given, params={"boosting": boosting, "num_leaves": 8, "num_iterations": 10, "drop_rate": 0.5})
    booster, matrix = booster_of(trees), trees.schema.matrix(given.table)
    codes = trees.encode(given.table)
    np.testing.assert_array_equal(codes, np.asarray(booster.predict(matrix, pred_leaf=True)).T)
    anchor = trees.leaf_values[codes + trees.offsets[:-1, None]].sum(axis=0)
    np.testing.assert_allclose(anchor, booster.predict(matrix, raw_score=True), rtol=0, atol=1e-9)
    assert trees.n_trees == 10
    assert trees._forest.is_categorical.any()


def test_same_bytes_whatever_the_number_of_threads() -> None:
    params = {"num_leaves": 31, "n_estimators": 20, "bagging_fraction": 0.5, "bagging_freq": 1, "feature_fraction": 0.7}
    first, *others = (grown(threads=threads, params=params).to_files() for threads in (1, 2, 5, None))
    assert all(files == first for files in others)


def test_schema_is_frozen_with_the_trees() -> None:
    trees = grown(min_category_count=70)
    assert trees.schema.names == ("price", "odd name: {price}", "shop", "hour")
    price, odd, shop, hour = trees.schema.features
    assert price.vocabulary is odd.vocabulary is None
    assert shop.vocabulary is not None
    assert set(shop.vocabulary) <= {f"shop {s}" for s in range(11)}
    assert hour.vocabulary is not None
    assert len(hour.vocabulary) < 24
    again = FrozenTrees.from_files(trees.to_files())
    row = {"price": 1.0, "odd name: {price}": 2, "shop": "shop 99", "hour": 3}
    assert again.row_margin(row, again.leaf_values, 0.0) == trees.row_margin(row, trees.leaf_values, 0.0)


def test_weights_count() -> None:
    given = samples()
    twice = given.take(np.repeat(np.arange(len(given)), 2))
    params = {"num_leaves": 4, "n_estimators": 3, "min_data_in_leaf": 1, "min_data_per_group": 1, "deterministic": True}
    doubled = Samples(given.table, given.label, given.weight * 2, given.event_us, given.known_us)
    margins = [
        trees.margin(given.table, trees.leaf_values, 0.0)
        for trees in (grown(twice, params=params), grown(doubled, params=params), grown(given, params=params))
    ]
    np.testing.assert_allclose(margins[0], margins[1], atol=1e-3)
    assert np.abs(margins[0] - margins[2]).max() > 1e-3


def test_early_stopping_keeps_the_best_trees_only() -> None:
    given = samples()
    seen: list[tuple[int, int, str]] = []
    trees = grown(
        given,
        progress=lambda *now: seen.append(now),
        params={"learning_rate": 0.5, "num_leaves": 31, "n_estimators": 200},
        early_stopping_rounds=5,
        validation=timedelta(hours=5),
    )
    assert trees.n_trees == len(seen) - 5 < 195
    assert seen[0][:2] == (1, 200)
    losses = [float(text.removeprefix("newest binary_logloss ")) for _, _, text in seen]
    assert int(np.argmin(losses)) == trees.n_trees - 1
    newest = given.event_us > given.event_us[-1] - 300 * MINUTE
    held_out, label = given.table.filter(pa.array(newest)), given.label[newest]
    assert newest.sum() == 300
    p = 1 / (1 + np.exp(-trees.margin(held_out, trees.leaf_values, 0.0)))
    assert -np.log(np.where(label, p, 1 - p)).mean() == pytest.approx(min(losses), abs=1e-6)


def test_early_stopping_heeds_the_parameters_that_tune_it() -> None:
    params = {"learning_rate": 0.1, "num_leaves": 31, "n_estimators": 60, "metric": ["binary_logloss", "binary_error"]}
    stopping = {"early_stopping_rounds": 5, "validation": timedelta(hours=5)}
    n_trees = [grown(params={**params, "first_metric_only": only}, **stopping).n_trees for only in (False, True)]
    assert n_trees[0] < n_trees[1]
    if "early_stopping_min_delta" in lgb.basic._ConfigAliases._get_all_param_aliases():  # newer than 4.3
        assert grown(params={**params, "early_stopping_min_delta": 1e9}, **stopping).n_trees == 1


def test_progress_tells_every_tree() -> None:
    seen: list[tuple[int, int, str]] = []
    grown(progress=lambda *now: seen.append(now))
    assert seen == [(i, 10, "") for i in range(1, 11)]


def test_validation_rows_of_one_class_are_refused() -> None:
    given = samples()
    given.label[-30:] = 1
    with pytest.raises(SamplesError, match="validation part"):
        grown(given, early_stopping_rounds=5, validation=timedelta(minutes=30))
    with pytest.raises(SamplesError, match="before the validation part"):
        grown(samples(20), early_stopping_rounds=5)


@pytest.mark.parametrize("label", [0, 1])
def test_one_class_only_is_refused(label: int) -> None:
    given = samples(50)
    given.label[:] = label
    with pytest.raises(SamplesError, match=f"{50 * label} positive and {50 - 50 * label} negative samples"):
        grown(given)


def test_user_parameters_reach_lightgbm_as_they_are() -> None:
    text = grown(params={"num_trees": 2, "eta": 0.3, "max_bin": 31, "seed": 9, "deterministic": False}).to_files()[
        "booster.txt"
    ]
    for line in ("[learning_rate: 0.3]", "[max_bin: 31]", "[seed: 9]", "[deterministic: 0]", "[objective: binary]"):
        assert line.encode() in text


@pytest.mark.parametrize(
    ("params", "reason"),
    [
        ({"objective": "regression"}, "log-odds"),
        ({"app": "multiclass"}, "log-odds"),
        ({"num_class": 3}, "num_class = 3"),
        ({"linear_trees": True}, "linear_trees = True"),
        ({"sigmoid": 2.0}, "sigmoid = 2.0"),
        ({"numleaves": 3}, "did you mean num_leaves"),
        ({"nthread": 1, "n_jobs": 2}, "nthread and n_jobs"),
        ({"categorical_column": "1"}, "under \\[samples\\] categorical"),
        ({"early_stopping_rounds": 5}, "under \\[trees\\]"),
        ({"valid": "a.csv"}, "newest of the window"),
        ({"n_estimators": 0}, "at least 1"),
        ({"n_estimators": "many"}, "at least 1"),
    ],
)
def test_parameters_that_cannot_be_are_refused_before_training(params: dict[str, Any], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason) as caught:
        grown(params=params)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("boosting", ["dart", "rf"])
def test_early_stopping_of_trees_that_stand_together_is_refused(boosting: str) -> None:
    with pytest.raises(ConfigError, match=boosting):
        grown(params={"boosting": boosting}, early_stopping_rounds=5)


@pytest.mark.parametrize("params", [{"num_leaves": 1}, {"num_leaves": "many"}])
def test_what_lightgbm_refuses_is_told(params: dict[str, Any]) -> None:
    with pytest.raises(TreesError, match="num_leaves") as caught:
        grown(params=params)
    assert ".cpp" not in str(caught.value)


@pytest.mark.parametrize("signs", [[1], [1, 0, 0, 0, 0], [0, 0, 1, 0], "0,0,0,-1", 1])
def test_constraints_that_would_end_the_process_are_refused(signs: Any) -> None:
    with pytest.raises(ConfigError, match=r"price, odd name: \{price\}, shop, hour, in this order"):
        grown(params={"mc": signs})


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("fs", None, r"fs: cannot read .*forced\.json: No such file or directory; name a file that is there"),
        ("forcedsplits_filename", "oops", r"forcedsplits_filename: .*forced\.json is no JSON: .*; write one object"),
        ("forced_splits", "[]", r"forced_splits: .*forced\.json holds list; write one object"),
        ("forcedbins_filename", "{}", r"forcedbins_filename: .*forced\.json holds dict; write a list of objects"),
    ],
)
def test_files_that_lightgbm_would_pass_over_in_silence_are_refused(
    tmp_path: Path, name: str, content: str | None, told: str
) -> None:
    path = tmp_path / "forced.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigError, match=rf"\[trees\.params\] {told}"):
        grown(params={name: str(path)})


def test_splits_that_a_file_forces_are_made(tmp_path: Path) -> None:
    (tmp_path / "forced.json").write_text('{"feature": 1, "threshold": 0.25}')
    trees = grown(params={"fs": str(tmp_path / "forced.json"), "num_leaves": 4, "num_iterations": 2})
    assert {tree["tree_structure"]["split_feature"] for tree in booster_of(trees).dump_model()["tree_info"]} == {1}


@pytest.mark.parametrize("signs", [[1, -1, 0, 0], "1,-1,0,0"])
def test_constraints_are_kept(signs: Any) -> None:
    given = samples()
    trees = grown(given, params={"monotone_constraints": signs, "num_leaves": 31})
    row = {name: given.table[name][0].as_py() for name in trees.schema.names}
    margins = [trees.row_margin({**row, "price": price}, trees.leaf_values, 0.0) for price in np.linspace(-3, 3, 50)]
    assert margins == sorted(margins)


def test_columns_are_checked_before_training() -> None:
    given = samples(50)
    wrong = Samples(
        given.table.drop_columns(["shop"]).set_column(1, "price", pa.array(["dear"] * 50)),
        given.label, given.weight, given.event_us, given.known_us,
    )  # fmt: skip
    with pytest.raises(SchemaError, match="no column shop; column price holds string"):
        grown(wrong)
