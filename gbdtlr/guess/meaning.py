"""Meaning: which column is the time, the label, the weight, a number, a category or an id, and how sure that is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta

import numpy as np
from numpy.typing import NDArray

from gbdtlr.errors import SchemaError
from gbdtlr.guess.looking import Column, Look
from gbdtlr.metrics import MAX_WEIGHT
from gbdtlr.times import format_duration

WITHIN = 0.95
"""Share of the outcomes that are waited for."""
CATEGORIES = 100
"""Most values that a category of the trees has; a column of more is an id."""
_LABELS = (
    r"^(label|target|y|outcome|class)$",
    r"(click|conver|purchas|bought|fraud|churn|default|response|late|delayed|cancel|label|target)",
    r"^(is|has|was|did)_",
)
_EVENT = (
    r"^(event|impression|request|view)_?(time|ts|at|timestamp|datetime)$",
    r"^(ts|timestamp|time|at|datetime|date_?time|when|occurred_at|created_at)$",
    r"(^|_)(ts|time|timestamp|at|date|datetime|day)$",
)
_OF_LABEL = r"label|known|outcome|final|matur|result|click|conver|return|cancel|land|arriv"
_TIME_NAME = r"(^|_)(ts|time|timestamp|at|date|datetime|epoch|when)(_|$)"
_ID = (
    r"(^|_)(id|ids|uid|uuid|guid|key|code|zip|zipcode|postcode|sku|upc|hash|ip|user|item|product|campaign|advertiser|"
    r"publisher|site|page|device|flight|shop|merchant|account|customer|ad|creative|placement)$|[a-z]Id$"
)
_WEIGHT = r"^(sample_?|importance_?)?weights?$"
_SCORE = r"(^|_)(p|prob|probability|score|prediction|predicted|pred|margin|logit)(_|$)"
_TIMES = "; times are texts such as 2024-06-01 13:05:00, timestamps, or numbers that count from 1970"
_DAY_US = 86_400_000_000
_NICE = [
    *(timedelta(minutes=n) for n in (1, 5, 10, 15, 30)),
    *(timedelta(hours=n) for n in (1, 2, 3, 6, 12)),
    *(timedelta(days=n) for n in (1, 2, 3, 7, 14, 28)),
]


@dataclass(frozen=True)
class Outcomes:
    """A log of outcomes: when each came, when it could be read, and how long after an impression it still counts."""

    time: str
    landed_time: str | None
    window: timedelta


@dataclass
class Meaning:
    """What the columns are taken for.

    Attributes
    ----------
    label : empty where outcomes in a log of their own give it, by the ``key``
    label_time, label_delay : where there is a label, one of them is given
    outcomes : columns and window of their log
    left_out : columns that are no features, and why
    unsure : what a person should look at
    """

    event_time: str
    label: str = ""
    label_time: str | None = None
    label_delay: timedelta | None = None
    key: str | None = None
    outcomes: Outcomes | None = None
    weight: str | None = None
    numeric: list[str] = field(default_factory=list)
    categorical: list[str] = field(default_factory=list)
    wide: list[str] = field(default_factory=list)
    dense: list[str] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    unsure: list[str] = field(default_factory=list)


def meaning_of(look: Look, label: str | None = None, event_time: str | None = None) -> Meaning:
    """What the columns seem to be.

    Parameters
    ----------
    label, event_time : columns that are known to be these

    Raises
    ------
    SchemaError
        Nothing can be the time of the event, the label, or a feature; the message says what there is.
    """
    unsure: list[str] = []
    at = event_time_of(look, event_time, unsure)
    outcome = _label(look, label, at, unsure)
    meaning = Meaning(at.name, outcome.name, unsure=unsure)
    _known(look, at, outcome, meaning)
    assert outcome.truth is not None
    place_features(look, meaning, outcome.truth)
    return meaning


def place_features(look: Look, meaning: Meaning, truth: NDArray[np.int8]) -> None:
    """Have each column among the features that is one, or left out.

    Parameters
    ----------
    truth : (n,), labels, -1 where there is none; what tells them alone is no feature

    Raises
    ------
    SchemaError
        None is left.
    """
    if not look.columns[meaning.event_time].has_zone:
        meaning.unsure.append(f"the times in {meaning.event_time} carry no zone and are taken for UTC; see timezone")
    for column in look.columns.values():
        if column.name not in (meaning.event_time, meaning.label, meaning.label_time, meaning.key):
            _place(column, truth, meaning)
    if not meaning.numeric and not meaning.categorical:
        # Trees need something to split on.
        meaning.categorical, meaning.wide = meaning.wide[:1], meaning.wide[1:]
        if not meaning.categorical:
            raise SchemaError(f"no column can be a feature: {_told(look)}; name files with more columns")


def _told(look: Look) -> str:
    return ", ".join(f"{column.name} ({column.kind})" for column in look.columns.values())


def _given(look: Look, name: str, option: str) -> Column:
    if name not in look.columns:
        raise SchemaError(f"{option} {name}: there is no such column, but {', '.join(look.columns)}")
    return look.columns[name]


def _rank(name: str, patterns: tuple[str, ...]) -> int:
    return next((i for i, pattern in enumerate(patterns) if re.search(pattern, name.lower())), len(patterns))


def event_time_of(look: Look, name: str | None, unsure: list[str]) -> Column:
    """The column of the time of the event; ``SchemaError`` if there is none."""
    if name is not None:
        column = _given(look, name, "--event-time")
        if column.us is None:
            raise SchemaError(f"--event-time {name}: it holds no times but {column.kind}{_TIMES}")
        return column
    found = [column for column in look.columns.values() if is_a_time(column) and column.share > 0.999]
    if not found:
        raise SchemaError(
            f"no column has a time in every row: {_told(look)}; name it with --event-time, or the paths of one log "
            f"alone, or of two: impressions, and their outcomes{_TIMES}"
        )

    def order(column: Column) -> tuple[bool, int, int]:
        assert column.us is not None
        return bool(re.search(_OF_LABEL, column.name)), _rank(column.name, _EVENT), int(np.median(column.us))

    best, *others = sorted(found, key=order)
    if best.us is not None and not (best.us[best.there] % _DAY_US).any() and best.n_distinct > 1:
        unsure.append(
            f"all times in {best.name} are midnights: rows of a day would have happened at one moment; if another "
            "column has the time of the day, write both into one"
        )
    if others and _rank(best.name, _EVENT) == _rank(others[0].name, _EVENT) and not order(others[0])[0]:
        unsure.append(f"{best.name} is taken for the time of the event, as it is before {others[0].name}")
    return best


def is_a_time(column: Column) -> bool:
    """Whether a column holds times, and not numbers that could be some."""
    return column.us is not None and (column.kind == "time" or bool(re.search(_TIME_NAME, column.name.lower())))


def _label(look: Look, name: str | None, at: Column, unsure: list[str]) -> Column:
    if name is not None:
        column = _given(look, name, "--label")
        if column.truth is None:
            raise SchemaError(f"--label {name}: it holds other values than 0 and 1, or true and false; write it so")
        return column
    found = [
        column
        for column in look.columns.values()
        if column.truth is not None and {0, 1} <= {*column.truth.tolist()} and column.name != at.name
    ]
    if not found:
        raise SchemaError(
            f"no column holds both 0 and 1 in the {len(look)} rows that were looked at: {_told(look)}; "
            "a label is 0 or 1, true or false: write it so, or name its column with --label, or files that have both"
        )
    best, *others = sorted(found, key=lambda column: _rank(column.name, _LABELS))
    rank = _rank(best.name, _LABELS)
    if rank == len(_LABELS) or (others and _rank(others[0].name, _LABELS) == rank):
        also = f", and so do {', '.join(column.name for column in others)}" if others else ""
        unsure.append(f"{best.name} is taken for the label, as it holds 0 and 1{also}; --label names another")
    return best


def _known(look: Look, at: Column, outcome: Column, meaning: Meaning) -> None:
    """When labels are known: by a column, or so long after the event."""
    assert at.us is not None
    assert outcome.truth is not None
    for column in look.columns.values():
        if column.name == at.name or not is_a_time(column) or not re.search(_OF_LABEL, column.name.lower()):
            continue
        assert column.us is not None
        ages = (column.us - at.us)[column.there]
        if (ages < 0).mean() > 0.001:
            continue
        if column.share > 0.99:
            _by_column(column, ages, outcome.truth[column.there], meaning)
            return
        if column.there[outcome.truth == 1].mean() > 0.9 > 0.1 > column.there[outcome.truth == 0].mean():
            delay = nice(float(np.quantile(ages, WITHIN)))
            meaning.label_delay = delay
            meaning.unsure.append(
                f"{WITHIN:.0%} of the outcomes in {column.name} came within {format_duration(delay)}, which is taken "
                "for label_delay: when a row without an outcome is final, you know"
            )
            return
    meaning.label_delay = timedelta(hours=1)
    meaning.unsure.append(
        "label_delay is a guess, as nothing says when labels are known: how long after the event is one final?"
    )


def _by_column(column: Column, ages: NDArray[np.int64], truth: NDArray[np.int8], meaning: Meaning) -> None:
    of_negatives = ages[truth == 0]
    if len(of_negatives) and of_negatives.min() == of_negatives.max() >= ages.max():
        # Positives are known at once, others when the wait is over: of the newest, a fit would see the former only.
        meaning.label_delay = timedelta(microseconds=int(ages.max()))
        meaning.left_out[column.name] = "the time of the outcome; every row is final label_delay after its event"
        return
    meaning.label_time = column.name
    young, old = sorted(float(np.median(ages[truth == value])) for value in (0, 1))
    if old > 3 * young:
        meaning.unsure.append(
            f"{column.name} is much later for one label than for the other; if so, write label_delay, the longest wait"
        )


def nice(us: float) -> timedelta:
    """A length that people would write, no shorter than so many microseconds."""
    delay = timedelta(microseconds=us)
    return next((nice for nice in _NICE if nice >= delay), delay)


def _place(column: Column, truth: NDArray[np.int8], meaning: Meaning) -> None:
    """Among the features, or left out."""
    name, n_there = column.name, int(column.there.sum())
    if name in meaning.left_out:
        return
    if reason := next(_reasons(column, truth, n_there), None):
        meaning.left_out[name] = reason
        return
    if re.search(_WEIGHT, name.lower()) and column.kind in ("whole", "number"):
        meaning.weight = name
        meaning.unsure.append(f"{name} is taken for the weight of a row (from 0 to {MAX_WEIGHT:g})")
        return
    is_id = bool(re.search(_ID, name if name.endswith("Id") else name.lower()))
    if column.kind == "list":
        meaning.dense.append(name)
    elif column.kind == "number" or (column.kind == "whole" and not is_id):
        meaning.numeric.append(name)
    elif column.n_distinct > 0.9 * n_there > 90:
        meaning.left_out[name] = "nearly every row has its own: the key of a row, maybe"
    elif column.n_distinct > CATEGORIES:
        meaning.wide.append(name)
    else:
        meaning.categorical.append(name)
    if column.kind == "whole" and is_id and name not in meaning.left_out:
        meaning.unsure.append(f"{name} is whole numbers, taken for an id and not for a number by its name")


def _reasons(column: Column, truth: NDArray[np.int8], n_there: int) -> Iterator[str]:
    """Why a column is no feature."""
    if column.kind in ("empty", "other"):
        yield "no values" if column.kind == "empty" else "of a type that no feature can have"
    elif is_a_time(column):
        yield "a time"
    elif column.n_distinct == 1 and n_there == len(column.there):
        yield "always the same"
    elif re.search(_SCORE, column.name.lower()):
        yield "by its name what a model said"
    elif _tells_all(column, truth):
        yield "alone it tells the label, as only what is known afterwards does"


def _tells_all(column: Column, truth: NDArray[np.int8]) -> bool:
    """Whether the label follows from the column, by its order, its values or by whether it has one."""
    positive, negative = truth == 1, truth == 0
    if min(positive.sum(), negative.sum()) < 20:
        return False
    if abs(column.there[positive].mean() - column.there[negative].mean()) > 0.95:
        return True
    if column.kind == "list":
        return False
    n_by_value = np.zeros((2, column.values.max() + 2))
    for row, which in enumerate((negative, positive)):
        n_by_value[row] = np.bincount(column.values[which] + 1, minlength=n_by_value.shape[1])
    if column.kind in ("whole", "number"):
        n_below = np.cumsum(n_by_value[0]) - n_by_value[0] / 2
        auc = n_by_value[1] @ n_below / n_by_value.sum(axis=1).prod()
        if not 0.005 < auc < 0.995:
            return True
    # Of values that nearly every row has for itself, each goes with one label whatever they mean.
    alone = column.n_distinct > 0.5 * column.there.sum()
    return bool(not alone and n_by_value.min(axis=0).sum() < 0.01 * min(positive.sum(), negative.sum()))
