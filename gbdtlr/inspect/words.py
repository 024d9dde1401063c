"""Words: ids as people read them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from gbdtlr.values import scalars
from gbdtlr.values.crosses import parts_of


def id_in_words(name: str, values: Iterable[Any]) -> str:
    """What a wide column of this name says, given the values of its parts: ``origin is JFK and dest is missing``."""
    return " and ".join(f"{part} is {_value(value)}" for part, value in zip(parts_of(name), values, strict=True))


def dense_in_words(name: str, values: Sequence[float], is_list: bool) -> str:
    """What a dense column says: ``margin is 0.3``, or ``hidden has 32 numbers``."""
    n_there = sum(value == value for value in values)
    if not n_there:
        return f"{name} is missing"
    if not is_list:
        return f"{name} is {values[0]:.4g}"
    missing = len(values) - n_there
    return f"{name} has {len(values)} numbers" + (f", {missing} missing" if missing else "")


def _value(value: Any) -> str:
    text = scalars.text(value)
    return "missing" if text is None else text
