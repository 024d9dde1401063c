"""Typed configuration of one model, read from a TOML file; every mistake names its key and the remedy."""

from __future__ import annotations

import dataclasses
import difflib
import math
import re
import tomllib
import types
import typing
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from gbdtlr.errors import ConfigError
from gbdtlr.times import check_length, format_duration, parse_duration, zone
from gbdtlr.values.crosses import columns_of, parts_of

ONLINE = ("ftrl", "rda", "fobos")
"""Methods of the head that learn sample by sample."""
METHODS = ("refit", "incremental", *ONLINE)
UNFINAL = ("wait", "weigh")
"""What becomes of rows whose label may still change: they wait until it is final, or are weighed by what is known."""
AT_ONCE = "labels-at-once"
"""What a replay compares these with, and no config file can ask for: every label known as its row happens."""
TOLD = ("published", "refused", "rolled_back", "error")
"""Ends of jobs that somebody may be told of."""
USERS = ("regression", "mean")
"""Methods that a user's weights learn by."""
EMBEDDINGS = ("pmi", "file")
"""Methods that vectors of items come by."""
MOST_DIMENSIONS = 256
UNKNOWN_COLUMNS = ("refuse", "ignore")
"""What a service does with columns that its release does not read."""
_ENGINE = re.compile(r"local|ray|ray://[^/\s:]+:\d+")
L2 = (1e-9, 1e12)
"""Least and largest ridge of a head: beyond them, its single precision says nothing any more."""


@dataclass(frozen=True)
class OutcomesConfig:
    """Where the outcomes are that make samples of impressions, and how long they are waited for.

    An impression is a 1 where an outcome of its key came within ``window`` of it. ``partition`` places outcomes by
    their own time. ``landed_time`` is the column that says when an outcome could be read, where that was later;
    ``value`` one that says whether an outcome is a 1 or a 0; ``weight`` what it multiplies its sample's weight by. At
    most ``max_outcomes`` are held at once.
    """

    path: tuple[str, ...]
    key: str
    time: str
    window: timedelta
    partition: str | None = None
    unfinal: str = "wait"
    landed_time: str | None = None
    value: str | None = None
    weight: str | None = None
    max_outcomes: int = 100_000_000

    def __post_init__(self) -> None:
        _check_lengths("outcomes", self)
        if not self.path:
            raise ConfigError("[outcomes] path is empty; name files, folders or globs")
        if not self.window:
            raise ConfigError("[outcomes] window must be above zero: it is how long an outcome is waited for")
        _check_unfinal("outcomes", self.unfinal)
        _at_least("[outcomes] max_outcomes", self.max_outcomes, 1)
        columns = [name for name in (self.key, self.time, self.value, self.weight) if name]
        if twice := sorted({name for name in columns if columns.count(name) > 1}):
            raise ConfigError(f"[outcomes] names {', '.join(twice)} for two things; key, time, value and weight differ")


