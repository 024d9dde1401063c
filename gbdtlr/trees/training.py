"""Growing the trees: the only place that imports LightGBM."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from gbdtlr.config import SamplesConfig, TreesConfig
from gbdtlr.errors import ConfigError, TreesError
from gbdtlr.samples.batch import require_both_classes
from gbdtlr.trees.bins import booster_names, categorical_of
from gbdtlr.trees.forced import check_forced
from gbdtlr.trees.frozen import FrozenTrees
from gbdtlr.trees.refusals import reason_of
from gbdtlr.trees.rewriting import same_everywhere
from gbdtlr.trees.schema import Schema

if TYPE_CHECKING:
    from gbdtlr.samples import Samples

N_TREES = 100
_ALIASES = {
    "num_iterations": "num_iteration n_iter num_tree num_trees num_round num_rounds nrounds num_boost_round "
    "n_estimators max_iter",
    "objective": "objective_type app application loss",
    "learning_rate": "shrinkage_rate eta",
    "num_leaves": "num_leaf max_leaves max_leaf max_leaf_nodes",
    "min_data_in_leaf": "min_data_per_leaf min_data min_child_samples min_samples_leaf",
    "num_class": "num_classes",
    "linear_tree": "linear_trees",
    "num_threads": "num_thread nthread nthreads n_jobs",
    "seed": "random_seed random_state",
    "verbosity": "verbose",
    "boosting": "boosting_type boost",
    "device_type": "device",
    "categorical_feature": "cat_feature categorical_column cat_column categorical_features",
    "early_stopping_round": "early_stopping_rounds early_stopping n_iter_no_change",
    "data": "train train_data train_data_file data_filename",
    "valid": "test valid_data valid_data_file test_data test_data_file valid_filenames",
    "input_model": "model_input model_in",
    "output_model": "model_output model_out",
    "task": "task_type",
    "sigmoid": "",
    "monotone_constraints": "mc monotone_constraint monotonic_cst",
    "metric": "metrics metric_types",
    "bin_construct_sample_cnt": "subsample_for_bin",
    "tree_learner": "tree tree_type tree_learner_type",
    "forcedsplits_filename": "fs forced_splits_filename forced_splits_file forced_splits",
    "machines": "workers nodes",
    "machine_list_filename": "machine_list_file machine_list mlist",
    "num_machines": "num_machine",
    "local_listen_port": "local_port port",
}
_CANONICAL = {alias: name for name, aliases in _ALIASES.items() for alias in (name, *aliases.split())}
_LEARN_ON = "workers find each other: see [trees] learn_on"
_ELSEWHERE = {
    "categorical_feature": "list the columns under [samples] categorical",
    "early_stopping_round": "write early_stopping_rounds under [trees], next to validation",
    "data": "samples come from [samples] path",
    "valid": "validation samples are the newest of the window: see [trees] validation",
    "input_model": "trees are trained anew each time",
    "output_model": "trees are published to the store",
    "task": "gbdtlr decides what LightGBM does",
    "machines": _LEARN_ON,
    "machine_list_filename": _LEARN_ON,
    "num_machines": _LEARN_ON,
    "local_listen_port": _LEARN_ON,
}
BOTH_PARTS = (
    ("samples before the validation part", "take a longer window, or a shorter validation"),
    ("samples of the validation part", "take a longer validation"),
)
"""What each part is called where it lacks one of the labels, and what to do then"""
_SUMMABLE = ("binary", "cross_entropy", "xentropy")


def train(
    samples: Samples,
    cfg: TreesConfig,
    samples_cfg: SamplesConfig,
    *,
    schema: Schema | None = None,
    threads: int | None = None,
    progress: Callable[[int, int, str], None] | None = None,
) -> FrozenTrees:
    """Trees grown by LightGBM on the samples, frozen; the same whatever the number of threads.

    Parameters
    ----------
    samples : Samples, in any order of time
    cfg : TreesConfig; ``params`` go to LightGBM as they are
    samples_cfg : SamplesConfig, whose ``numeric`` and ``categorical`` name the features, in this order
    schema : of more rows than these, whose vocabularies count; None for that of the samples
    progress : called after each tree with the trees so far, the most there may be, and the validation metrics

    Raises
    ------
    ConfigError
        Parameters unknown to LightGBM, or that would grow trees whose leaves cannot be summed into log-odds.
    SamplesError
        Labels all of one class, or a feature column missing or of the wrong type.
    TreesError
        LightGBM refused the parameters.
    """
    import lightgbm as lgb

    params, n_trees = params_of(cfg.params, threads, early_stopping=cfg.early_stopping_rounds is not None)
    check_monotone(cfg.params, samples_cfg)
    check_forced(cfg.params, {canonical(key): key for key in cfg.params})
    require_both_classes(samples)
    if schema is None:
        schema = Schema.fit(
            samples.table,
            samples_cfg.numeric,
            samples_cfg.categorical,
            min_category_count=cfg.min_category_count,
        )
    matrix = schema.matrix(samples.table)

    def dataset(rows: npt.NDArray[np.intp] | slice, reference: Any = None) -> Any:
        weight = samples.weight[rows]
        return lgb.Dataset(
            matrix[rows],
            samples.label[rows],
            weight=None if (weight == 1).all() else weight,
            feature_name=booster_names(schema),
            categorical_feature=categorical_of(schema),
            params=params,
            reference=reference,
        )

    callbacks: list[Callable[[Any], None]] = []
    if cfg.early_stopping_rounds is None:
        train_set, validation = dataset(slice(None)), None
    else:
        older, newest = _split_newest(samples, cfg.validation)
        train_set = dataset(older)
        validation = [dataset(newest, train_set)]
        callbacks.append(
            lgb.early_stopping(
                cfg.early_stopping_rounds,
                first_metric_only=params.get("first_metric_only", False),
                verbose=False,
                min_delta=params.get("early_stopping_min_delta", 0.0),
            )
        )
    if progress is not None:
        callbacks.insert(0, _reporter(progress))
    try:
        booster = lgb.train(params, train_set, n_trees, validation, ["newest"] if validation else None, None,
                            callbacks=callbacks)  # fmt: skip
    except (lgb.basic.LightGBMError, ValueError) as error:
        raise TreesError(f"LightGBM refused [trees.params] or the samples: {reason_of(error, cfg.params)}") from error
    best = booster.best_iteration if cfg.early_stopping_rounds is not None else -1
    text = booster.model_to_string(num_iteration=best)
    # The thread count changes nothing in the trees, so it must not change their bytes, their name, either.
    return FrozenTrees(same_everywhere(text), schema)


def canonical(name: str) -> str:
    """LightGBM's own name of a parameter that may be an alias of it."""
    return _CANONICAL.get(name, name)


