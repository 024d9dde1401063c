"""The classifier: both speeds behind scikit-learn's interface."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_random_state
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import (
    _check_y,
    check_is_fitted,
    validate_data,
)

from gbdtlr.compute import threads
from gbdtlr.config import Config
from gbdtlr.errors import ConfigError, SamplesError, TreesError
from gbdtlr.inspect.importance import importance
from gbdtlr.metrics import sigmoid
from gbdtlr.model import Model
from gbdtlr.release import Release
from gbdtlr.samples import Samples
from gbdtlr.scoring import Scorer
from gbdtlr.sklearn.columns import FROM_DTYPE, Columns, is_frame, named, of_matrix
from gbdtlr.sklearn.learning import go_on, learn, refit
from gbdtlr.sklearn.publishing import of_release, publish
from gbdtlr.sklearn.rows import held_out_of, samples_of
from gbdtlr.sklearn.settings import config_of, half_lives_of, one_or_more, parameters_of
from gbdtlr.store import Store
from gbdtlr.times import in_utc, parse_time

Floats = NDArray[np.float64]


def _learns_on(estimator: GBDTLRClassifier) -> bool:
    return bool(estimator.method != "refit")


class GBDTLRClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Gradient boosted trees, and a logistic regression on their leaves and on hashed ids that is refitted by itself.

    A frame's columns are found by name, in any order: texts and categories are categories, all else is numbers. Of an
    array, all columns are numbers. Missing values are ordinary everywhere.

    Parameters
    ----------
    n_estimators, learning_rate, num_leaves, min_child_samples : LightGBM's
    lightgbm_params : further parameters of LightGBM, as they are; they win over the four above
    min_category_count : a category seen less often shares the place of those unseen
    categorical_features : ``from_dtype``, or names of the columns that are categories, all others being numbers
    wide : ids that go straight into the head, not to the trees; crosses of columns are written ``a:b``
    wide_buckets : how many places ids are hashed into
    method : how the head learns: ``refit``, ``incremental``, ``ftrl``, ``rda`` or ``fobos``
    l2 : ridges of the head's candidates, which are blended by what they are worth
    half_lives : how fast samples fade, such as ``("6h", "1d")``; shares of the samples' own time if None. Without
        times nothing fades
    online_params : settings of the methods that learn one sample at a time, as under ``[head.online]``
    validation_fraction : share of the rows that say what the candidates are worth: the newest, or random ones without
        times. Trees and candidates are then grown again on all rows. 0 blends them in equal shares
    random_state : of LightGBM and of the random rows
    n_jobs : threads; one per core if None or -1

    Attributes
    ----------
    classes_ : (2,), the second is the positive one
    n_features_in_, feature_names_in_ : as of all estimators
    """

    classes_: NDArray[Any]

    def __init__(
        self,
        *,
        n_estimators: int = 100,
        learning_rate: float = 0.1,
        num_leaves: int = 31,
        min_child_samples: int = 20,
        lightgbm_params: dict[str, Any] | None = None,
        min_category_count: int = 10,
        categorical_features: Any = FROM_DTYPE,
        wide: tuple[str, ...] = (),
        wide_buckets: int = 2**18,
        method: str = "refit",
        l2: tuple[float, ...] = (30.0, 1000.0),
        half_lives: tuple[Any, ...] | None = None,
        online_params: dict[str, Any] | None = None,
        validation_fraction: float = 0.2,
        random_state: Any = None,
        n_jobs: int | None = None,
    ) -> None:
        self.n_estimators = n_estimators
        self.learning_rate = learning_rate
        self.num_leaves = num_leaves
        self.min_child_samples = min_child_samples
        self.lightgbm_params = lightgbm_params
        self.min_category_count = min_category_count
        self.categorical_features = categorical_features
        self.wide = wide
        self.wide_buckets = wide_buckets
        self.method = method
        self.l2 = l2
        self.half_lives = half_lives
        self.online_params = online_params
        self.validation_fraction = validation_fraction
        self.random_state = random_state
        self.n_jobs = n_jobs

    def fit(self, X: Any, y: Any, sample_weight: Any = None, event_time: Any = None) -> GBDTLRClassifier:
        """Grow trees and fit a head on them.

        Parameters
        ----------
        X : frame or array, (n, n_features)
        y : (n,), of two classes
        sample_weight : (n,), at least 0
        event_time : (n,), when each row happened: newer rows count for more in the head, and say what its candidates
            are worth. Times that carry no zone are UTC
        """
        with self._working():
            frame = self._frame_to_fit(X)
            columns = Columns.of(frame, self.categorical_features, one_or_more(self.wide))
            label = self._labels(y, len(next(iter(frame.values()))), fit=True)
            samples = samples_of(columns, frame, label, sample_weight, event_time)
            dated = event_time is not None
            random = check_random_state(0 if self.random_state is None else self.random_state)
            held_out = held_out_of(samples, self.validation_fraction, dated, random)
            seed = int(random.randint(2**31 - 1))
            config = self._config(columns, samples, dated, seed)
            learned = learn(config, samples, dated, held_out)
        self._columns, self._learned = columns, learned
        return self

    def refit_head(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        event_time: Any = None,
    ) -> GBDTLRClassifier:
        """Fit the head anew on these rows, on the same trees.

        With times, rows newer than those it has learned first say what the candidates are worth; without, the blend
        stays as it is. Parameters are those of :meth:`fit`.
        """
        return self._learn_more(refit, X, y, sample_weight, event_time)

    @available_if(_learns_on)  # type: ignore[untyped-decorator]  # scikit-learn has no types
    def partial_fit(
        self,
        X: Any,
        y: Any,
        classes: Any = None,
        sample_weight: Any = None,
        event_time: Any = None,
    ) -> GBDTLRClassifier:
        """Learn rows that the head has not learned, without the old ones; the first call is a :meth:`fit`.

        There is none where ``method`` is ``refit``.

        Parameters
        ----------
        classes : (2,); of the first call, which must have both of them all the same, to grow trees
        """
        if not hasattr(self, "_learned"):
            if classes is not None and len(np.unique(classes)) != 2:
                raise ValueError(f"two classes expected, not {len(np.unique(classes))}")
            return self.fit(X, y, sample_weight, event_time)
        return self._learn_more(go_on, X, y, sample_weight, event_time)

    def decision_function(self, X: Any) -> Floats:
        """Log-odds of the positive class, float64 (n,)."""
        with self._working():
            return self._model.margin(self._frame(X))

    def predict_proba(self, X: Any) -> Floats:
        """Probabilities of both classes, float64 (n, 2)."""
        positive = sigmoid(self.decision_function(X))
        return np.column_stack([1.0 - positive, positive])

    def predict(self, X: Any) -> NDArray[Any]:
        """The likelier class of each row, (n,)."""
        margin = self.decision_function(X)
        return self.classes_[(margin > 0).astype(np.intp)]

    def apply(self, X: Any) -> NDArray[np.int64]:
        """Leaf of every row in every tree, LightGBM's own numbers, int64 (n, n_trees)."""
        with self._working():
            return self._model.trees.encode(self._frame(X)).T.astype(np.int64)

    @property
    def feature_importances_(self) -> Floats:
        """Share of the spread of the margin that each column carries, (n_features,); they sum to 1, or are all 0."""
        check_is_fitted(self)
        found: dict[str, float] = {}
        for name, share in importance(self._model, self._learned.codes):
            for part in (parts := name.split(":") if name not in self._columns.names else [name]):
                found[part] = found.get(part, 0.0) + share / len(parts)
        return np.array([found.get(name, 0.0) for name in self._columns.names])

    @property
    def release_(self) -> Release:
        """What has been learned, as a release of no store: for ``gbdtlr.export.export``."""
        check_is_fitted(self)
        return self._learned.release

    @classmethod
    def from_release(
        cls, store: str | os.PathLike[str] | Store | Release, release: int | None = None
    ) -> GBDTLRClassifier:
        """Estimator that scores as a release does, of the classes 0 and 1.

        Parameters
        ----------
        store : path or URL, an open store, or a release that is loaded
        release : its number; the live one if not given

        Raises
        ------
        GbdtlrError
            No such release, one that cannot be trusted here, or one with dense columns.
        """
        loaded = store if isinstance(store, Release) else Scorer.open(store, release).loaded
        if loaded.head.dense.n:
            names = ", ".join(loaded.head.dense.names)
            raise ConfigError(
                f"the estimator knows no dense columns, and the release has {names}; score it by a Scorer"
            )
        manifest = loaded.head_manifest["config"]
        config = Config.from_dict({key: manifest[key] for key in ("samples", "trees", "head")})
        estimator = cls(**parameters_of(config))
        features = loaded.trees.schema.features
        wide = loaded.head.wide.names
        columns = loaded.model.columns
        estimator._columns = Columns(
            columns,
            tuple(feature.name for feature in features if feature.vocabulary is None),
            tuple(feature.name for feature in features if feature.vocabulary is not None),
            wide,
        )
        estimator._learned = of_release(loaded, config)
        estimator.classes_ = np.array([0, 1])
        estimator.n_features_in_ = len(columns)
        estimator.feature_names_in_ = np.array(columns, object)
        return estimator

    def publish(
        self,
        store: str | os.PathLike[str] | Store,
        *,
        as_of: datetime | str | None = None,
        config: Config | str | os.PathLike[str] | None = None,
        reason: str = "",
        force: bool = False,
    ) -> int:
        """Make it the live release of a store, and return its number.

        Parameters
        ----------
        store : path or URL, or a store that is open
        as_of : the moment up to which it knows labels; by default the newest event time it was given
        config : that of the jobs which are to go on from it, or its file
        reason : why, for people
        force : publish although the live release knows more

        Raises
        ------
        ConfigError
            No ``as_of``, where rows carried no times; the live release knows more.
        StoreError
            The store cannot be written; nothing was published.
        """
        check_is_fitted(self)
        if as_of is None and not self._learned.dated:
            raise ConfigError("the rows carried no event_time: give as_of, the moment up to which labels are known")
        known = self._learned.release.head_as_of
        moment = known if as_of is None else parse_time(as_of) if isinstance(as_of, str) else in_utc(as_of, "UTC")
        target = store if isinstance(store, Store) else Store.open(os.fspath(store))
        of_jobs = config if isinstance(config, Config) or config is None else Config.load(os.fspath(config))
        return publish(self._learned, target, moment, of_jobs, reason, force=force).number

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.categorical = True
        tags.input_tags.string = True
        tags.classifier_tags.multi_class = False
        return tags

    @property
    def _model(self) -> Model:
        check_is_fitted(self)
        return self._learned.release.model

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "_learned")

    def _learn_more(self, how: Any, X: Any, y: Any, sample_weight: Any, event_time: Any) -> GBDTLRClassifier:
        check_is_fitted(self)
        with self._working():
            frame = self._frame(X)
            label = self._labels(y, len(next(iter(frame.values()))), fit=False)
            samples = samples_of(self._columns, frame, label, sample_weight, event_time)
            dated = event_time is not None
            if dated != self._learned.dated:
                raise ValueError("event_time must be given always or never")
            config = self._config(self._columns, samples, dated, 0)
            if how is go_on:  # with the half-lives that it was begun with
                half_lives = self._learned.config.head.half_lives
                config = config.replace(head=replace(config.head, half_lives=half_lives))
            self._learned = how(self._learned, config, samples, dated)
        return self

    def _config(self, columns: Columns, samples: Samples, dated: bool, seed: int) -> Config:
        half_lives = half_lives_of(self.half_lives, samples.event_us if dated else None)
        return config_of(self.get_params(deep=False), columns, half_lives, seed)

    def _frame_to_fit(self, X: Any) -> dict[str, Any]:
        """Columns by name; what an array's are called is told by their place."""
        if not is_frame(X):
            matrix = validate_data(self, X, dtype=np.float64, ensure_all_finite=False)
            return of_matrix(matrix, [f"x{i}" for i in range(matrix.shape[1])])
        frame = named(X)
        if not frame or not len(next(iter(frame.values()))):
            raise ValueError("found 0 sample(s) or 0 feature(s), while a minimum of 1 is required")
        self.n_features_in_ = len(frame)
        self.feature_names_in_ = np.array(list(frame), object)
        return frame

    def _frame(self, X: Any) -> dict[str, Any]:
        """Columns by the names they had when the estimator was fitted."""
        check_is_fitted(self)
        if is_frame(X) and hasattr(self, "feature_names_in_"):
            return named(X)
        matrix = validate_data(self, X, dtype=None if is_frame(X) else np.float64, reset=False, ensure_all_finite=False)
        return of_matrix(matrix, self._columns.names)

    def _labels(self, y: Any, n_rows: int, *, fit: bool) -> NDArray[np.int8]:
        """0 and 1 for the two classes, which a fit finds out."""
        if y is None:
            raise ValueError("This GBDTLRClassifier estimator requires y to be passed, but the target y is None.")
        y = _check_y(y, multi_output=False, estimator=self)
        if len(y) != n_rows:
            raise ValueError(f"Found input variables with inconsistent numbers of samples: {[n_rows, len(y)]}")
        if not fit:
            unknown = np.setdiff1d(y, self.classes_)
            if len(unknown):
                raise ValueError(
                    f"y has {unknown.tolist()[0]!r}, which is none of the classes {self.classes_.tolist()}"
                )
            return np.asarray(np.searchsorted(self.classes_, y), np.int8)
        check_classification_targets(y)
        classes, encoded = np.unique(y, return_inverse=True)
        if len(classes) == 1:
            raise ValueError(f"y has only one class, {classes.tolist()[0]!r}: two classes are needed to learn from")
        if len(classes) > 2:
            kind = type_of_target(y)
            raise ValueError(f"Only binary classification is supported. The type of the target is {kind}.")
        self.classes_ = classes
        return np.asarray(encoded, np.int8)

    @contextlib.contextmanager
    def _working(self) -> Iterator[None]:
        """As many threads as were asked for, and errors of the kinds that callers of estimators know."""
        n = self.n_jobs
        try:
            with threads.limited(None if n is None or n < 0 else n):
                yield
        except (SamplesError, ConfigError, TreesError) as error:
            raise ValueError(str(error)) from error
