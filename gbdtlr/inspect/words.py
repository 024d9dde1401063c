"""Words: ids as people read them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from gbdtlr.values import scalars
from gbdtlr.values.crosses import parts_of


def id_in_words(name: str, values: Iterable[Any]) -> str:
    """What a wide column of this name says, given the values of its parts: ``origin is JFK and dest is missing``."""
    return " and ".join(f"{part} is {_value(value)}" for part, value in zip(parts_of(name), values, strict=True))


def _value(value: Any) -> str:
    text = scalars.text(value)
    return "missing" if text is None else text