def params_of(given: Mapping[str, Any], threads: int | None, *, early_stopping: bool) -> tuple[dict[str, Any], int]:
    """Parameters for LightGBM, the user's untouched and our defaults beside them, and the number of trees."""
    _check_known(given)
    named: dict[str, str] = {}
    for key in given:
        name = _CANONICAL.get(key, key)
        if name in named:
            raise ConfigError(f"[trees.params] gives {named[name]} and {key}, which are the same; keep one")
        named[name] = key

    def value(name: str, default: Any = None) -> Any:
        return given[named[name]] if name in named else default

    for name, remedy in _ELSEWHERE.items():
        if name in named:
            raise ConfigError(f"[trees.params] {named[name]} cannot be set there: {remedy}")
    if value("objective", "binary") not in _SUMMABLE:
        raise ConfigError(
            f"[trees.params] {named['objective']} is {value('objective')!r}; "
            "the head needs trees that add up to log-odds: leave it at binary"
        )
    for name, only in (("num_class", 1), ("linear_tree", False), ("sigmoid", 1.0)):
        if value(name, only) != only:
            raise ConfigError(
                f"[trees.params] {named[name]} = {value(name)!r} gives leaves that do not add up to log-odds; "
                "leave it out"
            )
    if early_stopping and value("boosting", "gbdt") in ("dart", "rf", "random_forest"):
        raise ConfigError(
            f"[trees] early_stopping_rounds cannot go with {named['boosting']} = {value('boosting')!r}: "
            "its earlier trees are not a model of their own"
        )
    params = {key: item for key, item in given.items() if key != named.get("num_iterations")}
    defaults: dict[str, Any] = {"objective": "binary", "verbosity": -1, "seed": 0, "deterministic": True}
    if not {"force_row_wise", "force_col_wise", "device_type"} & named.keys():
        # Otherwise LightGBM times both ways and takes the faster, and which it is decides how sums are rounded.
        defaults["force_row_wise"] = True
    if threads is not None:
        defaults["num_threads"] = threads
    params.update({key: item for key, item in defaults.items() if key not in named})
    n_trees = value("num_iterations", N_TREES)
    if not isinstance(n_trees, int) or isinstance(n_trees, bool) or n_trees < 1:
        raise ConfigError(f"[trees.params] {named['num_iterations']} must be at least 1, not {n_trees!r}")
    return params, n_trees


def check_monotone(given: Mapping[str, Any], samples_cfg: SamplesConfig) -> None:
    """LightGBM does not refuse these constraints: it ends the whole process."""
    key = next((key for key in given if _CANONICAL.get(key) == "monotone_constraints"), None)
    if key is None:
        return
    value = given[key]
    signs = value.split(",") if isinstance(value, str) else value if isinstance(value, list | tuple) else [value]
    names = [*samples_cfg.numeric, *samples_cfg.categorical]
    bound = [str(sign).strip() not in ("0", "+0", "-0") for sign in signs]
    if len(signs) != len(names) or any(bound[len(samples_cfg.numeric) :]):
        raise ConfigError(
            f"[trees.params] {key} is {value!r}; write a 1, -1 or 0 for each of {', '.join(names)}, in this order, "
            "and 0 where the column is categorical"
        )


def _check_known(given: Mapping[str, Any]) -> None:
    """LightGBM only warns of a parameter it does not know, and then trains something else than was asked for."""
    from lightgbm import basic

    try:
        aliases = basic._ConfigAliases._get_all_param_aliases()
    except (AttributeError, TypeError):
        return
    known = {*aliases, *(alias for names in aliases.values() for alias in names)}
    for key in given:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise ConfigError(f"[trees.params] {key} is not a parameter of LightGBM{hint}")


def _split_newest(samples: Samples, validation: timedelta) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    newest = samples.event_us > samples.event_us.max() - validation // timedelta(microseconds=1)
    for rows, told in zip((~newest, newest), BOTH_PARTS, strict=True):
        require_both_classes(samples, rows, *told)
    return np.flatnonzero(~newest), np.flatnonzero(newest)


def _reporter(progress: Callable[[int, int, str], None]) -> Callable[[Any], None]:
    def report(env: Any) -> None:
        metrics = "  ".join(f"{entry[0]} {entry[1]} {entry[2]:.6f}" for entry in env.evaluation_result_list or ())
        progress(env.iteration + 1 - env.begin_iteration, env.end_iteration - env.begin_iteration, metrics)

    return report
