"""The rivals: what else could be done at each update, on the same samples, without a head of ours."""

from __future__ import annotations

import time
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gbdtlr.compute.threads import n_threads
from gbdtlr.config import Config
from gbdtlr.errors import GbdtlrError
from gbdtlr.head import Codes, Head, Layout
from gbdtlr.head.layout import NO_WIDE
from gbdtlr.metrics import log_loss_of
from gbdtlr.model import Model
from gbdtlr.replay.journal import Arrays, Journal, segment_name
from gbdtlr.replay.rows import joined, known_window, read_all
from gbdtlr.replay.timeline import Segment
from gbdtlr.samples import Samples
from gbdtlr.times import format_time, to_us
from gbdtlr.trees import FrozenTrees, train
from gbdtlr.trees.refitting import refit

DECAYS = (0.9, 0.98, 0.7, 0.4, 0.0)
"""Of ``Booster.refit``, its default first."""

STRENGTHS = (1.0, 0.1, 0.01, 0.001)
"""C of scikit-learn's logistic regression, its default first."""

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Coded:
    """A segment's samples and those its updates learn from: read once, coded once.

    Attributes
    ----------
    samples : in canonical order
    trees : the schedule's, live in the segment
    """

    samples: Samples
    trees: FrozenTrees

    @cached_property
    def codes(self) -> Codes:
        """Leaves of all samples."""
        return Model.of(self.trees, NO_WIDE).encode(self.samples)

    @cached_property
    def matrix(self) -> NDArray[np.float64]:
        """The samples as LightGBM reads them."""
        return self.trees.schema.matrix(self.samples.table)

    def margin(self, rows: Indices, weights: NDArray[np.float64], bias: float = 0.0) -> NDArray[np.float64]:
        """Margin of those rows under one weight per leaf."""
        layout = Layout.of(self.trees)
        return Head(layout, layout.join(weights, [], bias)).margin(self.codes.take(rows))


Predictor = Callable[[Coded, Indices], NDArray[np.float64]]


class Rival(ABC):
    """One way to follow fresh samples. Of its ``options`` the one with the lowest progressive loss so far is live."""

    name: str
    options: tuple[float, ...] = (0.0,)

    def __init__(self, config: Config) -> None:
        self.config = config

    @property
    @abstractmethod
    def window(self) -> timedelta:
        """How far back it learns from."""

    @abstractmethod
    def learn(self, coded: Coded, past: Indices) -> list[Predictor]:
        """A predictor per option, from the samples ``past``, of which both labels occur."""

    def run(
        self,
        segments: Sequence[Segment],
        trees_at: Callable[[datetime], FrozenTrees],
        journal: Journal,
        tick: Callable[[str], None],
    ) -> Arrays:
        """Margins of all rows in order of event time, float64 (n,), under the rival's name; its ``seconds`` beside.

        ``tick`` is called after each step of a segment that the journal has not kept.
        """
        parts: list[Arrays] = []
        for i, segment in enumerate(segments):
            name = segment_name(i)
            arrays = journal.load(name)
            if arrays is None:
                arrays = self._segment(segment, trees_at, parts[-1] if parts else None, tick)
                journal.save(name, arrays)
            parts.append(arrays)
        return joined([{key: part[key] for key in (self.name, "seconds", "failed")} for part in parts])

    def _segment(
        self,
        segment: Segment,
        trees_at: Callable[[datetime], FrozenTrees],
        before: Arrays | None,
        tick: Callable[[str], None],
    ) -> Arrays:
        samples = read_all(self.config.samples, segment.start - self.window, segment.end)
        choice = Choice.of(len(self.options), before)
        margins, seconds, failed = [np.empty(0)], 0.0, 0
        if samples is not None:
            coded = Coded(samples, trees_at(segment.start))
            models: list[Predictor] = [_bare] * len(self.options)
            order = np.argsort(samples.event_us, kind="stable")
            event_us = samples.event_us[order]
            for step in segment.steps:
                choice.learn(to_us(step.at))
                past = known_window(samples, step.at - self.window, step.at)
                if 0 < np.count_nonzero(samples.label[past]) < len(past):
                    start = time.perf_counter()
                    try:
                        models = self.learn(coded, past)
                    except GbdtlrError:  # what is live stays
                        failed += 1
                    seconds += time.perf_counter() - start
                low, high = event_us.searchsorted([to_us(step.at), to_us(step.until)])
                rows = order[low:high]
                said = np.stack([model(coded, rows) for model in models])
                margins.append(said[choice.best])
                choice.wait(samples, rows, said)
                tick(format_time(step.at))
        else:
            for step in segment.steps:
                tick(format_time(step.at))
        return {
            self.name: np.concatenate(margins),
            "seconds": np.array([seconds]),
            "failed": np.array([failed]),
            **choice.arrays(),
        }


