"""The charts of a replay, each from what ``ReplayResult.as_dict`` holds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from gbdtlr import tables
from gbdtlr.report import chart
from gbdtlr.report.chart import Axis, Series
from gbdtlr.report.figures import fixed, percent
from gbdtlr.times import from_us, parse_time, to_us, zone

Found = Mapping[str, Any]
PAIR = ("two-speed", "trees-on-schedule")


def styles(found: Found) -> dict[str, int]:
    """Line style of each strategy, the same in all charts."""
    return {each["name"]: i for i, each in enumerate(found["strategies"])}


def so_far_chart(found: Found) -> str:
    """NE of all rows from the start to each moment, every strategy."""
    over = found["over_time"]
    end = [start + over["length_s"] * 1e6 for start in over["start_us"]]
    series = _series(found, "ne_so_far", end, list(styles(found)))
    return _over_time(series, found, "NE of all rows so far", skip=True)


def span_chart(found: Found) -> str:
    """NE of each span of time."""
    return _over_time(_series(found, "ne", _middle(found), _pair(found)), found, f"NE of each {span(found)}")


def calibration_chart(found: Found) -> str:
    """Calibration of each span of time."""
    series = _series(found, "calibration", _middle(found), _pair(found))
    return _over_time(series, found, "sum of probabilities / positives", 1.0)


def volume_chart(found: Found) -> str:
    """Rows of each span of time."""
    over = found["over_time"]
    counts = [float(n) for n in over["rows"]]
    told = [
        f"{at}: {n:,} rows, {percent(rate)} positive"
        for at, n, rate in zip(_when(found), over["rows"], over["rate"], strict=True)
    ]
    series = Series("rows", _middle(found), counts, 2, told)
    return chart.bars(series, _time_axis(found), Axis.of("rows", counts, [0.0]), "rows over time")


def reliability_chart(found: Found) -> str:
    """Share of positives against predicted probability."""
    series = []
    for name in _pair(found):
        bins = found["reliability"][name]
        told = [
            f"{name}: said {percent(b['predicted'])}, came {percent(b['observed'])} ± {percent(b['error'])}, "
            f"{b['rows']:,} rows"
            for b in bins
        ]
        x, y = [b["predicted"] for b in bins], [b["observed"] for b in bins]
        series.append(Series(name, x, y, styles(found)[name], told))
    values = [value for each in series for value in (*each.x, *(y for y in each.y if y is not None))]
    axes = Axis.of("predicted probability", values, [0.0]), Axis.of("share of positives", values, [0.0])
    return chart.diagonal(series, axes, "share of positives against predicted probability")


def age_chart(found: Found, what: str) -> str:
    """NE against the age of the ``release`` or of the ``trees``; empty where the period is too short to tell.

    Ages double from point to point, so their axis is logarithmic.
    """
    curve = [point for point in found["freshness"][what] if point["ne"] is not None and point["age_s"] > 0]
    if len(curve) < 2:
        return ""
    x = [math.log2(point["age_s"]) for point in curve]
    ne = [point["ne"] for point in curve]
    told = [f"NE {point['ne']:.4f} at {tables.age(point['age_s'])} of age" for point in curve]
    x_axis = Axis.of_age("mean age when it scored (logarithmic)", [point["age_s"] for point in curve])
    series = Series(what, x, ne, int(what == "trees"), told)
    return chart.lines([series], x_axis, Axis.of("NE", ne), f"NE against the age of the {what}")


def cadence_chart(found: Found) -> tuple[str, list[tuple[int, str]]]:
    """NE against what all jobs cost, a line for each cadence of the trees; and the legend."""
    cadences = [each for each in found["cadences"] if each["ne"] is not None]
    series = []
    for i, trees_every in enumerate(dict.fromkeys(each["trees_every"] for each in cadences)):
        own = sorted((each for each in cadences if each["trees_every"] == trees_every), key=lambda e: e["seconds"])
        told = [f"head every {e['lr_every']}: NE {fixed(e['ne'])}, {e['seconds']:,.0f} s of jobs" for e in own]
        x, y = [e["seconds"] for e in own], [e["ne"] for e in own]
        series.append(Series(f"trees every {trees_every}", x, y, i, told))
    x_axis = Axis.of("seconds of all jobs together", [each["seconds"] for each in cadences], [0.0])
    y_axis = Axis.of("NE", [each["ne"] for each in cadences])
    svg = chart.lines(series, x_axis, y_axis, "NE against the cost of each cadence")
    return svg, [(each.style, each.name) for each in series]


def span(found: Found) -> str:
    """A span of the charts over time, as it is said after "each"."""
    seconds = found["over_time"]["length_s"]
    words = {3600.0: "hour", 21600.0: "6 hours", 86400.0: "day", 604800.0: "week", 2419200.0: "4 weeks"}
    return words.get(seconds) or tables.age(seconds)


def _pair(found: Found) -> list[str]:
    return [name for name in PAIR if name in styles(found)]


def _series(found: Found, key: str, x: Sequence[float], names: Sequence[str]) -> list[Series]:
    when, values = _when(found), found["over_time"][key]
    return [
        Series(
            name,
            x,
            values[name],
            styles(found)[name],
            [f"{at}: {name} {fixed(y)}" for at, y in zip(when, values[name], strict=True)],
        )
        for name in names
    ]


def _over_time(
    series: Sequence[Series], found: Found, label: str, reference: float | None = None, skip: bool = False
) -> str:
    """Chart over time; ``skip`` keeps the first few, noisy points from setting the scale."""
    values = [y for each in series for y in (each.y[len(each.y) // 10 :] if skip else each.y) if y is not None]
    y_axis = Axis.of(label, values, [] if reference is None else [reference])

    def inside(y: float | None) -> float | None:
        return y if y is not None and y_axis.low <= y <= y_axis.high else None

    cut = [replace(each, y=[inside(y) for y in each.y]) for each in series]
    return chart.lines(cut, _time_axis(found), y_axis, f"{label}, over time", reference)


def _time_axis(found: Found) -> Axis:
    start, end = to_us(parse_time(found["start"])), to_us(parse_time(found["end"]))
    return Axis.of_time(f"time ({found['timezone']})", start, end, zone(found["timezone"]))


def _middle(found: Found) -> list[float]:
    over = found["over_time"]
    return [start + over["length_s"] * 5e5 for start in over["start_us"]]


def _when(found: Found) -> list[str]:
    there = zone(found["timezone"])
    return [
        f"{from_us(us).astimezone(there):%a %d %b %H:%M}".removesuffix(" 00:00")
        for us in found["over_time"]["start_us"]
    ]