@dataclass(frozen=True)
class SamplesConfig:
    """Where the samples are and which of their columns mean what.

    ``path`` holds files, folders or globs. ``partition`` is a strftime pattern found in each file's path
    (``date=%Y-%m-%d/hour=%H``): files whose event times it places outside the window are not opened. With
    ``label_window`` or ``label_deadline``, ``label_time`` is when the outcome came, and a label is final from then on
    that an outcome can no longer come. With ``key`` the files hold impressions, which have no label: ``[outcomes]``
    gives them theirs. ``user`` and ``item`` are the columns that say who was shown what.
    """

    path: tuple[str, ...]
    event_time: str
    label: str = "label"
    label_time: str | None = None
    label_delay: timedelta | None = None
    label_window: timedelta | None = None
    label_deadline: str | None = None
    unfinal: str = "wait"
    weight: str | None = None
    timezone: str = "UTC"
    partition: str | None = None
    numeric: tuple[str, ...] = ()
    categorical: tuple[str, ...] = ()
    wide: tuple[str, ...] = ()
    dense: tuple[str, ...] = ()
    user: str | None = None
    item: str | None = None
    negative_keep_rate: float = 1.0
    key: str | None = None
    outcomes: OutcomesConfig | None = field(default=None, metadata={"table": "outcomes"})
    user_score: str | None = None

    def __post_init__(self) -> None:
        _check_lengths("samples", self)
        zone(self.timezone)
        if not self.path:
            raise ConfigError("[samples] path is empty; name files, folders or globs")
        if self.key is not None:
            self._check_key()
        elif (self.label_time is None) == (self.label_delay is None):
            raise ConfigError(
                "[samples] needs exactly one of label_time (the column saying when the label became known) "
                'and label_delay (such as "2h": how long after event_time it is final)'
            )
        self._check_deadline()
        if not self.numeric and not self.categorical:
            raise ConfigError("[samples] needs features: list columns under numeric, categorical or both")
        if not 0 < self.negative_keep_rate <= 1:
            rate = self.negative_keep_rate
            raise ConfigError(f"[samples] negative_keep_rate must be above 0 and at most 1, not {rate:g}")
        features = [*self.numeric, *self.categorical]
        twice = sorted({name for name in features if features.count(name) > 1})
        if twice:
            raise ConfigError(f"[samples] lists {', '.join(twice)} more than once under numeric and categorical")
        if len(set(self.wide)) < len(self.wide):
            raise ConfigError("[samples] wide lists a column more than once")
        crossed: dict[frozenset[str], str] = {}
        for name in self.wide:
            parts = parts_of(name)
            if len(set(parts)) < len(parts):
                raise ConfigError(f"[samples] wide crosses a column with itself in {name!r}; list each column once")
            first = crossed.setdefault(frozenset(parts), name)
            if first != name:
                raise ConfigError(f"[samples] wide has {first!r} and {name!r}, which say the same; remove one")
        about = (self.label_column, self.event_time, self.label_time, self.label_deadline, self.weight)
        told = {name for name in about if name}
        if len(set(self.dense)) < len(self.dense):
            raise ConfigError("[samples] dense lists a column more than once")
        if self.user_score in {*features, *self.wide_columns, *self.dense}:
            raise ConfigError(
                f"[samples] user_score = {self.user_score!r} is a feature too, though it enters the head as it is; "
                "remove it from numeric, categorical, wide or dense"
            )
        if both := sorted({*self.dense} & {*self.categorical, *self.wide_columns}):
            raise ConfigError(
                f"[samples] {', '.join(both)} is a number under dense, and a category or an id elsewhere; "
                "remove it from dense, or from categorical and wide"
            )
        leaks = sorted(told & {*features, *self.wide_columns, *self.linear})
        if self.user is not None and self.user == self.item:
            raise ConfigError(f"[samples] user and item are both {self.user}; name the column of each")
        for key, column in (("user", self.user), ("item", self.item)):
            if column in told:
                raise ConfigError(
                    f"[samples] {key} = {column!r} is the label, a time or the weight; name a column of ids"
                )
        if leaks:
            raise ConfigError(
                f"[samples] {', '.join(leaks)} is the label, a time or the weight and cannot be a feature too; "
                "remove it from numeric, categorical, wide or dense"
            )

    def _check_key(self) -> None:
        """Nothing, if what is said beside the key goes with labels that come from outcomes."""
        given = {name: getattr(self, f"label_{name}") for name in ("time", "delay", "window", "deadline")}
        given = {"label": self.label != "label", **{f"label_{name}": value for name, value in given.items()}}
        if wrong := [name for name, is_given in given.items() if is_given]:
            raise ConfigError(
                f"[samples] {', '.join(wrong)} cannot stand beside key: the label comes from [outcomes], whose window "
                "says when it is final; remove it, or remove key and [outcomes]"
            )
        if self.unfinal != "wait":
            raise ConfigError("[samples] unfinal has no meaning beside key; write it under [outcomes]")
        if self.key in (self.event_time, self.weight, *self.numeric, *self.dense):
            raise ConfigError(f"[samples] key {self.key!r} is an id, and cannot be a time, a weight or a number too")

    @property
    def label_column(self) -> str | None:
        """The column that holds the label; None where outcomes give it."""
        return self.label if self.key is None else None

    @property
    def final_after(self) -> timedelta | None:
        """How long after its event a sample is final; None where a column says so."""
        return self.outcomes.window if self.outcomes is not None else self.label_window or self.label_delay

    def _check_deadline(self) -> None:
        if self.label_window is not None and self.label_deadline is not None:
            raise ConfigError(
                "[samples] has label_window and label_deadline; keep one: a length that is the same for all rows, or "
                "a column that says until when the outcome of each row may come"
            )
        if (self.label_window or self.label_deadline) and self.label_time is None:
            raise ConfigError(
                "[samples] label_window and label_deadline need label_time, the column that says when the outcome "
                "came; where there is none, label_delay alone says when labels are final"
            )
        _check_unfinal("samples", self.unfinal)
        if self.unfinal != "wait" and not self.has_deadline:
            raise ConfigError(
                f'[samples] unfinal = "{self.unfinal}" needs to know when labels are final: write label_window, such '
                'as "1h", or label_deadline, a column'
            )

    @property
    def has_deadline(self) -> bool:
        """Whether it is known of each row when its outcome came, and until when it may."""
        return any(each is not None for each in (self.label_window, self.label_deadline, self.outcomes))

    @property
    def of_unfinal(self) -> str:
        """What becomes of rows whose label is not final."""
        return self.unfinal if self.outcomes is None else self.outcomes.unfinal

    @property
    def linear(self) -> tuple[str, ...]:
        """Columns that go linearly into the head: the dense ones, and the user's score."""
        return self.dense if self.user_score is None else (*self.dense, self.user_score)

    @property
    def wide_columns(self) -> tuple[str, ...]:
        """Columns the wide ids are made of: each side of a cross such as ``origin:dest`` counts."""
        return columns_of(self.wide)

    @property
    def features(self) -> tuple[str, ...]:
        """Every column a row must have to be scored."""
        return tuple(dict.fromkeys((*self.numeric, *self.categorical, *self.wide_columns, *self.linear)))

    @property
    def texts(self) -> tuple[str, ...]:
        """The features that are read as categories or ids, and not as numbers."""
        numbers = {*self.numeric, *self.linear}
        return tuple(name for name in self.features if name not in numbers)


