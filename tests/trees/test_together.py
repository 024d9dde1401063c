"""Growing trees together: what is settled before any rank begins, and when whoever called them together says stop."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import lightgbm as lgb
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gbdtlr.config import SamplesConfig, TreesConfig
from gbdtlr.errors import ConfigError
from gbdtlr.trees.plan import Grown
from gbdtlr.trees.rewriting import same_everywhere
from gbdtlr.trees.together import SUMMABLE, Growing, Stopping, mean_of

SAMPLES = SamplesConfig(
    path=("nowhere",), event_time="at", label_delay=timedelta(hours=1), numeric=("x", "y"), categorical=("c",)
)
LOSSES = st.lists(
    st.tuples(*[st.sampled_from([0.1, 0.2, 0.3, 0.4, 0.5])] * 2), min_size=1, max_size=12
)  # few values, so that many are equal


def growing(early_stopping_rounds: int | None = None, **params: Any) -> Growing:
    return Growing.of(TreesConfig(params=params, early_stopping_rounds=early_stopping_rounds), SAMPLES)


def lightgbm_stops(losses: Any, rounds: int, first_only: bool, delta: Any) -> tuple[int, int]:
    """After how many trees LightGBM's own callback stops, and how many it would keep."""
    stop = lgb.early_stopping(rounds, first_only, verbose=False, min_delta=delta)
    for n, values in enumerate(losses):
        results = [
            lgb.basic.EvalResult("newest", name, value, False)
            if hasattr(lgb.basic, "EvalResult")
            else ("newest", name, value, False)
            for name, value in zip("ab", values, strict=True)
        ]
        try:
            stop(lgb.callback.CallbackEnv(None, {}, n, 0, len(losses), results))
        except lgb.callback.EarlyStopException as stopped:
            return n + 1, stopped.best_iteration + 1
    raise AssertionError("it stops at the last")


@given(LOSSES, st.integers(1, 5), st.booleans(), st.sampled_from([0.0, 0.1, [0.1], [0.0, 0.15], []]))
def test_training_stops_when_lightgbm_would(losses: Any, rounds: int, first_only: bool, delta: Any) -> None:
    stopping = Stopping(rounds, len(losses), first_only, delta)
    for n, values in enumerate(losses, 1):
        if (best := stopping.told(n, dict(zip("ab", values, strict=True)))) is not None:
            break
    assert (n, best) == lightgbm_stops(losses, rounds, first_only, delta)


def test_metrics_of_ranks_make_that_of_all_rows() -> None:
    rng = np.random.default_rng(0)
    matrix, label, weight = rng.normal(size=(900, 2)), rng.integers(0, 2, 900), rng.random(900).astype(np.float32)
    params = {"objective": "binary", "metric": [*SUMMABLE], "verbosity": -1, "num_threads": 1}

    def metrics(rows: slice) -> dict[str, float]:
        data = lgb.Dataset(matrix[rows], label[rows], weight=weight[rows], reference=booster_set)
        other.add_valid(data, str(rows))
        return {each[1]: each[2] for each in other.eval_valid() if each[0] == str(rows)}

    booster_set = lgb.Dataset(matrix, label, weight=weight, params=params)
    other = lgb.Booster(params, booster_set)
    for _ in range(3):
        other.update()
    parts = [slice(0, 500), slice(500, 510), slice(510, 900)]
    said = [Grown(metrics(rows), float(weight[rows].sum(dtype=np.float64))) for rows in parts]
    assert [*metrics(slice(0, 900))] == [*SUMMABLE]
    assert mean_of([*said, Grown({}, 0.0)]) == pytest.approx(
        metrics(slice(0, 900)), rel=1e-6
    )  # sums of LightGBM's are of numbers in single precision
    assert mean_of([Grown({}, 0.0)] * 2) == {}


@pytest.mark.parametrize(
    ("params", "told"),
    [
        ({"metric": "auc"}, "metric auc is no mean over rows"),
        ({"metrics": ["binary_logloss", "average_precision"]}, "metric average_precision is no mean"),
        ({"metric": "None"}, "there is no metric"),
        ({"forced_splits": "splits.json"}, "forced_splits is a file of this machine"),
        ({"forcedbins_filename": "bins.json"}, "forcedbins_filename is a file of this machine"),
    ],
)
def test_what_ranks_cannot_do_together_is_told_before_any_begins(params: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told) as error:
        growing(3, **params)
    assert 'learn_on = "here"' in str(error.value)


@pytest.mark.parametrize("key", ["machines", "workers", "num_machines", "local_port", "machine_list_file"])
def test_the_network_is_not_for_parameters(key: str) -> None:
    with pytest.raises(ConfigError, match=rf"{key} cannot be set there: .*see \[trees\] learn_on"):
        growing(**{key: 2})


def test_the_parameters_are_those_of_one_machine_and_what_makes_ranks_the_same() -> None:
    params = growing(num_leaves=7, n_iter=12, tree="voting").params
    assert params["deterministic"]
    assert params["force_row_wise"]
    assert (params["seed"], params["num_leaves"], params["num_iterations"]) == (0, 7, 12)
    assert (params["tree_learner"], "tree" in params) == ("voting", False)
    assert (growing().params["tree_learner"], growing(tree="serial").params["tree_learner"]) == ("data", "data")
    assert not growing(feature_pre_filter=True).params["feature_pre_filter"]
    assert growing(subsample_for_bin=77).n_for_bins == 77
    assert growing(3, metric="binary_logloss").stopping() == Stopping(3, 100)


def test_what_is_another_on_each_machine_is_not_in_the_text() -> None:
    text = "tree\nversion=v4\n\nparameters:\n[num_threads: {0}]\n[machines: {1}]\n[time_out: {0}]\n[seed: 7]\n"
    texts = {same_everywhere(text.format(n, machines)) for n, machines in ((1, "a:1,b:2"), (2, ""))}
    (same,) = texts
    assert same == text.format(0, "").replace("[time_out: 0]", "[time_out: 120]")
