"""Settings: an estimator's parameters as the configuration of the jobs."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gbdtlr.config import Config, HeadConfig, OnlineConfig, SamplesConfig, TreesConfig
from gbdtlr.errors import ConfigError
from gbdtlr.sklearn.columns import Columns
from gbdtlr.times import parse_duration
from gbdtlr.trees.training import canonical

NO_PATH = "rows given to GBDTLRClassifier"
_NAMED = {
    "n_estimators": "num_iterations",
    "learning_rate": "learning_rate",
    "num_leaves": "num_leaves",
    "min_child_samples": "min_data_in_leaf",
}


def config_of(parameters: dict[str, Any], columns: Columns, half_lives: Sequence[timedelta], seed: int) -> Config:
    """The configuration that says the same.

    Parameters
    ----------
    parameters : of the estimator, as ``get_params`` gives them

    Raises
    ------
    ConfigError
        Values that cannot be; the message names the key of the configuration.
    """
    own = dict(parameters["lightgbm_params"] or {})
    given = {canonical(name) for name in own}
    defaults = {key: parameters[name] for name, key in _NAMED.items() if key not in given}
    if "seed" not in given:
        defaults["seed"] = seed
    taken = {*columns.names, *columns.wide}
    return Config(
        samples=SamplesConfig(
            path=(NO_PATH,),
            event_time=_free("event_time", taken),
            label=_free("label", taken),
            label_delay=timedelta(0),
            numeric=columns.numeric,
            categorical=columns.categorical,
            wide=columns.wide,
        ),
        trees=TreesConfig(params={**defaults, **own}, min_category_count=parameters["min_category_count"]),
        head=HeadConfig(
            method=parameters["method"],
            half_lives=tuple(half_lives),
            l2=tuple(float(value) for value in one_or_more(parameters["l2"])),
            wide_buckets=parameters["wide_buckets"],
            online=OnlineConfig(**(parameters["online_params"] or {})),
        ),
    )


def parameters_of(config: Config) -> dict[str, Any]:
    """An estimator's parameters that say what a configuration does."""
    own = dict(config.trees.params)
    named = {name: key for name, key in _NAMED.items() if key in own}
    parameters = {name: own.pop(key) for name, key in named.items()}
    return {
        **parameters,
        "lightgbm_params": own or None,
        "min_category_count": config.trees.min_category_count,
        "categorical_features": config.samples.categorical,
        "wide": config.samples.wide,
        "wide_buckets": config.head.wide_buckets,
        "method": config.head.method,
        "l2": config.head.l2,
        "half_lives": config.head.half_lives,
    }


def half_lives_of(given: Any, event_us: NDArray[np.int64] | None) -> tuple[timedelta, ...]:
    """How fast samples fade in the head's fits.

    Where none are given, the whole time that the samples span, a quarter and a sixteenth of it; without times, nothing
    fades.
    """
    if given is not None:
        found = [parse_duration(each) if isinstance(each, str) else each for each in one_or_more(given)]
        if odd := [each for each in found if not isinstance(each, timedelta)]:
            raise ConfigError(f"half_lives has {odd[0]!r}; write durations such as '6h', or give timedeltas")
        return tuple(found)
    if event_us is None:
        return (timedelta(days=7),)
    span_s = int(event_us.max() - event_us.min()) // 1_000_000 if len(event_us) else 0
    return tuple(timedelta(seconds=each) for each in sorted({max(1, span_s // share) for share in (16, 4, 1)}))


def one_or_more(given: Any) -> tuple[Any, ...]:
    """What stands in a parameter that takes several values, or the one that is given in place of a list."""
    return (given,) if isinstance(given, (str, timedelta, Real)) else tuple(given)


def _free(name: str, taken: set[str]) -> str:
    while name in taken:
        name += "_"
    return name
