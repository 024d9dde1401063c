"""Logs: impressions in one place, their outcomes in another, and the key that they share."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from gbdtlr.guess.looking import Column, Look
from gbdtlr.guess.meaning import WITHIN, Meaning, Outcomes, event_time_of, is_a_time, nice, place_features
from gbdtlr.times import format_duration

_ENOUGH = 20
"""Outcomes with an impression that a window is told by."""
_LANDED = r"land|ingest|receiv|load|arriv|written"


class Logs(NamedTuple):
    """Two logs, and the column that both have."""

    impressions: Look
    outcomes: Look
    key: str


def logs_of(first: Look, second: Look) -> Logs | None:
    """Two looks as impressions and outcomes; None where they are of files of one kind, or share no key."""
    both = first.columns.keys() & second.columns.keys()
    if len(both) > 0.8 * max(len(first.columns), len(second.columns)):
        return None
    impressions, outcomes = (first, second) if len(first.columns) >= len(second.columns) else (second, first)
    keys = [column for name, column in impressions.columns.items() if name in both and _is_key(column)]
    keys = [column for column in keys if _is_key(outcomes.columns[column.name])]
    if not keys:
        return None
    return Logs(impressions, outcomes, max(keys, key=lambda column: column.n_distinct / column.there.sum()).name)


def meaning_of_logs(logs: Logs, event_time: str | None = None) -> Meaning:
    """What the columns seem to be; raises as :func:`gbdtlr.guess.meaning.meaning_of`."""
    unsure: list[str] = []
    at = event_time_of(logs.impressions, event_time, unsure)
    came = event_time_of(logs.outcomes, None, unsure)
    delays, has_outcome = _delays(logs, at, came)
    if len(delays) >= _ENOUGH:
        window = nice(float(np.quantile(delays, WITHIN)))
        unsure.append(f"{WITHIN:.0%} of the outcomes came within {format_duration(window)}, which is taken for window")
    else:
        window = timedelta(hours=1)
        unsure.append("window is a guess, as hardly any outcome that was looked at had its impression among those")
    others = (name for name, column in logs.outcomes.columns.items() if is_a_time(column) and name != came.name)
    landed = next((name for name in others if re.search(_LANDED, name.lower())), None)
    meaning = Meaning(at.name, key=logs.key, outcomes=Outcomes(came.name, landed, window), unsure=unsure)
    place_features(logs.impressions, meaning, has_outcome)
    return meaning


def _is_key(column: Column) -> bool:
    return column.texts is not None and not is_a_time(column) and column.n_distinct > 0.5 * column.there.sum()


def _delays(logs: Logs, at: Column, came: Column) -> tuple[NDArray[np.int64], NDArray[np.int8]]:
    """How long each first outcome came after its impression, in microseconds; and 1 for impressions that have one."""
    assert at.us is not None
    assert came.us is not None
    shown, given = (each.columns[logs.key] for each in (logs.impressions, logs.outcomes))
    assert shown.texts is not None
    assert given.texts is not None
    encoded = pa.concat_arrays([shown.texts, given.texts]).dictionary_encode()
    codes = pc.fill_null(encoded.indices, -1).to_numpy(zero_copy_only=False)
    of_shown, of_given = codes[: len(shown.texts)], codes[len(shown.texts) :]
    never = np.iinfo(np.int64).max
    first = np.full(len(encoded.dictionary), never)
    np.minimum.at(first, of_given[of_given >= 0], came.us[of_given >= 0])
    when = np.where(of_shown >= 0, first[of_shown], never)
    has_outcome = (when != never) & (when >= at.us)
    return (when - at.us)[has_outcome], has_outcome.astype(np.int8)
