"""The page of a live store: its releases over time, and what the newest head has changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from html import escape
from typing import Any

from gbdtlr import tables
from gbdtlr.errors import GbdtlrError, NoReleaseError
from gbdtlr.explain import diff, importance, window_samples
from gbdtlr.release import Release
from gbdtlr.report import chart, page
from gbdtlr.report.chart import Axis, Series
from gbdtlr.report.figures import fixed, percent
from gbdtlr.store import Entry, Store
from gbdtlr.times import from_us, to_us, zone

MAX_BLEND = 8


def store_page(store: Store, last: int = 500) -> str:
    """One HTML file, without network or libraries, about the newest ``last`` releases of a store.

    Raises
    ------
    NoReleaseError
        Nothing is published.
    """
    entries = store.entries(last)
    if not entries:
        raise NoReleaseError(f"nothing is published in {store.url} yet; run first: gbdtlr train-trees")
    live = entries[-1]
    release = Release.load(store, live)
    timezone = str(release.head_manifest["config"]["samples"].get("timezone", "UTC"))
    told = [entry for entry in entries if _progressive(entry).get("ne") is not None]
    body = [
        f"<header><small>gbdtlr report</small><h1>{escape(_headline(live, told, timezone))}</h1>",
        page.words(f"{store.url}: {len(entries):,} releases, live is {live.number}.", "soft"),
        "</header>",
        page.heading("Releases over time"),
        page.figures(_charts(told, entries, timezone)) if told else page.words("No release has judged another yet."),
        *_events(entries, timezone),
        *_changes(store, live),
        *_features(release),
        page.heading("The newest releases"),
        _table(entries[-30:], timezone),
    ]
    return page.page(f"gbdtlr report: release {live.number}", body)


def _headline(live: Entry, told: Sequence[Entry], timezone: str) -> str:
    said = f"Release {live.number} is live, as of {_when(live.as_of, timezone)}"
    if not told:
        return f"{said}."
    newest = _progressive(told[-1])
    calibration = newest.get("calibration")
    right = f" and a calibration of {calibration:.3f}" if calibration is not None else ""
    return f"{said}; on the newest labels the one before had an NE of {newest['ne']:.4f}{right}."


def _charts(told: Sequence[Entry], entries: Sequence[Entry], timezone: str) -> list[str]:
    x = [float(to_us(entry.as_of)) for entry in told]
    when = [_when(entry.as_of, timezone) for entry in told]
    axis = _time_axis(x, timezone)

    def line(key: str, name: str, style: int, note: str, reference: float | None = None) -> str:
        y = [_progressive(entry).get(key) for entry in told]
        values = [each for each in y if each is not None]
        hover = [f"{at}, release {e.number}: {name} {fixed(v)}" for at, e, v in zip(when, told, y, strict=True)]
        y_axis = Axis.of(name, values, [] if reference is None else [reference])
        svg = chart.lines([Series(name, x, y, style, hover)], axis, y_axis, f"{name} over time", reference)
        return page.figure(name[0].upper() + name[1:], note, svg)

    rows = [float(_progressive(entry).get("rows", 0)) for entry in told]
    hover = [f"{at}, release {e.number}: {n:,.0f} rows" for at, e, n in zip(when, told, rows, strict=True)]
    volume = chart.bars(Series("rows", x, rows, 2, hover), axis, Axis.of("rows", rows, [0.0]), "rows over time")
    return [
        line("ne", "progressive NE", 0, "Of the live head on labels it had not learned; lower is better."),
        line("calibration", "calibration", 1, "Sum of its probabilities over the positives that came.", 1.0),
        page.figure("Volume", "Labels that became known since the release before.", volume),
        line("rate", "share of positives", 3, "Of those labels."),
        _blend(entries, timezone),
    ]


def _blend(entries: Sequence[Entry], timezone: str) -> str:
    with_blend = [entry for entry in entries if entry.metrics.get("blend")]
    if not with_blend:
        return ""
    total: dict[str, float] = {}
    for entry in with_blend:
        for name, share in entry.metrics["blend"].items():
            total[name] = total.get(name, 0.0) + share
    largest = sorted(total, key=lambda name: -total[name])[:MAX_BLEND]
    x = [float(to_us(entry.as_of)) for entry in with_blend]
    series = []
    for style, name in enumerate(largest):
        y = [entry.metrics["blend"].get(name) for entry in with_blend]
        hover = [
            f"{_when(entry.as_of, timezone)}: {_setting(name)} {percent(share)}"
            for entry, share in zip(with_blend, y, strict=True)
        ]
        series.append(Series(name, x, y, style, hover))
    axis = _time_axis(x, timezone)
    y_axis = Axis.of("share of the blend", [y for each in series for y in each.y if y is not None], [0.0])
    svg = chart.lines(series, axis, y_axis, "shares of the blend over time")
    legend = [(each.style, _setting(each.name)) for each in series]
    note = "Half-life and l2 of the settings that weigh most; they adapt by what each predicted before it knew."
    return page.figure("Blend", note, svg, legend)


def _events(entries: Sequence[Entry], timezone: str) -> list[str]:
    notable = [entry for entry in entries if entry.forced or entry.rolled_back_to is not None]
    if not notable:
        return []
    rows = [[str(e.number), _when(e.as_of, timezone), e.why, e.reason or tables.NONE] for e in notable[-20:]]
    return [page.heading("Refusals overruled, and rollbacks"), page.table(["release", "as of", "made by", "why"], rows)]


def _changes(store: Store, live: Entry) -> list[str]:
    if live.number < 2:
        return []
    try:
        found = diff(store, None, live.number, top=12)
    except GbdtlrError as error:  # the one before is pruned or damaged: the rest of the page holds
        return [page.heading("What the newest head changed"), page.words(f"Not to be told: {error}")]
    return [page.heading(f"What release {found['b']} changed"), *changes(found)]


def changes(found: Mapping[str, Any]) -> list[str]:
    """The result of ``explain.diff`` as paragraphs and a table."""
    if not found["rows"]:
        return [page.words("The samples its head learned from are no longer there, so nothing can be told of them.")]
    parts = []
    if found["probability_a"] is not None:
        parts.append(
            page.words(
                f"On the {found['rows']:,} samples of its window the mean probability went from "
                f"{percent(found['probability_a'])} to {percent(found['probability_b'])}."
            )
        )
    if found["trees_differ"]:
        parts.append(page.words("The trees are new, so their leaves cannot be compared with the ones before."))
    rows = [
        [f"{m['before']:+.4f}", f"{m['after']:+.4f}", f"{m['rows']:,}", f"{100 * m['effect']:+.3f}%", m["what"]]
        for m in found["moves"]
    ]
    if rows:
        header = ["log-odds before", "after", "rows", "effect on mean probability", "where"]
        parts.append(page.table(header, rows))
    return parts


def _features(release: Release) -> list[str]:
    samples = window_samples(release)
    found = importance(release, None if samples is None else release.encode(samples))
    rows = [[name, f"{100 * share:.1f}%"] for name, share in found[:20]]
    note = "Share of the spread of the margin; a leaf's is divided among the splits that lead to it."
    return [
        page.heading("What the margin depends on"),
        page.words(note, "note"),
        page.table(["feature", "share"], rows),
    ]


def _table(entries: Sequence[Entry], timezone: str) -> str:
    rows = [
        [
            str(entry.number),
            _when(entry.as_of, timezone),
            entry.why + (", forced" if entry.forced else ""),
            *(fixed(_progressive(entry).get(key)) for key in ("ne", "calibration", "rate")),
            entry.trees.rpartition("-")[2],
            entry.head.rpartition("-")[2],
        ]
        for entry in reversed(entries)
    ]
    header = ["release", "as of", "made by", "NE", "calibration", "share of positives", "trees", "head"]
    return page.table(header, rows)


def _progressive(entry: Entry) -> Mapping[str, Any]:
    found = entry.metrics.get("progressive")
    return found if isinstance(found, Mapping) else {}


def _time_axis(x: Sequence[float], timezone: str) -> Axis:
    """Time with room for half a bar at either end."""
    room = max((x[-1] - x[0]) / (2 * max(len(x) - 1, 1)), 1.8e9)
    return Axis.of_time(f"as of ({timezone})", x[0] - room, x[-1] + room, zone(timezone))


def _setting(name: str) -> str:
    seconds, _, l2 = name.partition("s/")
    return f"half-life {tables.age(float(seconds))}, l2 {l2}" if l2 else name


def _when(moment: datetime, timezone: str) -> str:
    return f"{from_us(to_us(moment)).astimezone(zone(timezone)):%Y-%m-%d %H:%M}"