@dataclass(frozen=True)
class TreesConfig:
    """The slow speed. ``params`` are LightGBM's own and go to it as they are.

    ``early_stopping_rounds`` holds out the newest ``validation`` of the window. A category seen less than
    ``min_category_count`` times shares the bucket of the unseen. Of a window with more than ``max_rows`` rows, so many
    are chosen, which stand for all.
    """

    window: timedelta = timedelta(days=28)
    params: dict[str, Any] = field(default_factory=dict)
    early_stopping_rounds: int | None = None
    validation: timedelta = timedelta(days=1)
    min_category_count: int = 10
    max_rows: int | None = None

    def __post_init__(self) -> None:
        _check_lengths("trees", self)
        if self.early_stopping_rounds is not None:
            _at_least("[trees] early_stopping_rounds", self.early_stopping_rounds, 1)
        _at_least("[trees] min_category_count", self.min_category_count, 1)
        if self.max_rows is not None:
            _at_least("[trees] max_rows", self.max_rows, 1000)
        if self.validation >= self.window:
            raise ConfigError("[trees] validation must be shorter than window: it is its newest part")


@dataclass(frozen=True)
class UsersConfig:
    """How a user's own weights learn; docs/users.md has the formulas.

    ``alpha`` is the longest step of a weight, or for ``mean`` the share that the newest click has; ``l2`` the pull of
    the regression's weights towards zero at each event.
    """

    method: str = "regression"
    alpha: float | None = None
    l2: float = 0.0

    def __post_init__(self) -> None:
        if self.method not in USERS:
            raise ConfigError(f"[users] method is {self.method!r}; choose one of {', '.join(USERS)}")
        if self.alpha is not None and not 0 < self.alpha < math.inf:
            raise ConfigError(f"[users] alpha must be above zero and finite, not {self.alpha:g}; leave it out")
        if self.method == "mean" and (self.l2 or (self.alpha or 0) > 1):
            raise ConfigError('[users] of method = "mean", alpha is a share of at most 1, and there is no l2')
        if not 0 <= self.l2 < math.inf:
            raise ConfigError(f"[users] l2 must be at least zero and finite, not {self.l2:g}")

    @classmethod
    def from_dict(cls, table: dict[str, Any]) -> UsersConfig:
        """Settings from a table of a TOML file."""
        return typing.cast(UsersConfig, _build(cls, table, "users"))


