"""Figures as pages spell them."""

from __future__ import annotations

from gbdtlr.tables import NONE


def percent(share: float | None) -> str:
    """A share, such as ``27.1%``."""
    return NONE if share is None else f"{100 * share:.1f}%"


def fixed(value: float | None, places: int = 4) -> str:
    """A number to so many places."""
    return NONE if value is None else f"{value:.{places}f}"


def seconds(value: float) -> str:
    """A time that something took."""
    return f"{value:.2g} s" if value < 10 else f"{value:,.0f} s"
