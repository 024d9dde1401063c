"""The estimator beyond scikit-learn's own checks: frames, ids, time, refits, what is learned in passing, the store."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from gbdtlr.config import Config
from gbdtlr.embeddings import Embeddings, keys_of
from gbdtlr.errors import ConfigError, NoReleaseError
from gbdtlr.export import export
from gbdtlr.head import DenseColumns, Head, Layout
from gbdtlr.head.dense import DenseColumn
from gbdtlr.inspect.diff import diff
from gbdtlr.jobs import update_lr
from gbdtlr.jobs.carrying import try_publish_embeddings
from gbdtlr.release import Embedded, Release
from gbdtlr.scoring import Scorer
from gbdtlr.sklearn import GBDTLRClassifier
from gbdtlr.store import Store

Make = Callable[..., pa.Table]
START = datetime(2024, 3, 1, tzinfo=UTC)
FEATURES = ["x", "y", "colour"]


def small(**parameters: Any) -> GBDTLRClassifier:
    return GBDTLRClassifier(
        **{"n_estimators": 8, "num_leaves": 6, "min_child_samples": 5, "n_jobs": 1, "l2": (3.0, 30.0), **parameters}
    )


@pytest.fixture(scope="module")
def rows(make_samples: Make) -> pa.Table:
    return make_samples(n=1200)


@pytest.fixture(scope="module")
def label(rows: pa.Table) -> Any:
    return rows.column("label").to_numpy()


@pytest.fixture(scope="module")
def fitted(rows: pa.Table, label: Any) -> GBDTLRClassifier:
    return small(wide=("shop", "colour:shop"), wide_buckets=512).fit(rows.select([*FEATURES, "shop"]), label)


def frames(table: pa.Table) -> dict[str, Any]:
    return {
        "arrow": table,
        "pandas": table.to_pandas(),
        "pandas categories": table.to_pandas().astype({"colour": "category"}),
        "polars": pl.DataFrame(table),
        "columns": table.to_pydict(),
        "reordered": table.select(table.column_names[::-1]),
        "with more": table.append_column("more", pa.array(range(len(table)))),
    }


def test_every_frame_is_fitted_and_scored_alike(rows: pa.Table, label: Any) -> None:
    table = rows.select(FEATURES)
    expected = small().fit(table, label).predict_proba(table)
    for name, frame in frames(table).items():
        if name != "with more":
            estimator = small().fit(frame, label)
            if name != "reordered":  # trees look at columns in turn, so that ties are broken by their order
                assert estimator.feature_names_in_.tolist() == FEATURES
                np.testing.assert_array_equal(estimator.predict_proba(table), expected, err_msg=name)
        np.testing.assert_array_equal(small().fit(table, label).predict_proba(frame), expected, err_msg=name)


def test_kinds_come_from_types_or_as_they_are_told(rows: pa.Table, label: Any) -> None:
    frame = rows.select([*FEATURES, "shop"]).to_pandas()
    features = small().fit(frame, label).release_.trees.schema.features
    assert [feature.name for feature in features if feature.vocabulary is not None] == ["colour"]
    told = small(categorical_features=["colour", "shop"]).fit(frame, label).release_.trees.schema.features
    assert [feature.name for feature in told if feature.vocabulary is not None] == ["colour", "shop"]
    with pytest.raises(ValueError, match=r"colour holds .*, numbers"):
        small(categorical_features=None).fit(frame, label)
    with pytest.raises(ValueError, match="no column nowhere"):
        small(categorical_features=["nowhere"]).fit(frame, label)
    with pytest.raises(ValueError, match="'by magic'; write 'from_dtype'"):
        small(categorical_features="by magic").fit(frame, label)


def test_a_missing_column_is_named(fitted: GBDTLRClassifier, rows: pa.Table) -> None:
    with pytest.raises(ValueError, match=r"no column y.*wide columns missing: shop"):
        fitted.predict(rows.select(["x", "colour"]))


def test_leaves_and_margins_are_those_of_its_release(fitted: GBDTLRClassifier, rows: pa.Table, label: Any) -> None:
    release = fitted.release_
    np.testing.assert_array_equal(fitted.decision_function(rows), release.model.margin(rows))
    booster = lgb.Booster(model_str=release.trees.to_files()["booster.txt"].decode())
    leaves = booster.predict(release.trees.schema.matrix(rows), pred_leaf=True)
    np.testing.assert_array_equal(fitted.apply(rows), leaves)
    np.testing.assert_array_equal(fitted.predict(rows), (fitted.predict_proba(rows)[:, 1] > 0.5).astype(int))
    assert fitted.score(rows, label) > 0.7


def test_frames_with_categories_go_through_cross_validation_and_pipelines(rows: pa.Table, label: Any) -> None:
    frame = rows.select(FEATURES).to_pandas().astype({"colour": "category"})
    scores = cross_val_score(small(), frame, label, cv=3, scoring="roc_auc", error_score="raise")
    assert scores.min() > 0.75
    times = rows.column("ts").to_numpy()
    timed = cross_val_score(small(), frame, label, cv=2, params={"event_time": times}, error_score="raise")
    assert timed.min() > 0.65
    pipeline = make_pipeline(FunctionTransformer(lambda X: X.assign(z=X.x * X.y)), small()).fit(frame, label)
    assert pipeline[-1].feature_names_in_.tolist() == [*FEATURES, "z"]
    assert pipeline.predict_proba(frame[FEATURES[::-1]]).shape == (len(frame), 2)
    search = GridSearchCV(small(), {"num_leaves": [3, 6]}, cv=2, error_score="raise").fit(frame, label)
    assert search.best_params_["num_leaves"] in (3, 6)


def test_it_is_calibrated_by_scikit_learn(rows: pa.Table, label: Any) -> None:
    frame = rows.select(FEATURES).to_pandas()
    calibrated = CalibratedClassifierCV(small(), cv=2).fit(frame, label)
    assert log_loss(label, calibrated.predict_proba(frame)) < 0.6


@pytest.mark.parametrize("method", ["refit", "incremental", "ftrl"])
def test_a_pickled_estimator_scores_and_learns_on_alike(method: str, rows: pa.Table, label: Any) -> None:
    table = rows.select([*FEATURES, "shop"])
    estimator = small(method=method, wide=("shop",), wide_buckets=64).fit(table, label)
    data = pickle.dumps(estimator)
    copy = pickle.loads(data)
    np.testing.assert_array_equal(copy.predict_proba(table), estimator.predict_proba(table))
    np.testing.assert_array_equal(copy.feature_importances_, estimator.feature_importances_)
    for each in (estimator, copy):
        each.refit_head(table[:600], 1 - label[:600])
    np.testing.assert_array_equal(copy.predict_proba(table), estimator.predict_proba(table))
    with pytest.raises(AttributeError):
        clone(copy).release_.model.margin(table)


def test_importances_tell_what_the_label_depends_on(fitted: GBDTLRClassifier) -> None:
    shares = dict(zip(fitted.feature_names_in_, fitted.feature_importances_, strict=True))
    assert sum(shares.values()) == pytest.approx(1)
    assert min(shares["x"], shares["y"]) > shares["shop"] > 0


def test_ids_are_learned_by_the_head_and_not_by_the_trees(rows: pa.Table, label: Any, make_samples: Make) -> None:
    table, later = rows.select([*FEATURES, "shop"]), make_samples(n=1200, seed=5)
    truth = later.column("label").to_numpy()
    without = small().fit(table.drop(["shop"]), label)
    with_ids = small(wide=("shop",)).fit(table, label)
    assert with_ids.release_.trees.schema.names == ("x", "y", "colour")
    assert log_loss(truth, with_ids.predict_proba(later)) < log_loss(truth, without.predict_proba(later)) - 0.005


def test_a_refit_of_the_head_leaves_the_trees(fitted: GBDTLRClassifier, rows: pa.Table, label: Any) -> None:
    copy = pickle.loads(pickle.dumps(fitted))
    leaves, auc = copy.apply(rows), roc_auc_score(label, copy.decision_function(rows))
    assert copy.refit_head(rows, 1 - label) is copy
    np.testing.assert_array_equal(copy.apply(rows), leaves)
    assert roc_auc_score(label, copy.decision_function(rows)) < auc - 0.2
    with pytest.raises(ValueError, match="2, which is none of the classes"):
        copy.refit_head(rows, label + 1)


def test_newer_rows_count_for_more(rows: pa.Table, label: Any) -> None:
    times = rows.column("ts").to_numpy()
    turned = np.where(np.arange(len(label)) < len(label) // 2, 1 - label, label)  # what held in the morning is wrong
    table = rows.select(FEATURES)
    timed = small(half_lives=("2h",)).fit(table, turned, event_time=times)
    untimed = small().fit(table, turned)
    assert roc_auc_score(label, timed.decision_function(table)) > 0.1 + roc_auc_score(
        label, untimed.decision_function(table)
    )
    head = timed.release_.head_as_of
    timed.refit_head(table, label, event_time=times + np.timedelta64(1, "D"))
    assert timed.release_.head_as_of - head == timedelta(days=1)
    with pytest.raises(ValueError, match="event_time must be given always or never"):
        timed.refit_head(table, label)
    with pytest.raises(ValueError, match="missing, or no time, in 1 of 1200 rows"):
        small().fit(table, label, event_time=np.where(np.arange(1200) == 7, np.datetime64("NaT"), times))


def test_learning_in_passing_is_only_where_a_method_can() -> None:
    assert not hasattr(GBDTLRClassifier(), "partial_fit")
    assert all(hasattr(GBDTLRClassifier(method=m), "partial_fit") for m in ("incremental", "ftrl", "rda", "fobos"))


@pytest.mark.parametrize("method", ["ftrl", "incremental"])
def test_rows_are_learned_in_passing(method: str, rows: pa.Table, label: Any, make_samples: Make) -> None:
    table, more = rows.select(FEATURES), make_samples(n=800, seed=3)
    turned = 1 - more.column("label").to_numpy()
    once, twice = (small(method=method).partial_fit(table, label, classes=[0, 1]) for _ in range(2))
    before = log_loss(turned, once.predict_proba(more))
    once.partial_fit(more, turned)
    assert log_loss(turned, once.predict_proba(more)) < before - 0.05
    np.testing.assert_array_equal(once.apply(more), twice.apply(more))
    if method == "ftrl":  # one sample after the other, so in two runs as in one
        twice.partial_fit(more[:300], turned[:300]).partial_fit(more[300:], turned[300:])
        np.testing.assert_array_equal(once.predict_proba(more), twice.predict_proba(more))


def test_the_same_rows_give_the_same_estimator(rows: pa.Table, label: Any) -> None:
    table = rows.select(FEATURES)
    heads = {
        small(n_jobs=n, random_state=seed).fit(table, label).release_.entry.head
        for n, seed in ((1, None), (2, None), (2, 0))
    }
    assert len(heads) == 1
    assert small(random_state=1).fit(table, label).release_.entry.head not in heads


def test_labels_of_any_two_names(rows: pa.Table, label: Any) -> None:
    table = rows.select(FEATURES)
    names = np.where(label == 1, "yes", "no")
    estimator = small().fit(table, names)
    assert estimator.classes_.tolist() == ["no", "yes"]
    np.testing.assert_array_equal(estimator.predict_proba(table), small().fit(table, label).predict_proba(table))
    np.testing.assert_array_equal(estimator.predict(table) == "yes", estimator.decision_function(table) > 0)


def test_few_rows_are_not_held_out_and_a_share_that_cannot_be_is_told(rows: pa.Table, label: Any) -> None:
    few = small(min_child_samples=2).fit(rows.select(FEATURES)[:40], label[:40])
    assert not few.release_.fits.record.curvature.any()
    enough = small().fit(rows.select(FEATURES), label)
    assert enough.release_.fits.record.curvature.any()
    with pytest.raises(ValueError, match="validation_fraction must be at least 0 and below 1, not 1"):
        small(validation_fraction=1.0).fit(rows.select(FEATURES), label)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"method": "guess"}, "method is 'guess'; choose one of"),
        ({"l2": (0.0,)}, "l2 values must be from"),
        ({"lightgbm_params": {"num_leeves": 3}}, "did you mean num_leaves"),
        ({"wide": ("x:nowhere",)}, "no column nowhere"),
        ({"half_lives": ("soon",)}, "soon"),
    ],
)
def test_parameters_that_cannot_be_are_told_at_the_fit(
    parameters: dict[str, Any], message: str, rows: pa.Table, label: Any
) -> None:
    with pytest.raises(ValueError, match=message):
        small(**parameters).fit(rows.select(FEATURES), label)


def test_parameters_of_lightgbm_win_over_the_named_ones(rows: pa.Table, label: Any) -> None:
    estimator = small(lightgbm_params={"n_iter": 3, "max_leaf": 4}).fit(rows.select(FEATURES), label)
    trees = estimator.release_.trees
    assert trees.n_trees == 3
    assert np.diff(trees.offsets).max() == 4


def test_it_is_published_and_the_jobs_go_on_from_it(config: Config, make_samples: Make) -> None:
    table = pa.concat_tables([make_samples(START + timedelta(days=day)) for day in range(2)])
    wide = config.samples.wide
    estimator = small(wide=wide, wide_buckets=64, half_lives=config.head.half_lives, l2=config.head.l2)
    estimator.fit(
        table.select(["x", "y", "colour", "shop"]), table.column("label").to_numpy(), event_time=table.column("ts")
    )
    number = estimator.publish(config.store, config=config, reason="by hand")
    scorer = Scorer.open(config.store)
    assert scorer.release == number == 1
    np.testing.assert_array_equal(scorer.score(table), estimator.predict_proba(table)[:, 1])
    result = update_lr(config, START + timedelta(days=2.25))
    assert (result.status, result.release) == ("published", 2)
    with pytest.raises(ConfigError, match=r"release 2 .* knows labels up to .*force=True"):
        estimator.publish(config.store)
    assert estimator.publish(config.store, force=True) == 3
    assert [entry.why for entry in scorer.store.entries()] == ["publish", "update-lr", "publish"]
    assert [finding for finding in scorer.store.check() if not finding.ok] == []


def test_a_release_becomes_an_estimator_that_learns_on(filled: Config, make_samples: Make) -> None:
    estimator = GBDTLRClassifier.from_release(filled.store)
    rows, later = make_samples(n=100), make_samples(START + timedelta(days=4), n=400)
    scorer = Scorer.open(filled.store)
    np.testing.assert_array_equal(estimator.predict_proba(rows)[:, 1], scorer.score(rows))
    assert estimator.feature_names_in_.tolist() == ["x", "y", "colour", "shop"]
    assert estimator.feature_importances_.sum() == pytest.approx(1)
    assert estimator.get_params()["wide"] == ("shop", "colour:shop")
    estimator.refit_head(later, later.column("label").to_numpy(), event_time=later.column("ts"))
    assert estimator.publish(filled.store) == scorer.release + 1
    assert scorer.refresh()
    np.testing.assert_array_equal(estimator.predict_proba(rows)[:, 1], scorer.score(rows))
    first = GBDTLRClassifier.from_release(filled.store, 1)
    np.testing.assert_array_equal(first.predict_proba(rows)[:, 1], Scorer.open(filled.store, 1).score(rows))
    with pytest.raises(NoReleaseError):
        GBDTLRClassifier.from_release(filled.store, 99)


def test_what_was_published_without_a_config_becomes_an_estimator_again(
    fitted: GBDTLRClassifier, tmp_path: Path, rows: pa.Table
) -> None:
    store = str(tmp_path / "store")
    assert fitted.publish(store, as_of=START) == 1
    again = GBDTLRClassifier.from_release(store)
    np.testing.assert_array_equal(again.predict_proba(rows), fitted.predict_proba(rows))
    assert diff(Store.open(store), 1, 1)["moves"] == []


def test_one_value_may_stand_in_place_of_a_list(rows: pa.Table, label: Any) -> None:
    frame, times = rows.select([*FEATURES, "shop"]), rows.column("ts")
    one, several = (
        small(wide=wide, half_lives=half_lives, l2=l2).fit(frame, label, event_time=times)
        for wide, half_lives, l2 in [("shop", "6h", 10), (["shop"], ["6h"], [10.0])]
    )
    np.testing.assert_array_equal(one.predict_proba(frame), several.predict_proba(frame))
    with pytest.raises(ValueError, match=r"half_lives has 3600; write durations such as '6h'"):
        small(half_lives=3600).fit(frame, label, event_time=times)
    with pytest.raises(ValueError, match="event_time is str; an array or a list expected"):
        small().fit(frame, label, event_time="ts")


def test_embeddings_that_are_live_go_on_behind_it(filled: Config) -> None:
    store = Store.open(filled.store)
    release = Release.live(store)
    assert release is not None
    made = Embeddings.of(np.sort(keys_of(["a", "b"])[0]), np.eye(2), "shop")
    version = store.write_version("embeddings", made.to_files(), {}, release.entry.as_of)
    values = {"why": "train-embeddings"}
    entry = try_publish_embeddings(store, release, Embedded.of(store, version), release.entry.as_of, values)
    assert entry is not None
    estimator = GBDTLRClassifier.from_release(filled.store)
    assert estimator.publish(filled.store, force=True) == entry.number + 1
    published = Release.live(store)
    assert published is not None
    assert published.entry.embeddings == version.name
    assert Scorer.open(filled.store).release == published.entry.number


def test_a_release_with_dense_columns_is_refused(fitted: GBDTLRClassifier) -> None:
    release = fitted.release_
    dense = DenseColumns((DenseColumn("age", (0.0,), (1.0,)),))
    head = Head.bare(Layout.of(release.trees, dense=dense))
    with pytest.raises(ConfigError, match="knows no dense columns, and the release has age"):
        GBDTLRClassifier.from_release(replace(release, model=release.model.with_head(head)))


def test_without_times_the_moment_must_be_said(fitted: GBDTLRClassifier, tmp_path: Path, rows: pa.Table) -> None:
    with pytest.raises(ConfigError, match="give as_of"):
        fitted.publish(tmp_path / "store")
    assert fitted.publish(tmp_path / "store", as_of="2024-03-02") == 1
    np.testing.assert_array_equal(Scorer.open(tmp_path / "store").score(rows), fitted.predict_proba(rows)[:, 1])
    export(fitted.release_, "onnx", tmp_path / "onnx")
    assert isinstance(fitted.predict_proba(pd.DataFrame(rows.to_pandas())), np.ndarray)