@dataclass(frozen=True)
class EmbeddingsConfig:
    """The vectors of items. ``pmi`` makes them of the positives of ``window``; ``file`` reads them from ``path``.

    An item with fewer positives than ``min_item_count`` has no vector of its own. Items without one are known by their
    ``content``: the mean of those that share the values of these columns.
    """

    method: str = "pmi"
    path: str | None = None
    window: timedelta = timedelta(days=28)
    dimensions: int = 16
    min_item_count: int = 5
    content: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check_lengths("embeddings", self)
        if self.method not in EMBEDDINGS:
            raise ConfigError(f"[embeddings] method is {self.method!r}; choose one of {', '.join(EMBEDDINGS)}")
        if (self.method == "file") != (self.path is not None):
            raise ConfigError('[embeddings] path names the vectors of method = "file", and belongs to no other')
        _at_least("[embeddings] dimensions", self.dimensions, 1)
        if self.dimensions > MOST_DIMENSIONS:
            raise ConfigError(f"[embeddings] dimensions must be at most {MOST_DIMENSIONS}, not {self.dimensions}")
        _at_least("[embeddings] min_item_count", self.min_item_count, 1)
        if len(set(self.content)) < len(self.content):
            raise ConfigError("[embeddings] content lists a column more than once")


@dataclass(frozen=True)
class OnlineConfig:
    """How the methods that learn one sample at a time move the weights.

    The rate of a weight is ``alpha / (beta + sqrt(sum of its squared gradients))``. ``l1`` and ``l2`` are strengths in
    all for ``ftrl`` and per sample for ``rda`` and ``fobos``. An id counts from its ``min_occurrences``-th sample on.
    """

    alpha: float = 0.02
    beta: float = 1.0
    l1: float | None = None
    l2: float = 0.0
    min_occurrences: int = 1

    def __post_init__(self) -> None:
        if not 0 < self.alpha < math.inf:
            raise ConfigError(f"[head.online] alpha must be above zero and finite, not {self.alpha:g}; try 0.02")
        if not 0 < self.beta < math.inf:
            raise ConfigError(f"[head.online] beta must be above zero and finite, not {self.beta:g}; try 1")
        for key, value in (("l1", self.l1), ("l2", self.l2)):
            if value is not None and not 0 <= value < math.inf:
                raise ConfigError(f"[head.online] {key} must be at least zero and finite, not {value:g}")
        _at_least("[head.online] min_occurrences", self.min_occurrences, 1)
        if self.min_occurrences > 255:
            raise ConfigError(f"[head.online] min_occurrences must be at most 255, not {self.min_occurrences}")


