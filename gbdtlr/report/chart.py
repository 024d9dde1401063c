"""Charts as SVG text: lines, bars and the diagonal, with axes that say their units and values under each point.

Colours come from the page (light, dark, print); lines differ in dash and marker too, so that they hold without.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from html import escape

from gbdtlr import tables
from gbdtlr.times import from_us

WIDTH, HEIGHT = 480, 320
LEFT, RIGHT, TOP, BOTTOM = 74, 16, 12, 52
DASHES = ("", "7 4", "2 3", "10 3 2 3", "5 2", "1 4", "12 4", "3 2 6 2")
AGES = (
    1,
    5,
    15,
    *(60 * m for m in (1, 5, 15)),
    *(3600 * h for h in (1, 3, 6, 12)),
    *(86400 * d for d in (1, 2, 4, 8, 16, 32, 64)),
)


@dataclass(frozen=True)
class Series:
    """One line: points (x, y), y None where there is nothing, and what each says on hover."""

    name: str
    x: Sequence[float]
    y: Sequence[float | None]
    style: int
    told: Sequence[str] | None = None


@dataclass(frozen=True)
class Axis:
    """An axis: its label with the unit, where its ticks are and what they say."""

    label: str
    low: float
    high: float
    ticks: Sequence[tuple[float, str]]

    @classmethod
    def of(cls, label: str, values: Sequence[float], include: Sequence[float] = ()) -> Axis:
        """Axis that holds the values, with round ticks."""
        finite = [v for v in (*values, *include) if math.isfinite(v)]
        low, high = (min(finite), max(finite)) if finite else (0.0, 1.0)
        pad = (high - low) * 0.06 or abs(high) * 0.05 or 1.0
        low, high = (0.0 if low >= 0 > low - pad else low - pad), high + pad
        step = _round_step((high - low) / 5)
        first = math.ceil(low / step)
        decimals = next(d for d in range(18) if abs(step * 10**d - round(step * 10**d)) < 1e-6)
        ticks = [(k * step, f"{k * step:,.{decimals}f}") for k in range(first, math.floor(high / step) + 1)]
        return cls(label, low, high, ticks)

    @classmethod
    def of_age(cls, label: str, seconds: Sequence[float]) -> Axis:
        """Logarithmic axis of ages above zero, positions in ``log2`` of seconds, with ticks at round ages."""
        low, high = math.log2(min(seconds)) - 0.3, math.log2(max(seconds)) + 0.3
        round_ages = [age for age in AGES if low <= math.log2(age) <= high]
        return cls(label, low, high, [(math.log2(age), tables.age(age)) for age in round_ages])

    @classmethod
    def of_time(cls, label: str, low_us: float, high_us: float, zone: tzinfo) -> Axis:
        """Axis of moments, in microseconds, with ticks at midnight, or at full hours of short spans."""
        span = max(high_us - low_us, 1.0)
        hours = next((h for h in (1, 3, 6, 12, 24, 48, 168, 336, 672, 2016, 8760) if span / h / 3.6e9 <= 6), 17520)
        day = from_us(int(low_us)).astimezone(zone).replace(hour=0, minute=0, second=0, microsecond=0)
        ticks = []
        moment = day
        while (at := _us(moment)) <= high_us:
            if at >= low_us:
                midnight = hours >= 24 or not (moment.hour or moment.minute)
                text = f"{moment:%b} {moment.day}" if midnight else f"{moment:%H:%M}"
                ticks.append((float(at), text))
            moment += timedelta(hours=hours)
        return cls(label, low_us, high_us, ticks)


def swatch(style: int) -> str:
    """A piece of the line with its marker, for the legend."""
    return (
        f'<svg class="swatch" width="34" height="14" viewBox="0 0 34 14" aria-hidden="true">'
        f'<path class="line c{style % 8}" d="M1 7H33"{_dash(style)}/>{_marker(17, 7, style)}</svg>'
    )


def lines(series: Sequence[Series], x_axis: Axis, y_axis: Axis, title: str, reference: float | None = None) -> str:
    """Line chart; ``reference`` is a level worth comparing with, such as 1 for calibration."""
    x_of, y_of = _scales(x_axis, y_axis)
    body = [_axes(x_axis, y_axis, x_of, y_of)]
    if reference is not None and y_axis.low <= reference <= y_axis.high:
        body.append(f'<path class="reference" d="M{LEFT} {y_of(reference):.1f}H{WIDTH - RIGHT}"/>')
    body += [_line(each, x_of, y_of) for each in series]
    body += [_points(each, x_of, y_of) for each in series]
    return _svg(body, title)


def diagonal(series: Sequence[Series], axis: tuple[Axis, Axis], title: str) -> str:
    """Reliability: what was said against what came; on the dotted line they agree."""
    x_axis, y_axis = axis
    x_of, y_of = _scales(x_axis, y_axis)
    low, high = max(x_axis.low, y_axis.low), min(x_axis.high, y_axis.high)
    body = [
        _axes(x_axis, y_axis, x_of, y_of),
        f'<path class="reference" d="M{x_of(low):.1f} {y_of(low):.1f}L{x_of(high):.1f} {y_of(high):.1f}"/>',
    ]
    body += [_line(each, x_of, y_of) for each in series]
    body += [_points(each, x_of, y_of) for each in series]
    return _svg(body, title)


def bars(series: Series, x_axis: Axis, y_axis: Axis, title: str) -> str:
    """Bars that stand on the axis, one per point."""
    x_of, y_of = _scales(x_axis, y_axis)
    width = max(1.0, 0.8 * (WIDTH - LEFT - RIGHT) / max(len(series.x), 1))
    floor = HEIGHT - BOTTOM
    body = [_axes(x_axis, y_axis, x_of, y_of)]
    for i, (x, y) in enumerate(zip(series.x, series.y, strict=True)):
        if y is not None:
            top = y_of(y)
            body.append(
                f'<rect class="bar c{series.style % 8}" x="{x_of(x) - width / 2:.1f}" y="{top:.1f}" '
                f'width="{width:.1f}" height="{max(0.0, floor - top):.1f}" data-t="{_told(series, i)}">'
                f"<title>{_told(series, i)}</title></rect>"
            )
    return _svg(body, title)


def _scales(x_axis: Axis, y_axis: Axis) -> tuple[Callable[[float], float], Callable[[float], float]]:
    def x_of(x: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (x - x_axis.low) / ((x_axis.high - x_axis.low) or 1.0)

    def y_of(y: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (y - y_axis.low) / ((y_axis.high - y_axis.low) or 1.0)

    return x_of, y_of


def _axes(x_axis: Axis, y_axis: Axis, x_of: Callable[[float], float], y_of: Callable[[float], float]) -> str:
    parts = []
    for value, text in y_axis.ticks:
        y = y_of(value)
        parts.append(f'<path class="grid" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>')
        parts.append(f'<text class="tick" x="{LEFT - 7}" y="{y + 4.5:.1f}" text-anchor="end">{escape(text)}</text>')
    right = -math.inf
    for value, text in x_axis.ticks:
        x = x_of(value)
        half = 4 * len(text)
        parts.append(f'<path class="grid" d="M{x:.1f} {HEIGHT - BOTTOM}v5"/>')
        if x - half > right:  # labels that would touch the one before are left out
            at = min(max(x, LEFT - 20 + half), WIDTH - half)
            parts.append(f'<text class="tick" x="{at:.1f}" y="{HEIGHT - BOTTOM + 19}" text-anchor="middle">')
            parts.append(f"{escape(text)}</text>")
            right = at + half + 4
    middle = (TOP + HEIGHT - BOTTOM) / 2
    parts.append(f'<path class="axis" d="M{LEFT} {TOP}V{HEIGHT - BOTTOM}H{WIDTH - RIGHT}"/>')
    parts.append(f'<text class="label" x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 8}" text-anchor="middle">')
    parts.append(f"{escape(x_axis.label)}</text>")
    parts.append(f'<text class="label" transform="translate(16 {middle}) rotate(-90)" text-anchor="middle">')
    parts.append(f"{escape(y_axis.label)}</text>")
    return "".join(parts)


def _line(series: Series, x_of: Callable[[float], float], y_of: Callable[[float], float]) -> str:
    path, pen = [], "M"
    for x, y in zip(series.x, series.y, strict=True):
        if y is None or not math.isfinite(y):
            pen = "M"
            continue
        path.append(f"{pen}{x_of(x):.1f} {y_of(y):.1f}")
        pen = "L"
    return f'<path class="line c{series.style % 8}" d="{"".join(path)}"{_dash(series.style)}/>' if path else ""


def _points(series: Series, x_of: Callable[[float], float], y_of: Callable[[float], float]) -> str:
    n = len(series.x)
    every = max(1, n // 12)  # markers tell lines apart, all the others only answer when pointed at
    parts = []
    for i, (x, y) in enumerate(zip(series.x, series.y, strict=True)):
        if y is None or not math.isfinite(y):
            continue
        px, py = x_of(x), y_of(y)
        if (i + series.style) % every == 0:
            parts.append(_marker(px, py, series.style))
        told = _told(series, i)
        parts.append(
            f'<circle class="hit" cx="{px:.1f}" cy="{py:.1f}" r="6" data-t="{told}"><title>{told}</title></circle>'
        )
    return "".join(parts)


def _told(series: Series, i: int) -> str:
    if series.told is not None:
        return escape(series.told[i], quote=True)
    return escape(f"{series.name}: {series.y[i]:.4g}", quote=True)


def _marker(x: float, y: float, style: int) -> str:
    """Circle, square, diamond, triangle and so on, filled or hollow."""
    shape, hollow = style % 4, " hollow" if style >= 4 else ""
    mark = f'class="marker c{style % 8}{hollow}"'
    if shape == 0:
        return f'<circle {mark} cx="{x:.1f}" cy="{y:.1f}" r="3.5"/>'
    paths = {1: "m-3.2 -3.2h6.4v6.4h-6.4z", 2: "m0 -4.6l4.6 4.6l-4.6 4.6l-4.6 -4.6z", 3: "m0 -4.4l4.2 7.4h-8.4z"}
    return f'<path {mark} d="M{x:.1f} {y:.1f}{paths[shape]}"/>'


def _dash(style: int) -> str:
    dash = DASHES[style % len(DASHES)]
    return f' stroke-dasharray="{dash}"' if dash else ""


def _svg(body: Sequence[str], title: str) -> str:
    return (
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title, quote=True)}" '
        f'xmlns="http://www.w3.org/2000/svg">{"".join(body)}</svg>'
    )


def _round_step(rough: float) -> float:
    power = 10.0 ** math.floor(math.log10(rough)) if rough > 0 else 1.0
    return next(step for step in (power, 2 * power, 2.5 * power, 5 * power, 10 * power) if step >= rough * (1 - 1e-9))


def _us(moment: datetime) -> int:
    return round(moment.timestamp() * 1e6)
