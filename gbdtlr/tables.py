"""Tables for a terminal: aligned columns of plain text, and numbers, ages and moments as people read them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

NONE = "-"
_NUMBER = re.compile(r"[-+]?\d[\d,]*(\.\d+)?%?")
_AGE_UNITS = (("d", 86400), ("h", 3600), ("m", 60), ("s", 1))


def table(header: Sequence[str], rows: Iterable[Sequence[str]], width: int | None = None) -> str:
    """Columns under underlined headings, numbers to the right; lines are cut at ``width`` if it is given."""
    cells = [[clean(cell) for cell in row] for row in rows]
    widths = [max(_width(cell) for cell in column) for column in zip(header, *cells, strict=True)]
    right = [all(_is_number(row[j]) for row in cells) and bool(cells) for j in range(len(header))]
    lines = [header, ["-" * each for each in widths], *cells]
    return "\n".join(_cut("  ".join(map(_pad, line, widths, right)).rstrip(), width) for line in lines)


def pairs(rows: Iterable[tuple[str, str]], width: int | None = None) -> str:
    """One name and its value per line, the values below each other."""
    cells = [(clean(name), clean(value)) for name, value in rows]
    most = max((_width(name) for name, _ in cells), default=0)
    return "\n".join(_cut(f"{_pad(name, most, False)}  {value}".rstrip(), width) for name, value in cells)


def flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Name and text of each scalar in nested mappings, names dotted; lists are left to ``--json``."""
    found: list[tuple[str, str]] = []
    for name, value in values.items():
        if isinstance(value, Mapping):
            found += flat(value, f"{prefix}{name}.")
        elif isinstance(value, (int, float, str)):
            found.append((prefix + name.replace("_", " "), cell(value)))
    return found


def cell(value: Any) -> str:
    """Text of a value: counts by thousands, other numbers to four places, nothing as a dash."""
    if value is None or value == "":
        return NONE
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        if value != value:
            return NONE
        return f"{value:.4f}" if 1e-3 <= abs(value) < 1e6 or not value else f"{value:.4g}"
    return str(value)


def listed(names: Iterable[str], most: int) -> str:
    """Names with commas between them, so many at most and how many more there are."""
    shown = list(names)
    more = f" and {len(shown) - most} more" if len(shown) > most else ""
    return ", ".join(shown[:most]) + more


def count(n: int, noun: str) -> str:
    """So many of something: ``1 row``, ``1,200 rows``."""
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def signed(value: float, places: int) -> str:
    """A number with its sign; one that is rounded to zero has none to show, and is ``+``."""
    return f"{round(value, places) + 0.0:+.{places}f}"


def age(seconds: float) -> str:
    """Time gone by in its two largest units, such as ``3h 12m``."""
    left = round(abs(seconds))
    parts: list[str] = []
    for unit, size in _AGE_UNITS:
        n, left = divmod(left, size)
        if n or parts:
            parts.append(f"{n}{unit}")
        if len(parts) == 2:
            break
    if len(parts) == 2 and parts[1].startswith("0"):
        parts.pop()
    return ("-" if seconds < 0 and parts else "") + (" ".join(parts) or "0s")


def size(n_bytes: int) -> str:
    """Bytes in the largest unit that leaves at least one, such as ``1.5 MB``."""
    for unit, one in (("TB", 10**12), ("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if n_bytes >= one:
            return f"{n_bytes / one:.1f} {unit}"
    return f"{n_bytes} bytes"


def shortened(text: str, most: int) -> str:
    """The text, or its beginning where it is longer than ``most``."""
    return text if len(text) <= most else text[: most - 3].rstrip() + "..."


def clean(text: str) -> str:
    """The text on one line and without control characters: what a store holds must not steer a terminal."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def _is_number(text: str) -> bool:
    return text == NONE or _NUMBER.fullmatch(text) is not None


def _width(text: str) -> int:
    return sum(
        0 if unicodedata.combining(letter) else 2 if unicodedata.east_asian_width(letter) in "WF" else 1
        for letter in text
    )


def _pad(text: str, width: int, right: bool) -> str:
    gap = " " * (width - _width(text))
    return gap + text if right else text + gap


def _cut(line: str, width: int | None) -> str:
    if width is None or _width(line) <= width:
        return line
    while _width(line) > width - 3:
        line = line[:-1]
    return line + "..."