@dataclass(frozen=True)
class HeadConfig:
    """The fast speed: how and from which samples the head learns, and the settings its blend weighs.

    ``refit`` fits the window at every update. The other methods learn new samples only, and the whole window with new
    trees and, where it is given, whenever ``full_every`` has passed. ``l2`` are ridges of the leaves; those of wide
    columns and of crosses are found, but where ``wide_l2`` or ``cross_l2`` gives one for all, or for some by name. Fits
    pull dense columns with the strength ``dense_l2`` towards ``dense_anchor``: log-odds for each unit of a column, or
    of each number of a list. With ``hindsight``, a blend of which nothing is on record yet is tried on the window's own
    past.
    """

    window: timedelta = timedelta(days=7)
    method: str = "refit"
    half_lives: tuple[timedelta, ...] = (
        timedelta(minutes=90),
        timedelta(hours=6),
        timedelta(days=1),
        timedelta(days=4),
    )
    l2: tuple[float, ...] = (3.0, 30.0, 300.0, 3000.0)
    wide_l2: float | dict[str, float] | None = None
    cross_l2: float | dict[str, float] | None = None
    blend_half_life: timedelta = timedelta(days=8)
    hindsight: bool = True
    wide_buckets: int = 2**18
    dense_l2: float = 10.0
    dense_anchor: dict[str, Any] = field(default_factory=dict)
    full_every: timedelta | None = None
    online: OnlineConfig = field(default_factory=OnlineConfig)

    def __post_init__(self) -> None:
        _check_lengths("head", self)
        if self.method not in METHODS:
            raise ConfigError(f"[head] method is {self.method!r}; choose one of {', '.join(METHODS)}")
        if self.method == "refit" and self.full_every is not None:
            raise ConfigError('[head] full_every has no meaning for method = "refit", which always fits in full')
        if self.method not in ONLINE and self.online.min_occurrences > 1:
            raise ConfigError(
                f"[head.online] min_occurrences has no meaning for method = {self.method!r}, where l2 keeps rare ids "
                f"near zero; leave it out, or choose one of {', '.join(ONLINE)}"
            )
        if not self.half_lives or not self.l2:
            raise ConfigError("[head] half_lives and l2 need at least one value each")
        low, high = L2
        if wrong := [value for value in self.l2 if not low <= value <= high]:
            raise ConfigError(f"[head] l2 values must be from {low:g} to {high:g}, not {wrong[0]:g}")
        if not low <= self.dense_l2 <= high:
            raise ConfigError(f"[head] dense_l2 must be from {low:g} to {high:g}, not {self.dense_l2:g}")
        for name, anchor in self.dense_anchor.items():
            numbers = anchor if isinstance(anchor, list | tuple) else [anchor]
            if not numbers or not all(type(each) in (int, float) and math.isfinite(each) for each in numbers):
                raise ConfigError(
                    f"[head] dense_anchor of {name} must be a number, or a list of one for each of the column's, "
                    f"not {anchor!r}"
                )
        for key, ridges in self.fixed_ridges.items():
            if ridges and self.method in ONLINE:
                raise ConfigError(f"[head] {key} has no meaning for method = {self.method!r}; leave it out")
            if wrong := [value for value in ridges.values() if not low <= value <= high]:
                raise ConfigError(f"[head] {key} must be from {low:g} to {high:g}, not {wrong[0]:g}")
        _at_least("[head] wide_buckets", self.wide_buckets, 2)
        if self.wide_buckets > 2**28:
            raise ConfigError("[head] wide_buckets must be at most 268435456 (2^28)")

    @property
    def fixed_ridges(self) -> dict[str, dict[str, float]]:
        """The ridges of ``wide_l2`` and ``cross_l2`` by column; one for all of them by the empty name."""
        given = {"wide_l2": self.wide_l2, "cross_l2": self.cross_l2}
        return {
            key: value if isinstance(value, dict) else {} if value is None else {"": value}
            for key, value in given.items()
        }


@dataclass(frozen=True)
class GuardConfig:
    """When a job keeps the old release.

    ``volume`` is how many labels may become known, as multiples of the same hours of recent days; ``label_rate`` how
    far the odds of a positive may be below the lowest and above the highest of these. The share of a column's rows that
    are missing, or hold categories unseen, may rise by ``missing``; a column may be all of one value where that had a
    share of ``constant`` before. The mean of a dense column may move by ``drift`` of its standard deviations. ``auc``
    is the lowest the live head may have on labels it had not learned, and ``worse`` the share by which a new head's log
    loss may exceed its. Of the last day's rows, ``vectors`` is the least share whose item must have a vector in new
    embeddings, and ``cosine`` the least mean of that between an item's new vector, rotated, and its live one. ``ages``
    is how far labels that become known sooner for one class may bend the odds of a positive. ``early`` refuses
    nothing: where the outcomes of the youngest rows are that far from what was expected, beside those of older ones,
    unfinal rows wait. Where outcomes are joined, ``keyless`` is the share of impressions, or outcomes, that may have no
    key, ``repeated`` the share of them that may be repeats of others, ``unmatched`` the share of outcomes that may have
    no impression, ``late`` the share that may come after the window.
    """

    min_samples: int = 100
    volume: tuple[float, ...] = (0.1, 10.0)
    label_rate: tuple[float, ...] = (0.25, 4.0)
    missing: float = 0.75
    constant: float = 0.5
    drift: float = 5.0
    auc: float = 0.4
    worse: float = 0.05
    vectors: float = 0.3
    cosine: float = 0.3
    calibration: tuple[float, ...] = (0.5, 2.0)
    ages: tuple[float, ...] = (0.8, 1.25)
    early: tuple[float, ...] = (0.5, 2.0)
    keyless: float = 0.1
    repeated: float = 0.75
    unmatched: float = 0.5
    late: float = 0.5

    def __post_init__(self) -> None:
        _at_least("[guard] min_samples", self.min_samples, 1)
        for key in ("volume", "label_rate", "calibration", "ages", "early"):
            bounds = getattr(self, key)
            if len(bounds) != 2 or not 0 <= bounds[0] < 1 < bounds[1]:
                raise ConfigError(f"[guard] {key} must be two numbers around 1, such as [0.5, 2.0]")
        shares = ("missing", "constant", "vectors", "cosine", "keyless", "repeated", "unmatched", "late")
        others = (("drift", math.inf), ("auc", 0.5), ("worse", math.inf))
        for key, most in (*((share, 1.0) for share in shares), *others):
            if not 0 <= getattr(self, key) <= most:
                raise ConfigError(f"[guard] {key} must be at least 0 and at most {most:g}")


