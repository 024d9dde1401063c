"""The estimator beside LightGBM's own and the pipeline one writes by hand: leaves, one-hot, logistic regression.

All grow the same number and size of trees on the same rows, the older ones, and are judged on the newer ones, which
none has seen: bundled flights (four weeks, then two), a click stream (three days, then one), and made rows. Ids of
many values (flight; campaign, site) go to our head by hashing; LightGBM is given them as categories in a case of its
own, and the pipeline as one-hot columns. Where the head is refitted, every day or every six hours, rows are scored
before they are learned, and the trees stay; the others have nothing of the kind but to be fitted anew. Seconds are of
all fitting and scoring together.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from benchmarks import clickstream
from benchmarks.harness import Bench
from gbdtlr.config import Config
from gbdtlr.samples import read
from gbdtlr.sklearn import GBDTLRClassifier
from gbdtlr.times import parse_time

SHAPE = {"n_estimators": 80, "num_leaves": 16, "learning_rate": 0.1, "random_state": 0}
HOUR_US = 3_600_000_000
DAY_US = 24 * HOUR_US
Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Case:
    """Rows to learn and rows to be judged by, oldest first, with texts as categories; and which columns are ids.

    The head is refitted ``every_us``, where it is; rows without times have 0.
    """

    name: str
    frame: pd.DataFrame
    label: Array
    event_us: Array
    n_train: int
    ids: tuple[str, ...]
    every_us: int

    def part(self, rows: slice | Array) -> tuple[pd.DataFrame, Array, Array]:
        """Features, labels and times of some rows."""
        return self.frame.iloc[rows].reset_index(drop=True), self.label[rows], self.event_us[rows]

    @property
    def train(self) -> tuple[pd.DataFrame, Array, Array]:
        return self.part(slice(self.n_train))

    @property
    def test(self) -> tuple[pd.DataFrame, Array, Array]:
        return self.part(slice(self.n_train, None))


def run(bench: Bench) -> None:
    for case in (flights(bench.scale), clicks(bench.size(200_000)), made(bench.size(20_000))):
        systems: dict[str, Callable[[], Array]] = {
            "gbdtlr": partial(ours, case, bench.n_threads),
            "gbdtlr, head refitted": partial(refitted, case, bench.n_threads),
            "LGBMClassifier": partial(lightgbm, case, bench.n_threads, with_ids=False),
            "LGBMClassifier, ids as categories": partial(lightgbm, case, bench.n_threads, with_ids=True),
            "leaves + one-hot + LR": partial(by_hand, case, bench.n_threads),
        }
        if not case.ids:
            systems = {name: work for name, work in systems.items() if "," not in name}
        name = f"{case.name}, {case.n_train} rows, then {len(case.label) - case.n_train}"
        bench.compare(
            name, systems, tell=lambda _, p, case=case: quality(case.test[1], p), repeats=min(bench.repeats, 3)
        )


def flights(scale: float) -> Case:
    """The bundled flights from 18 January on, six weeks; the last two are judged."""
    config = Config.load("configs/flights.toml")
    start, middle, end = (parse_time(day, "America/New_York") for day in ("2013-01-18", "2013-02-15", "2013-03-01"))
    parts = [read(config.samples, *span, end) for span in ((start, middle), (middle, end))]
    parts = [part.take(np.arange(int(len(part) * (1 - scale)), len(part))) for part in parts]
    parts = [part.take(np.argsort(part.event_us, kind="stable")) for part in parts]
    frame = pd.concat([part.table.to_pandas() for part in parts], ignore_index=True)
    label, event_us = (np.concatenate([getattr(part, name) for part in parts]) for name in ("label", "event_us"))
    return Case("flights", _with_categories(frame, ("flight",)), label, event_us, len(parts[0]), ("flight",), DAY_US)


def clicks(n: int) -> Case:
    """Four days of clicks on ads; the last is judged."""
    config = Config.load("configs/clickstream.toml").samples
    table = clickstream.generate(n, 4, 1)
    frame = table.select([*config.numeric, *config.categorical, "campaign", "site"]).to_pandas()
    event_us = table.column("ts").cast("int64").to_numpy()
    n_train = int(np.searchsorted(event_us, event_us[0] + 3 * DAY_US))
    label = table.column("label").to_numpy(zero_copy_only=False).astype(np.int8)
    return Case(
        "clicks",
        _with_categories(frame, ("campaign", "site")),
        label,
        event_us,
        n_train,
        ("campaign", "site"),
        6 * HOUR_US,
    )


def made(n: int) -> Case:
    """Rows without ids, times or drift, as scikit-learn makes them: where there is nothing for the head to win."""
    from sklearn.datasets import make_classification

    matrix, label = make_classification(n, 20, n_informative=8, flip_y=0.1, random_state=0)
    frame = pd.DataFrame(matrix, columns=[f"x{i}" for i in range(20)])
    return Case("made rows", frame, label, np.zeros(n, np.int64), n // 2, (), 0)


def ours(case: Case, n_threads: int) -> Array:
    return _ours(case, n_threads).predict_proba(case.test[0])[:, 1]


def refitted(case: Case, n_threads: int) -> Array:
    """Rows to be judged are scored a span after the other, and the head refitted on the week that ends with each."""
    estimator = _ours(case, n_threads)
    _, _, times = case.test
    found = []
    spans = (times - times[0]) // case.every_us
    for span in np.unique(spans):
        rows = case.n_train + np.flatnonzero(spans == span)
        found.append(estimator.predict_proba(case.part(rows)[0])[:, 1])
        until = case.event_us[rows[-1]]
        week = np.flatnonzero((case.event_us <= until) & (case.event_us > until - 7 * DAY_US))
        frame, label, own = case.part(week)
        estimator.refit_head(frame, label, event_time=own.astype("datetime64[us]"))
    return np.concatenate(found)


def lightgbm(case: Case, n_threads: int, *, with_ids: bool) -> Array:
    from lightgbm import LGBMClassifier

    dropped = [] if with_ids else list(case.ids)
    frame, label, _ = case.train
    model = LGBMClassifier(**SHAPE, n_jobs=n_threads, verbosity=-1).fit(frame.drop(columns=dropped), label)
    return np.asarray(model.predict_proba(case.test[0].drop(columns=dropped)))[:, 1]


def by_hand(case: Case, n_threads: int) -> Array:
    """What one finds in tutorials: leaves of the trees and the ids, one-hot, into scikit-learn's regression."""
    from lightgbm import LGBMClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder

    frame, label, _ = case.train
    trees = LGBMClassifier(**SHAPE, n_jobs=n_threads, verbosity=-1).fit(frame.drop(columns=list(case.ids)), label)

    def codes(rows: pd.DataFrame) -> Array:
        leaves = trees.predict(rows.drop(columns=list(case.ids)), pred_leaf=True)
        return np.column_stack([leaves, *(rows[name].cat.codes for name in case.ids)])

    pipeline = make_pipeline(OneHotEncoder(handle_unknown="ignore"), LogisticRegression(C=0.1, max_iter=1000))
    return np.asarray(pipeline.fit(codes(frame), label).predict_proba(codes(case.test[0])))[:, 1]


def quality(label: Array, probability: Array) -> dict[str, Any]:
    """NE, calibration and AUC."""
    from sklearn.metrics import log_loss, roc_auc_score

    rate = label.mean()
    entropy = -rate * np.log(rate) - (1 - rate) * np.log(1 - rate)
    return {
        "NE": float(log_loss(label, probability) / entropy),
        "calibration": float(probability.sum() / label.sum()),
        "AUC": float(roc_auc_score(label, probability)),
    }


def _told(label: Array, _system: str, probability: Array) -> dict[str, Any]:
    return quality(label, probability)


def _ours(case: Case, n_threads: int) -> GBDTLRClassifier:
    frame, label, event_us = case.train
    estimator = GBDTLRClassifier(**SHAPE, wide=case.ids, n_jobs=n_threads)
    return estimator.fit(frame, label, event_time=event_us.astype("datetime64[us]") if case.every_us else None)


def _with_categories(frame: pd.DataFrame, ids: tuple[str, ...]) -> pd.DataFrame:
    """Texts and ids as pandas' categories, which all systems take for such."""
    texts = [name for name in frame if not pd.api.types.is_numeric_dtype(frame[name])]
    return frame.astype(dict.fromkeys([*texts, *ids], "category"))
