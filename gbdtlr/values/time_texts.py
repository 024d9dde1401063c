"""Texts as times: ISO 8601, and the spellings of databases, services and logs that are clear without a convention.

Read are ISO 8601 in its extended and compact forms; the same with a blank before the offset, with ``UTC`` or ``GMT``
for it (BigQuery), with a zone's name behind it (Trino) or in brackets (Java), with slashes or dots between year, month
and day; fractions of any length, what is finer than a microsecond cut off; days with a month's English name (Apache,
mail); and numbers, as :mod:`gbdtlr.values.epochs` has them. Nothing, ``null`` and the like, ``infinity`` and a date
of zeros are no time at all. Whatever else there is cannot be read: 1/2/2024 least of all.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, tzinfo

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from gbdtlr.errors import ConfigError
from gbdtlr.times import to_us
from gbdtlr.times import zone as zone_of
from gbdtlr.values.arrays import empty_as_null, from_numpy, from_texts, present, real_numbers, true_rows, whole_numbers
from gbdtlr.values.clocks import Us, localize
from gbdtlr.values.epochs import epoch_us

Mask = npt.NDArray[np.bool_]

_ZONED = r"\d[T ]\d\d(:?\d\d(:?\d\d([.,]\d+)?)?)?\s*([Zz]|[+-]\d\d(:?\d\d)?)$"
_NUMBER = r"^[+-]?\d+(\.\d*)?([eE][+-]?\d+)?$"
_NOTHING = ["null", "none", "nat", "nan", "na", "n/a", "\\n", "infinity", "-infinity", "inf", "-inf"]
_ZEROS = "0000-00-00"
_YEAR_1 = to_us(datetime(1, 1, 1, tzinfo=UTC))

# To ISO 8601 as Arrow reads it, one after the other.
_SPELLINGS = (
    (r"([Zz]|[+-]\d\d:?\d\d)\[[^\]]*\]$", r"\1"),  # 2024-06-01T02:03:56+02:00[Europe/Berlin]
    (r"(\d)\s*(?i:UTC|GMT)([+-]\d)", r"\1\2"),  # 2024-06-01 00:03:56 GMT+0200
    (r"(\d)\s*(?i:UTC|GMT|Z)$", r"\1Z"),  # 2024-06-01 00:03:56 UTC
    (r"(:\d\d(?:\.\d+)?)\s*([+-])(\d)$", r"\1\20\3"),  # UTC+2
    (r"(\d)\s+([+-]\d\d(?::?\d\d)?)$", r"\1\2"),  # 2024-06-01 00:03:56 +0200
    (r"^(\d{4})[/.](\d{1,2})[/.](\d{1,2})", r"\1-\2-\3"),  # 2024/6/1
    (r"^(\d{4})-(\d)-", r"\1-0\2-"),
    (r"^(\d{4}-\d\d)-(\d)(\D|$)", r"\1-0\2\3"),
    (r"^(\d{4})(\d\d)(\d\d)[Tt ](\d\d)(\d\d)(\d\d)", r"\1-\2-\3T\4:\5:\6"),  # 20240601T000356Z
    (r"^(\d{4}-\d\d-\d\d)[Tt\s]\s*(\d\d)(\d\d)(\d\d)", r"\1T\2:\3:\4"),
    (r"^(\d{4}-\d\d-\d\d)\s+(\d)", r"\1 \2"),
    (r"^(\d{4}-\d\d-\d\d)[Tt ](\d:)", r"\1T0\2"),
    (r"^(\d{4}-\d\d-\d\d)t", r"\1T"),
    (r"(:\d\d),(\d)", r"\1.\2"),
    (r"(:\d\d\.\d{6})\d+", r"\1"),  # nanoseconds
)
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_NAMED_MONTH = re.compile(
    r"(?:[a-z]{3},?\s+)?(\d{1,2})[\s/-]([a-z]{3})[\s/-](\d{4})[\s:](\d\d:\d\d(?::\d\d(?:\.\d+)?)?)\s*(Z|UTC|GMT|[+-]\d\d:?\d\d)?",
    re.IGNORECASE | re.ASCII,
)
_NAMED_ZONE = re.compile(r"(.*\d)\s*([A-Za-z_]+/[A-Za-z0-9_+/-]+)", re.ASCII)


def text_us(column: pa.Array, zone: tzinfo, late: bool) -> tuple[Us, Mask, list[str]]:
    """Microseconds since 1970 UTC of texts, whether there is a time, and the texts that are none.

    Parameters and returns are those of :func:`gbdtlr.values.times.times`.
    """
    column = empty_as_null(pc.utf8_trim_whitespace(column))
    us, known, wrong = np.zeros(len(column), np.int64), present(column), np.zeros(len(column), bool)
    number = known & true_rows(pc.match_substring_regex(column, _NUMBER))
    if number.any():
        us[number], wrong[number] = _numbers_us(column.filter(from_numpy(number)), zone, late)
    rest = known & ~number
    if rest.any():
        texts = column if rest.all() else column.filter(from_numpy(rest))
        us[rest], known[rest], wrong[rest] = _dates_us(texts, zone, late, _respelled_us)
    wrong |= known & (us < _YEAR_1) & ~number
    unreadable = column.filter(from_numpy(wrong)).to_pylist()
    return np.where(wrong, 0, us), known & ~wrong, unreadable


def _numbers_us(texts: pa.Array, zone: tzinfo, late: bool) -> tuple[Us, Mask]:
    try:
        return epoch_us(whole_numbers(texts), zone, late)
    except pa.ArrowInvalid:  # fractions, exponents, signs, and more digits than an int64 has
        plain = from_texts([text.removeprefix("+") for text in texts.to_pylist()])
        numbers = real_numbers(plain.cast(pa.float64()))
        finite = np.isfinite(numbers)
        us, wrong = epoch_us(np.where(finite, numbers, 0.0), zone, late)
        return us, wrong | ~finite


def _dates_us(texts: pa.Array, zone: tzinfo, late: bool, otherwise: _Otherwise) -> tuple[Us, Mask, Mask]:
    """Microseconds, where there is a time, and which texts are none; ``otherwise`` reads what Arrow cannot."""
    us, known, wrong = np.zeros(len(texts), np.int64), np.ones(len(texts), bool), np.zeros(len(texts), bool)
    zoned = true_rows(pc.match_substring_regex(texts, _ZONED))
    for rows, kind in ((zoned, pa.timestamp("us", "UTC")), (~zoned, pa.timestamp("us"))):
        if not rows.any():
            continue
        part = texts if rows.all() else texts.filter(from_numpy(rows))
        try:
            read = whole_numbers(part.cast(kind))
            us[rows] = read if kind.tz else localize(read, zone, late)
        except pa.ArrowInvalid:
            us[rows], known[rows], wrong[rows] = otherwise(part, zone, late)
    return us, known, wrong


_Otherwise = Callable[[pa.Array, tzinfo, bool], tuple[Us, Mask, Mask]]


def _respelled_us(texts: pa.Array, zone: tzinfo, late: bool) -> tuple[Us, Mask, Mask]:
    nothing = pc.or_(pc.is_in(pc.utf8_lower(texts), from_texts(_NOTHING)), pc.starts_with(texts, _ZEROS))
    known = ~true_rows(nothing)
    us, wrong = np.zeros(len(texts), np.int64), np.zeros(len(texts), bool)
    if known.any():
        part = texts.filter(from_numpy(known))
        for pattern, spelling in _SPELLINGS:
            part = pc.replace_substring_regex(part, pattern, spelling)
        us[known], _, wrong[known] = _dates_us(part, zone, late, _each_us)
    return us, known, wrong


def _each_us(texts: pa.Array, zone: tzinfo, late: bool) -> tuple[Us, Mask, Mask]:
    read = [_one_us(text, zone, late) for text in texts.to_pylist()]
    us = np.array([0 if one is None else one for one in read], np.int64)
    return us, np.ones(len(us), bool), np.array([one is None for one in read])


def _one_us(text: str, zone: tzinfo, late: bool) -> int | None:
    if found := _NAMED_MONTH.fullmatch(text):
        day, month, year, clock, offset = found.groups()
        if month.lower() not in _MONTHS:
            return None
        number = _MONTHS.index(month.lower()) + 1
        text = f"{year}-{number:02}-{day:0>2}T{clock}{offset or ''}".upper().replace("UTC", "Z").replace("GMT", "Z")
    elif found := _NAMED_ZONE.fullmatch(text):
        try:
            text, zone = found[1], zone_of(found[2])
        except ConfigError:
            return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    if moment.tzinfo is not None:
        return to_us(moment)
    return int(localize(np.array([to_us(moment.replace(tzinfo=UTC))], np.int64), zone, late)[0])
