"""Samples and what their columns mean: the table ``[samples]``."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import ClassVar

from gbdtlr.config.checks import check_lengths, check_names
from gbdtlr.config.outcomes import OutcomesConfig, check_unfinal
from gbdtlr.config.partitions import check_pattern
from gbdtlr.config.roles import Roles
from gbdtlr.errors import ConfigError
from gbdtlr.times import zone
from gbdtlr.values.crosses import columns_of, parts_of


@dataclass(frozen=True)
class SamplesConfig:
    """Where the samples are and which of their columns mean what.

    ``path`` holds files, folders or globs. ``partition`` is a strftime pattern found in each file's path
    (``date=%Y-%m-%d/hour=%H``): files whose event times it places outside the window are not opened. With
    ``label_window`` or ``label_deadline``, ``label_time`` is when the outcome came, and a label is final from then on
    that an outcome can no longer come. With ``key`` the files hold impressions, which have no label: ``[outcomes]``
    gives them theirs. ``user`` and ``item`` are the columns that say who was shown what.
    """

    table: ClassVar[str] = "samples"
    """The config's table that names the columns, for those who are told of a wrong one."""

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
        check_lengths("samples", self)
        try:
            zone(self.timezone)
        except ConfigError as error:
            raise ConfigError(f"[samples] timezone: {error}") from None
        if self.partition is not None:
            check_pattern(self.partition, "samples")
        if not self.path or not all(each.strip() for each in self.path):
            raise ConfigError("[samples] path is empty; name files, folders or globs")
        if self.key is not None:
            self._check_key()
        elif (self.label_time is None) == (self.label_delay is None):
            raise ConfigError(
                "[samples] needs exactly one of label_time (the column saying when the label became known) "
                'and label_delay (such as "2h": how long after event_time it is final), '
                "or key, where [outcomes] gives labels"
            )
        self._check_deadline()
        if not 0 < self.negative_keep_rate <= 1:
            rate = self.negative_keep_rate
            raise ConfigError(f"[samples] negative_keep_rate must be above 0 and at most 1, not {rate:g}")
        self._check_features()
        self._check_crosses()
        self._check_roles()

    def _check_features(self) -> None:
        features = [*self.numeric, *self.categorical]
        if not features:
            raise ConfigError("[samples] needs features: list columns under numeric, categorical or both")
        if twice := sorted({name for name in features if features.count(name) > 1}):
            raise ConfigError(f"[samples] lists {', '.join(twice)} more than once under numeric and categorical")
        for key in ("wide", "dense"):
            names = getattr(self, key)
            if len(set(names)) < len(names):
                raise ConfigError(f"[samples] {key} lists a column more than once")

    def _check_crosses(self) -> None:
        crossed: dict[frozenset[str], str] = {}
        for name in self.wide:
            parts = parts_of(name)
            if len(set(parts)) < len(parts):
                raise ConfigError(f"[samples] wide crosses a column with itself in {name!r}; list each column once")
            first = crossed.setdefault(frozenset(parts), name)
            if first != name:
                raise ConfigError(f"[samples] wide has {first!r} and {name!r}, which say the same; remove one")

    def _check_roles(self) -> None:
        """Nothing, if every column has a name, and none is two things that cannot both be meant."""
        for crossed in filter(lambda parts: len(parts) > 1, map(parts_of, self.wide)):
            check_names("samples", "wide", crossed)
        for key, column in self.of_rows.items():
            check_names("samples", key, () if column is None else (column,))
        listed = {key: getattr(self, key) for key in ("numeric", "categorical", "dense")}
        Roles(self.of_rows, {**listed, "wide": self.wide_columns}).check()

    @property
    def of_rows(self) -> dict[str, str | None]:
        """The columns that say what a row is, and are no features, by their keys; None where a key names none."""
        keys = ("event_time", "label_time", "label_deadline", "weight", "key", "user", "item", "user_score")
        return {"label": self.label_column, **{key: getattr(self, key) for key in keys}}

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
        check_unfinal("samples", self.unfinal)
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
