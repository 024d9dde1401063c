"""The page of a live store: its releases over time, and what the newest head has changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from html import escape
from itertools import pairwise
from typing import Any

from gbdtlr import tables
from gbdtlr.errors import GbdtlrError, NoReleaseError
from gbdtlr.inspect.diff import diff
from gbdtlr.inspect.embeddings import embeddings_in_words
from gbdtlr.inspect.importance import importance
from gbdtlr.inspect.rows import window_samples
from gbdtlr.metrics import Quality
from gbdtlr.release import Release
from gbdtlr.report import chart, joined, page
from gbdtlr.report.chart import Axis, Series
from gbdtlr.report.figures import fixed, percent
from gbdtlr.store import Entry, Store
from gbdtlr.times import from_us, to_us, zone

MAX_BLEND = 8
DAY = timedelta(days=1)
MAX_OF_DAY = 1500


def store_page(store: Store, last: int = 500) -> str:
    """One HTML file, without network or libraries, about the newest ``last`` releases of a store.

    Raises
    ------
    NoReleaseError
        Nothing is published.
    """
    live = store.live()
    if live is None:
        raise NoReleaseError(f"nothing is published in {store.url} yet; run first: gbdtlr train-trees")
    log = store.entries(last)
    entries = [entry for entry in log if entry.kind == "release"] or [live]
    release = Release.load(store, live)
    timezone = str(release.head_manifest["config"]["samples"].get("timezone", "UTC"))
    told = [entry for entry in entries if _progressive(entry).get("log_loss") is not None]
    days = [of_day(told, i) for i in range(len(told))]
    body = [
        f"<header><small>gbdtlr report</small><h1>{escape(_headline(live, days, timezone))}</h1>",
        page.words(
            f"{store.url}: {len(entries):,} releases, live is {live.number}{_embeddings(release, timezone)}.", "soft"
        ),
        "</header>",
        page.heading("Releases over time"),
        page.figures(_charts(told, days, entries, timezone))
        if told
        else page.words("No release has judged another yet."),
        *joined.section(live),
        *_refusals(store, entries[0].number, timezone),
        *_ridges(live),
        *_events(log, timezone),
        *_changes(store, entries),
        *_features(release),
        page.heading("The newest releases"),
        _table(entries[-30:], timezone),
    ]
    return page.page(f"gbdtlr report: release {live.number}", body)


def _embeddings(release: Release, timezone: str) -> str:
    """The age of a release's embeddings, as the end of a sentence; empty where there are none."""
    found = release.embeddings
    return "" if found is None else f", with embeddings as of {_when(found.as_of, timezone)}"


def _headline(live: Entry, days: Sequence[Mapping[str, Any]], timezone: str) -> str:
    said = f"Release {live.number} is live, as of {_when(live.as_of, timezone)}"
    if not days or days[-1]["ne"] is None:
        return f"{said}."
    day = days[-1]
    right = f" and calibration {day['calibration']:.3f}" if day["calibration"] is not None else ""
    return f"{said}; over the day to then NE was {day['ne']:.4f}{right}, on {day['rows']:,} labels not yet learned."


def of_day(told: Sequence[Entry], i: int) -> dict[str, Any]:
    """Quality over the day up to the release ``told[i]``: a few minutes' labels say little by themselves."""
    since, until = told[i].as_of - DAY, told[i].as_of
    rows = weight = positives = predicted = loss = 0.0
    calibrated = True
    for entry in told[max(0, i - MAX_OF_DAY) : i + 1]:
        if since < entry.as_of <= until:
            each = _progressive(entry)
            n = float(each["rows"])
            rows, weight = rows + n, weight + n
            positives, loss = positives + n * each["rate"], loss + n * each["log_loss"]
            if each.get("predicted") is not None:
                predicted += n * each["predicted"]
            elif each.get("calibration") is not None:  # heads of 0.1.0 and before
                predicted += n * each["rate"] * each["calibration"]
            else:
                calibrated = False
    quality = Quality(int(rows), weight, positives, predicted, loss)
    return {**quality.as_dict(), "calibration": quality.calibration if calibrated else None}


def _charts(
    told: Sequence[Entry], days: Sequence[Mapping[str, Any]], entries: Sequence[Entry], timezone: str
) -> list[str]:
    x = [float(to_us(entry.as_of)) for entry in told]
    when = [_when(entry.as_of, timezone) for entry in told]
    axis = _time_axis(x, timezone)

    def line(key: str, name: str, note: str, reference: float | None = None) -> str:
        own = [_progressive(entry).get(key) for entry in told]
        day = [each[key] for each in days]
        values = [each for each in (*own, *day) if each is not None]
        hover = [f"{at}, release {e.number}: {name} {fixed(v)}" for at, e, v in zip(when, told, own, strict=True)]
        hover_day = [f"day to {at}: {name} {fixed(v)}" for at, v in zip(when, day, strict=True)]
        y_axis = Axis.of(name, values, [] if reference is None else [reference])
        series = [Series("each release", x, own, 2, hover), Series("the day to then", x, day, 0, hover_day)]
        svg = chart.lines(series, axis, y_axis, f"{name} over time", reference)
        return page.figure(name[0].upper() + name[1:], note, svg, [(each.style, each.name) for each in series])

    rows = [float(_progressive(entry).get("rows", 0)) for entry in told]
    hover = [f"{at}, release {e.number}: {n:,.0f} rows" for at, e, n in zip(when, told, rows, strict=True)]
    volume = chart.bars(Series("rows", x, rows, 2, hover), axis, Axis.of("rows", rows, [0.0]), "rows over time")
    return [
        line("ne", "progressive NE", "Of the head that was live, on labels it had not learned; lower is better."),
        line("calibration", "calibration", "Sum of its probabilities over the positives that came.", 1.0),
        page.figure("Volume", "Labels that became known since the release before.", volume),
        line("rate", "share of positives", "Of those labels."),
        _blend(entries, timezone),
    ]