@dataclass(frozen=True)
class ServeConfig:
    """How ``gbdtlr serve`` listens, and the most it takes from a client; each key stands in docs/serving.md.

    ``bind`` is ``host:port`` or ``unix:path``. ``max_requests`` counts those a worker has begun and not answered.
    After a signal to end, requests are still taken for ``grace``, and those begun have ``drain`` to be answered.
    """

    bind: str = "127.0.0.1:8000"
    name: str = "gbdtlr"
    workers: int = 1
    refresh: timedelta = timedelta(seconds=30)
    token_file: str | None = None
    user_key_file: str | None = None
    unknown_columns: str = "refuse"
    max_body_bytes: int = 8 * 2**20
    max_header_bytes: int = 32 * 2**10
    max_rows: int = 100_000
    max_requests: int = 128
    header_timeout: timedelta = timedelta(seconds=10)
    body_timeout: timedelta = timedelta(seconds=30)
    idle_timeout: timedelta = timedelta(seconds=75)
    grace: timedelta = timedelta(seconds=2)
    drain: timedelta = timedelta(seconds=30)

    def __post_init__(self) -> None:
        for key in ("workers", "max_body_bytes", "max_rows", "max_requests"):
            _at_least(f"[serve] {key}", getattr(self, key), 1)
        _at_least("[serve] max_header_bytes", self.max_header_bytes, 1024)
        if self.unknown_columns not in UNKNOWN_COLUMNS:
            raise ConfigError(
                f"[serve] unknown_columns is {self.unknown_columns!r}; choose one of {', '.join(UNKNOWN_COLUMNS)}"
            )
        if not self.name or "/" in self.name:
            raise ConfigError(f"[serve] name must be a name without slashes, not {self.name!r}")

    def as_dict(self) -> dict[str, Any]:
        """The same in JSON's types; :meth:`from_dict` reads it back."""
        return typing.cast(dict[str, Any], _plain(self))

    @classmethod
    def from_dict(cls, table: dict[str, Any]) -> ServeConfig:
        """Settings from a table of a TOML file."""
        return typing.cast(ServeConfig, _build(cls, table, "serve"))


@dataclass(frozen=True)
class NotifyConfig:
    """Who is told how jobs end, each key in docs/operating.md.

    ``command`` is a program and its arguments, given a JSON object on stdin; ``url`` is sent the same, signed with
    what is in ``secret_file``. Neither has longer than ``timeout``.
    """

    command: tuple[str, ...] = ()
    url: str | None = None
    secret_file: str | None = None
    on: tuple[str, ...] = TOLD
    timeout: timedelta = timedelta(seconds=10)

    def __post_init__(self) -> None:
        if unknown := [name for name in self.on if name not in TOLD]:
            raise ConfigError(f"[notify] on has {unknown[0]!r}; choose of {', '.join(TOLD)}")
        if self.url is not None and not self.url.startswith(("http://", "https://")):
            raise ConfigError(f"[notify] url must begin with http:// or https://, not {self.url!r}")
        if self.secret_file is not None and self.url is None:
            raise ConfigError("[notify] secret_file signs what is sent to url, which is missing")
        if not timedelta() < self.timeout <= timedelta(minutes=5):
            raise ConfigError("[notify] timeout must be above zero and at most 5m: a job waits as long")


