"""Metrics of a release as people read them: single numbers as pairs, qualities as a table, the blend and the ridges
in a line each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gbdtlr import tables
from gbdtlr.cli.session import Session

FIGURES = {"rows": "rows", "rate": "rate", "log_loss": "log loss", "ne": "NE", "calibration": "calibration"}
_MOST_OF_BLEND = 4


def text(rows: list[tuple[str, str]], metrics: Mapping[str, Any], reason: str, session: Session) -> str:
    """Rows, then the metrics under them; a quality is a mapping that has the figure ``ne``."""
    qualities = {name: value for name, value in metrics.items() if isinstance(value, Mapping) and "ne" in value}
    blend = metrics.get("blend", {})
    apart = {*qualities, "blend", "guards", "levels", "ridges", "lag_of_partitions"}
    rest = {name: value for name, value in metrics.items() if name not in apart}
    rows = [*rows, *tables.flat(rest)]
    if blend:
        heaviest = sorted(blend.items(), key=lambda item: item[1], reverse=True)[:_MOST_OF_BLEND]
        more = ", ..." if len(blend) > _MOST_OF_BLEND else ""
        rows.append(("blend", ", ".join(f"{weight:.0%} {name}" for name, weight in heaviest) + more))
    if ridges := metrics.get("ridges"):
        rows.append(("ridges", ", ".join(f"{kind} {_span(each)}" for kind, each in ridges.items())))
    if reason:
        rows.append(("reason", reason))
    parts = [session.pairs(rows)]
    if qualities:
        lines = [[name, *(tables.cell(each.get(key)) for key in FIGURES)] for name, each in qualities.items()]
        parts.append(session.table(["", *FIGURES.values()], lines))
    return "\n\n".join(parts)


def _span(ridges: Mapping[str, float]) -> str:
    """The ridges of a kind of weight over all half-lives: the least and the largest."""
    low, high = min(ridges.values()), max(ridges.values())
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"


def progressive(metrics: Mapping[str, Any], figure: str) -> str:
    """One figure of the live head on samples before it learned them, or a dash."""
    return tables.cell(metrics.get("progressive", {}).get(figure))