def _refusals(store: Store, since: int, timezone: str) -> list[str]:
    found = store.refusals(since if since > 1 else 0)
    if not found:
        return [page.heading("Refusals"), page.words("None: guards have kept nothing from going live.")]
    rows = [
        [
            str(each.release) if each.release else tables.NONE,
            each.job,
            f"{each.times:,}",
            _when(each.first, timezone),
            _when(each.last, timezone),
            each.reason,
        ]
        for each in reversed(found[-30:])
    ]
    header = ["release that stayed live", "refused", "times", "first as of", "last as of", "why the last time"]
    return [page.heading("Refusals"), page.table(header, rows)]


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


def _ridges(live: Entry) -> list[str]:
    """How strongly each kind of weight is held back, as found from the weights themselves."""
    ridges = live.metrics.get("ridges")
    if not isinstance(ridges, Mapping) or not ridges:
        return []
    half_lives = list(dict.fromkeys(name for each in ridges.values() for name in each))
    rows = [
        [kind, *(f"{each[name]:g}" if name in each else tables.NONE for name in half_lives)]
        for kind, each in ridges.items()
    ]
    told = "How strongly each kind of weight is pulled to zero, at each half-life; the fewer its samples say, the more."
    return [page.heading("Ridges"), page.words(told, "soft"), page.table(["kind of weight", *half_lives], rows)]


def _events(entries: Sequence[Entry], timezone: str) -> list[str]:
    notable = [e for e in entries if e.forced or e.stands_against_jobs or e.kind not in ("release", "candidate")]
    if not notable:
        return []
    rows = [[str(e.number), _when(e.as_of, timezone), _made_by(e), e.reason or tables.NONE] for e in notable[-20:]]
    heading = page.heading("Overruled guards, rollbacks, promotions and holds")
    return [heading, page.table(["release", "as of", "made by", "why"], rows)]


def _made_by(entry: Entry) -> str:
    if entry.rolled_back_to is not None:
        return f"{entry.why} to {entry.rolled_back_to}"
    if entry.promoted is not None:
        return f"{entry.why} of {entry.promoted}"
    return entry.why + (", forced" if entry.forced else "")


def _changes(store: Store, entries: Sequence[Entry]) -> list[str]:
    """What moved between the newest two heads on the same trees: leaves of other trees cannot be compared."""
    pairs = [(a, b) for a, b in pairwise(entries) if a.trees == b.trees and a.head != b.head]
    if not pairs:
        return []
    before, after = pairs[-1]
    heading = page.heading(f"What release {after.number} changed")
    try:
        return [heading, *changes(diff(store, before.number, after.number, top=12))]
    except GbdtlrError as error:  # pruned or damaged: the rest of the page holds
        return [heading, page.words(f"Not to be told: {error}")]


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
    if found["embeddings"] is not None:
        parts.append(page.words(f"{embeddings_in_words(found['embeddings']).capitalize()}."))
    for kinds, header in ((("leaf", "bias"), "where"), (("id",), "id"), (("dense",), "dense column")):
        rows = [
            [m["what"], f"{m['before']:+.4f}", f"{m['after']:+.4f}", f"{m['rows']:,}", f"{100 * m['effect']:+.2g}%"]
            for m in found["moves"]
            if m["kind"] in kinds
        ]
        if rows:
            names = [header, "log-odds before", "after", "rows", "effect on the mean"]
            parts.append(page.table(names, rows, lead=True))
    return parts


def _features(release: Release) -> list[str]:
    samples = window_samples(release)
    found = importance(release.model, None if samples is None else release.model.encode(samples))
    rows = [[name, f"{100 * share:.1f}%"] for name, share in found[:20]]
    note = "Share of the spread of the margin; a leaf's is divided among the splits that lead to it."
    return [
        page.heading("What the margin depends on"),
        page.words(note, "note"),
        page.table(["feature", "share"], rows),
    ]


def _table(entries: Sequence[Entry], timezone: str) -> str:
    parts = ["trees", *(["embeddings"] if any(entry.embeddings for entry in entries) else []), "head"]
    rows = [
        [
            str(entry.number),
            _when(entry.as_of, timezone),
            _made_by(entry),
            *(fixed(_progressive(entry).get(key)) for key in ("ne", "calibration", "rate")),
            *((getattr(entry, part) or tables.NONE).rpartition("-")[2] for part in parts),
        ]
        for entry in reversed(entries)
    ]
    header = ["release", "as of", "made by", "NE", "calibration", "share of positives", *parts]
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