@dataclass(frozen=True)
class Config:
    """Everything a job needs; relative paths start at the current folder.

    ``engine`` is where samples are read, coded and learned: ``local``, ``ray`` or ``ray://host:port``, of which
    ``workers`` says how many processes there are at most, and ``threads`` how many threads each has.
    """

    samples: SamplesConfig
    outcomes: OutcomesConfig | None = None
    store: str = "store"
    engine: str = "local"
    threads: int | None = None
    workers: int | None = None
    trees: TreesConfig = field(default_factory=TreesConfig)
    embeddings: EmbeddingsConfig = field(default_factory=EmbeddingsConfig)
    head: HeadConfig = field(default_factory=HeadConfig)
    users: UsersConfig = field(default_factory=UsersConfig)
    guard: GuardConfig = field(default_factory=GuardConfig)
    serve: ServeConfig = field(default_factory=ServeConfig)
    notify: NotifyConfig = field(default_factory=NotifyConfig)

    def __post_init__(self) -> None:
        for key, value in (("threads", self.threads), ("workers", self.workers)):
            if value is not None:
                _at_least(key, value, 1)
        check_engine(self.engine)
        if self.workers is not None and self.engine == "local":
            raise ConfigError('workers has no meaning for engine = "local", which has threads; leave it out')
        if self.outcomes is not None and self.samples.key is None:
            raise ConfigError("[outcomes] needs [samples] key: the column that an impression and its outcome share")
        if self.outcomes is None and self.samples.key is not None:
            raise ConfigError("[samples] key needs a table [outcomes] with path, key, time and window")
        # Whoever reads samples needs both.
        object.__setattr__(self, "samples", dataclasses.replace(self.samples, outcomes=self.outcomes))
        for key, wait in (("[samples] label_window", self.samples.label_window), ("[outcomes] window", self._wait)):
            for section in ("trees", "head"):
                if wait is not None and wait >= getattr(self, section).window:
                    raise ConfigError(
                        f"{key} is {format_duration(wait)}, as long as [{section}] window or longer: no row in that "
                        "would be final; give it more time"
                    )
        if strangers := sorted({*self.head.dense_anchor} - {*self.samples.linear}):
            raise ConfigError(
                f"[head] dense_anchor names {', '.join(strangers)}, which [samples] dense does not list; "
                "list it there, or leave it out"
            )
        crosses = {name: len(parts_of(name)) > 1 for name in self.samples.wide}
        for key, ridges in self.head.fixed_ridges.items():
            for name in filter(None, ridges):
                if crosses.get(name) is not (key == "cross_l2"):
                    what = "cross" if key == "cross_l2" else "column"
                    raise ConfigError(f"[head] {key} names {name!r}, which is no {what} that [samples] wide lists")

    @classmethod
    def load(cls, path: str | Path) -> Config:
        """Configuration in the TOML file ``path``.

        Raises
        ------
        ConfigError
            No such file, not TOML, or a key that is unknown, of the wrong type or impossible.
        """
        try:
            with open(path, "rb") as file:
                table = tomllib.load(file)
        except OSError as error:
            raise ConfigError(f"cannot read the config {path}: {error.strerror}") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path} is not valid TOML: {error}") from None
        try:
            return cls.from_dict(table)
        except ConfigError as error:
            raise ConfigError(f"{path}: {error}") from None

    @classmethod
    def from_dict(cls, table: dict[str, Any]) -> Config:
        """Configuration from the nested tables of a TOML file."""
        config = typing.cast(Config, _build(cls, table, ""))
        if config.samples.of_unfinal == AT_ONCE:
            raise ConfigError(f"unfinal is {AT_ONCE!r}; choose one of {', '.join(UNFINAL)}")
        return config

    def with_unfinal(self, unfinal: str) -> Config:
        """Copy in which something else becomes of rows that are not final."""
        if self.outcomes is not None:
            return self.replace(outcomes=dataclasses.replace(self.outcomes, unfinal=unfinal))
        return self.replace(samples=dataclasses.replace(self.samples, unfinal=unfinal))

    @property
    def _wait(self) -> timedelta | None:
        return None if self.outcomes is None else self.outcomes.window

    def as_dict(self) -> dict[str, Any]:
        """The same configuration, defaults included, in JSON's types; :meth:`from_dict` reads it back.

        Versions record it, so ``[serve]``, ``[notify]`` and the engine are left out: how a service listens, who is told
        of a job, and who worked, makes no other release. So is all that concerns dense columns where there are none,
        embeddings where no column says what an item is, and ``[users]`` that says nothing: versions before there were
        any had the same settings.
        """
        table = typing.cast(dict[str, Any], _plain(self))
        for key in ("serve", "notify", "engine", "workers"):
            table.pop(key, None)
        if self.users == UsersConfig():
            del table["users"]
        if not self.samples.linear:
            del table["samples"]["dense"], table["head"]["dense_l2"], table["head"]["dense_anchor"]
            del table["guard"]["drift"]
        if self.samples.item is None:
            del table["embeddings"], table["guard"]["vectors"], table["guard"]["cosine"]
        return table

    def replace(self, **changes: Any) -> Config:
        """Copy with some top-level fields changed."""
        return dataclasses.replace(self, **changes)


