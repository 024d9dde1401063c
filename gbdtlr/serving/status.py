"""What the page tells: the releases that serve, how well they have predicted, and what a row is made of."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from gbdtlr.errors import GbdtlrError
from gbdtlr.model.golden import Golden
from gbdtlr.serving.columns import Columns
from gbdtlr.store import Entry, Store
from gbdtlr.times import format_time, parse_time

MAX_ENTRIES = 200
MAX_ALONE = 10
"""Entries that are read one after the other."""
MAX_CHOICES = 200
"""Categories of a column that the form offers; others can be typed."""


class History:
    """The newest entries of the log, each read once however often it is asked for; any thread may ask."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._entries: dict[int, Entry] = {}
        self._candidate: Entry | None = None
        self._example: tuple[str, dict[str, Any] | None] = ("", None)

    def entries(self, newest: int) -> list[Entry]:
        """Releases up to ``newest``, newest last; where the store does not answer, those that are known."""
        wanted = range(max(1, newest - MAX_ENTRIES + 1), newest + 1)
        with self._lock:
            missing = [number for number in wanted if number not in self._entries]
            if missing:
                self._entries.update((entry.number, entry) for entry in self._read(missing))
            self._entries = {number: entry for number, entry in self._entries.items() if number in wanted}
            found = [self._entries[number] for number in sorted(self._entries)]
        return [entry for entry in found if entry.kind == "release"]

    def candidate(self, number: int | None) -> Entry | None:
        """The candidate of that number; None for none, or where the store does not answer."""
        with self._lock:
            if number is not None and (self._candidate is None or self._candidate.number != number):
                self._candidate = next(iter(self._read([number])), None)
            return None if number is None else self._candidate

    def _read(self, numbers: Sequence[int]) -> list[Entry]:
        if len(numbers) > MAX_ALONE:
            with contextlib.suppress(GbdtlrError):  # one of them cannot be read: look at the newest one by one
                return self._store.entries(len(numbers))
        entries = []
        for number in numbers[-MAX_ALONE:]:
            with contextlib.suppress(GbdtlrError):  # the page is no reason to fail; health tells of the store
                entries.append(self._store.entry(number))
        return entries

    def example(self, live: Entry) -> dict[str, Any] | None:
        """A row to begin with, one of the head's golden rows; None where there is none."""
        with self._lock:
            if self._example[0] != live.head:
                try:
                    files = self._store.read_version("heads", live.head, under=live.trees).files
                    rows = Golden.from_bytes(files["golden.json"]).rows
                except (GbdtlrError, KeyError):
                    return None
                self._example = live.head, (rows[-1] if rows else None)
            return self._example[1]


def status(columns: Columns, history: History, health: Mapping[str, Any], counted: Mapping[str, Any]) -> dict[str, Any]:
    """All that the page shows, in JSON's types.

    Parameters
    ----------
    health : as the Scorer tells it
    counted : sums of the metrics
    """
    from gbdtlr.operate.status import ages_of

    live = columns.release.entry
    entries = history.entries(columns.number)
    example = history.example(live)
    now = parse_time(health["head_as_of"]) + timedelta(seconds=health["head_age_s"])
    ages = {name: health[name] for name in ("trees_age_s", "head_age_s", "embeddings_age_s")}
    role = "live" if live.kind == "release" else live.kind
    cards = [_card(role, live, ages)]
    candidate = history.candidate(health["candidate"])
    if candidate is not None and candidate.number != live.number:
        cards.append(_card("candidate", candidate, ages_of(candidate, now)))
    return {
        "release": columns.number,
        "releases": cards,
        "health": dict(health),
        "history": _points(entries),
        "counted": dict(counted),
        "columns": [_column(columns, name) for name in columns.ordered()],
        "example": None if example is None else {name: example.get(name) for name in columns.ordered()},
    }


def _card(role: str, entry: Entry, ages: Mapping[str, float | None]) -> dict[str, Any]:
    """One release that serves in some role, as the page heads it."""
    return {
        "role": role,
        "number": entry.number,
        "as_of": format_time(entry.as_of),
        "why": entry.why,
        "reason": entry.reason,
        "forced": entry.forced,
        "trees": entry.trees,
        "head": entry.head,
        "embeddings": entry.embeddings,
        **ages,
    }


def _points(entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """What each release measured, and the day up to it."""
    from gbdtlr.report.live import of_day

    told = [entry for entry in entries if _progressive(entry).get("log_loss") is not None]
    days = {entry.number: of_day(told, i) for i, entry in enumerate(told)}
    points = []
    for entry in entries:
        measured, day = _progressive(entry), days.get(entry.number, {})
        points.append(
            {
                "release": entry.number,
                "as_of": format_time(entry.as_of),
                "why": entry.why,
                "rows": measured.get("rows"),
                **{key: measured.get(key) for key in ("ne", "calibration")},
                **{f"day_{key}": day.get(key) for key in ("ne", "calibration")},
            }
        )
    return points


def _progressive(entry: Entry) -> Mapping[str, Any]:
    found = entry.metrics.get("progressive")
    return found if isinstance(found, Mapping) else {}


def _column(columns: Columns, name: str) -> dict[str, Any]:
    """A column as the form asks for it."""
    vocabulary = next((feature.vocabulary for feature in columns.features if feature.name == name), None)
    if name in columns.numeric:
        return {"name": name, "kind": "number"}
    if size := columns.lists().get(name):
        return {"name": name, "kind": "list", "size": size}
    choices = list(vocabulary[:MAX_CHOICES]) if vocabulary is not None else []
    return {"name": name, "kind": "id" if vocabulary is None else "category", "choices": choices}