class Choice:
    """Which option has done best on the labels known so far."""

    def __init__(self, total: NDArray[np.float64], known_us: NDArray[np.int64], loss: NDArray[np.float64]) -> None:
        self._total = total
        self._known_us = known_us
        self._loss = loss

    @classmethod
    def of(cls, n_options: int, arrays: Arrays | None) -> Choice:
        """The choice after a segment that ended with ``arrays``; None before the first."""
        if arrays is None:
            return cls(np.zeros(n_options), np.empty(0, np.int64), np.empty((n_options, 0)))
        return cls(arrays["choice_total"], arrays["choice_known_us"], arrays["choice_loss"])

    @property
    def best(self) -> int:
        """Option with the lowest loss; the first of equals."""
        return int(self._total.argmin())

    def wait(self, samples: Samples, rows: Indices, margins: NDArray[np.float64]) -> None:
        """Remember the losses of scored rows, (n_options, n), until their labels are known."""
        loss = samples.weight[rows] * log_loss_of(margins, samples.label[rows])
        self._known_us = np.concatenate([self._known_us, samples.known_us[rows]])
        self._loss = np.concatenate([self._loss, loss], axis=1)

    def learn(self, as_of_us: int) -> None:
        """Count the losses of rows whose labels are known by now."""
        known = self._known_us <= as_of_us
        self._total = self._total + self._loss[:, known].sum(axis=1)
        self._known_us, self._loss = self._known_us[~known], self._loss[:, ~known]

    def arrays(self) -> Arrays:
        """What :meth:`of` takes."""
        return {"choice_total": self._total, "choice_known_us": self._known_us, "choice_loss": self._loss}


def _bare(coded: Coded, rows: Indices) -> NDArray[np.float64]:
    return coded.margin(rows, coded.trees.leaf_values)


class TreesEveryUpdate(Rival):
    """Trees trained anew at each update: the costly line."""

    name = "trees-every-update"

    @property
    def window(self) -> timedelta:
        return self.config.trees.window

    def learn(self, coded: Coded, past: Indices) -> list[Predictor]:
        config = self.config
        trees = train(coded.samples.take(past), config.trees, config.samples, threads=config.threads or n_threads())

        def model(coded: Coded, rows: Indices) -> NDArray[np.float64]:
            return trees.margin(coded.samples.table.take(rows), trees.leaf_values, 0.0)

        return [model]


class LightGBMRefit(Rival):
    """``Booster.refit`` of the schedule's trees."""

    name = "lightgbm-refit"
    options = DECAYS

    @property
    def window(self) -> timedelta:
        return self.config.head.window

    def learn(self, coded: Coded, past: Indices) -> list[Predictor]:
        samples = coded.samples
        refitted = refit(coded.trees, coded.matrix[past], samples.label[past], samples.weight[past], self.options)
        return [_leaves(values) for values in refitted]


class PlainGBDTLR(Rival):
    """scikit-learn's logistic regression on one-hot leaves, its weights pulled to zero: the textbook way."""

    name = "plain-gbdt-lr"
    options = STRENGTHS

    @property
    def window(self) -> timedelta:
        return self.config.head.window

    def learn(self, coded: Coded, past: Indices) -> list[Predictor]:
        from scipy.sparse import csr_matrix
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression

        trees = coded.trees
        columns = (coded.codes.leaves[:, past] + trees.offsets[:-1, None]).T.ravel()
        starts = np.arange(0, len(columns) + 1, trees.n_trees)
        one_hot = csr_matrix((np.ones(len(columns)), columns, starts), shape=(len(past), trees.n_codes))
        models: list[Predictor] = []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            for strength in self.options:
                model = LogisticRegression(C=strength, max_iter=200)
                model.fit(one_hot, coded.samples.label[past], coded.samples.weight[past])
                models.append(_leaves(model.coef_[0], float(model.intercept_[0])))
        return models


def _leaves(weights: NDArray[np.float64], bias: float = 0.0) -> Predictor:
    def model(coded: Coded, rows: Indices) -> NDArray[np.float64]:
        return coded.margin(rows, weights, bias)

    return model


RIVALS: dict[str, Any] = {rival.name: rival for rival in (TreesEveryUpdate, LightGBMRefit, PlainGBDTLR)}