def check_engine(name: str) -> str:
    """The name of an engine, as it is; raise ConfigError if there is none of that name."""
    if not _ENGINE.fullmatch(name):
        raise ConfigError(f'engine is {name!r}; choose "local", "ray" or "ray://HOST:PORT"')
    return name


def _check_lengths(section: str, config: object) -> None:
    """Nothing, if no duration of the section would lead out of the calendar."""
    for key, value in vars(config).items():
        for each in value if isinstance(value, tuple) else (value,):
            if isinstance(each, timedelta):
                check_length(_where(section, key), each)


def _at_least(key: str, value: int, least: int) -> None:
    if value < least:
        raise ConfigError(f"{key} must be at least {least}, not {value}")


def _check_unfinal(section: str, unfinal: str) -> None:
    """Nothing, if rows whose label is not final yet can be treated so."""
    if unfinal not in (*UNFINAL, AT_ONCE):
        raise ConfigError(f"[{section}] unfinal is {unfinal!r}; choose one of {', '.join(UNFINAL)}")


def _own_fields(cls: Any) -> dict[str, dataclasses.Field[Any]]:
    """Fields that stand in the table itself, and not in one of their own."""
    return {f.name: f for f in dataclasses.fields(cls) if "table" not in f.metadata}


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        pairs = ((name, getattr(value, name)) for name in _own_fields(value))
        return {name: _plain(item) for name, item in pairs if item is not None}
    if isinstance(value, timedelta):
        return format_duration(value)
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value


def _build(cls: type, table: dict[str, Any], section: str) -> Any:
    hints = typing.get_type_hints(cls)
    fields = _own_fields(cls)
    for key in table:
        if key not in fields:
            near = difflib.get_close_matches(key, fields, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known keys: {', '.join(fields)}"
            raise ConfigError(f"unknown key {_where(section, key)}; {hint}")
    values = {}
    for name, spec in fields.items():
        if name in table:
            values[name] = _convert(hints[name], table[name], section, name)
        elif spec.default is dataclasses.MISSING and spec.default_factory is dataclasses.MISSING:
            missing = f"[{name}]" if dataclasses.is_dataclass(hints[name]) else _where(section, name)
            raise ConfigError(f"{missing} is missing; it has no default")
    return cls(**values)


def _where(section: str, key: str) -> str:
    return f"[{section}] {key}" if section else key


def _convert(hint: Any, value: Any, section: str, key: str) -> Any:
    where = _where(section, key)
    if isinstance(hint, types.UnionType):
        if isinstance(value, dict) and (tables := [arg for arg in typing.get_args(hint) if typing.get_origin(arg)]):
            item = typing.get_args(tables[0])[1]
            return {
                name: _convert(item, each, where.strip("[]").replace("] ", "."), name) for name, each in value.items()
            }
        hint = next(arg for arg in typing.get_args(hint) if arg is not type(None))
    if dataclasses.is_dataclass(hint):
        header = f"{section}.{key}" if section else key
        if not isinstance(value, dict):
            raise ConfigError(f"{where} must be a table: write [{header}] on a line of its own")
        return _build(typing.cast(type, hint), value, header)
    if typing.get_origin(hint) is tuple:
        items = value if isinstance(value, list) else [value]
        return tuple(_convert(typing.get_args(hint)[0], item, section, key) for item in items)
    if hint is timedelta:
        if not isinstance(value, str):
            raise ConfigError(f'{where} must be a duration in quotes, such as "6h", not {value!r}')
        try:
            return parse_duration(value)
        except ConfigError as error:
            raise ConfigError(f"{where}: {error}") from None
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    expected = typing.get_origin(hint) or hint
    if not isinstance(value, expected) or (isinstance(value, bool) and expected is not bool):
        names = {
            str: "text in quotes",
            int: "a whole number",
            float: "a number",
            dict: "a table",
            bool: "true or false",
        }
        raise ConfigError(f"{where} must be {names.get(expected, expected.__name__)}, not {value!r}")
    return value
