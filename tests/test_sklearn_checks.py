"""scikit-learn's own checks of estimators."""

from __future__ import annotations

from typing import Any

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from gbdtlr.sklearn import GBDTLRClassifier

SMALL = {"n_estimators": 5, "num_leaves": 7, "min_child_samples": 2, "n_jobs": 1, "l2": (3.0, 300.0)}
UNEQUAL = "LightGBM bins columns, and counts the rows of a leaf, without regard to weights"
EXPECTED = {
    "check_sample_weight_equivalence_on_dense_data": UNEQUAL,
}


@parametrize_with_checks(
    [GBDTLRClassifier(**SMALL), GBDTLRClassifier(**SMALL, method="ftrl")], expected_failed_checks=lambda _: EXPECTED
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
def test_it_is_an_estimator_of_scikit_learn(estimator: Any, check: Any) -> None:
    check(estimator)
