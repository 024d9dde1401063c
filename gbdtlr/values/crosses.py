"""Crosses: wide columns made of several columns, written ``origin:dest``."""

from __future__ import annotations

from collections.abc import Iterable


def parts_of(name: str) -> list[str]:
    """The columns that a wide column of this name is made of; itself alone where it is no cross."""
    return name.split(":")


def columns_of(names: Iterable[str]) -> tuple[str, ...]:
    """All columns that wide columns of these names are made of, each once, in the order of first mention."""
    return tuple(dict.fromkeys(part for name in names for part in parts_of(name)))
