"""The benchmark of the estimator: all systems are given the same rows, and none of them sees those it is judged by."""

import numpy as np
import pytest

from benchmarks import estimator


@pytest.fixture(scope="module")
def case():
    made = estimator.clicks(6000)
    assert made.event_us[: made.n_train].max() < made.event_us[made.n_train :].min()
    return made


@pytest.mark.parametrize(
    "system",
    [
        estimator.ours,
        estimator.refitted,
        lambda case, n: estimator.lightgbm(case, n, with_ids=True),
        estimator.by_hand,
    ],
    ids=["ours", "refitted", "lightgbm", "by hand"],
)
def test_every_system_scores_every_row_and_does_not_see_its_label(system, case, monkeypatch):
    monkeypatch.setitem(estimator.SHAPE, "n_estimators", 5)
    found = system(case, 1)
    assert found.shape == case.test[1].shape
    assert ((found > 0) & (found < 1)).all()
    assert 0 < estimator.quality(case.test[1], found)["NE"] < 1.2
    label = case.label.copy()
    last = case.event_us > case.event_us[-1] - case.every_us // 2  # of the last span, which nobody learns
    label[last] = 1 - label[last]
    np.testing.assert_array_equal(system(type(case)(**{**vars(case), "label": label}), 1), found)


def test_perfect_and_constant_predictions():
    label = np.array([0, 1, 0, 0])
    assert estimator.quality(label, np.full(4, 0.25))["NE"] == pytest.approx(1)
    assert estimator.quality(label, np.array([0.1, 0.9, 0.1, 0.1]))["AUC"] == 1


def test_rows_without_times_and_ids_are_scored_too(monkeypatch):
    monkeypatch.setitem(estimator.SHAPE, "n_estimators", 5)
    case = estimator.made(1000)
    for found in (estimator.ours(case, 1), estimator.by_hand(case, 1)):
        assert estimator.quality(case.test[1], found)["AUC"] > 0.7
