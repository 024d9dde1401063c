"""Scalars: what one Python value means as a number, as a category or id, and as a truth value.

Columns mean what their values mean: the modules beside this one say the same of whole arrays, faster.
"""

from __future__ import annotations

import math
import re
from decimal import Decimal
from enum import Enum
from itertools import product
from typing import Any
from uuid import UUID

import numpy as np
import pyarrow as pa
import pyarrow.types as pt

from gbdtlr.errors import SchemaError
from gbdtlr.values.missing import is_missing

EXACT = 2**53
"""From here on float64 cannot tell neighbouring whole numbers apart: what was an id may be another one by now."""
TEXTS_EXPECTED = "texts, whole numbers or truth values expected"
LOST = "too large for a float to tell whole numbers apart; give ids as whole numbers or texts"
FRACTION = "no whole number; write fractions as texts"
FLOAT_TEXT = r"^-?(?:0|[1-9][0-9]*)\.0+$|^-?[0-9](?:\.[0-9]+)?[eE]\+[0-9]{1,3}$|^-?[0-9]\.[0-9]+E[0-9]{1,3}$"
"""How programs write whole numbers that they hold as fractions: ``7.0``; ``1e+06``, ``1.5E+16``; Java ``1.2E7``."""

_DIGITS = re.compile(r"(-?)(0|[1-9][0-9]*)\.0+")
_FLOAT = re.compile(FLOAT_TEXT)
_MAX_DIGITS = 4300  # more of them Python does not write
TRUTHS = {
    "".join(letters): word for word in ("true", "false") for letters in product(*zip(word, word.upper(), strict=True))
}
"""Every spelling of the two truth words."""
_PLAIN = frozenset({int, float, bool, type(None), np.float64, np.float32, np.int64, np.bool_})
_TRUE_WORDS, _FALSE_WORDS = ("true", "1"), ("false", "0")


def number(value: Any) -> float:
    """The float nearest to a number, 0 or 1 for a truth value, NaN for missing.

    Raises
    ------
    SchemaError
        Not a number, or one too large for a float.
    """
    if type(value) is float:
        return value
    inner = unwrapped(value)
    if is_missing(inner):
        return math.nan
    if _is_number(inner):
        try:
            return float(inner)
        except OverflowError:
            raise SchemaError(f"is a number too large for a float: {_shown(value)}") from None
    raise SchemaError(f"is {_shown(value)}, a number expected")


def text(value: Any) -> str | None:
    """The one text of a category or id, None for missing: :func:`one_spelling` of what :func:`written` gives.

    Raises
    ------
    SchemaError
        Not a category or id.
    """
    kind = type(value)
    if kind is str and value.isascii() and "." not in value and "+" not in value:  # nearly all, a call less each
        return TRUTHS.get(value, value) or None
    if kind is int and -EXACT < value < EXACT:
        return int.__repr__(value)
    found = written(value)
    return None if found is None else one_spelling(found)


def written(value: Any) -> str | None:
    """A category or id as it stands: whole numbers by their digits, truth values ``true`` and ``false``.

    Raises
    ------
    SchemaError
        Neither a text nor a whole number nor a truth value, or a float that may have been another whole number.
    """
    if type(value) is str:
        return _sound(value)
    inner = unwrapped(value)
    if isinstance(inner, str):
        return _sound(str.__str__(inner))  # not str(): the members of some enumerations are texts with another name
    if is_missing(inner):
        return None
    if isinstance(inner, (bool, np.bool_)):
        return "true" if inner else "false"
    if isinstance(inner, UUID):
        return str(inner)
    if not _is_number(inner):
        raise SchemaError(f"is {_shown(value)}, a text, a whole number or a truth value expected")
    return _whole(inner, value)


def one_spelling(text: str) -> str | None:
    """The one spelling of a text: truth words in lower case, whole floats by their digits; None for nothing.

    Raises
    ------
    SchemaError
        A float, written out, that may have been another whole number.
    """
    if ("." in text or "+" in text) and _FLOAT.match(text):
        return _float_text(text)
    return TRUTHS.get(text, text) or None


def truth(value: Any) -> float:
    """1.0 or 0.0 for a number or text that says so, NaN for missing.

    Raises
    ------
    SchemaError
        Something else.
    """
    inner = unwrapped(value)
    if isinstance(inner, str):
        word = inner.strip()
        if not word:
            return math.nan
        word = one_spelling(word) or ""
        found = 1.0 if word in _TRUE_WORDS else 0.0 if word in _FALSE_WORDS else -1.0
    else:
        found = math.nan if is_missing(inner) else float(inner) if _is_number(inner) and inner in (0, 1) else -1.0
    if found < 0:
        raise SchemaError(f"is {_shown(value)}, 0 or 1 expected")
    return found


def unwrapped(value: Any) -> Any:
    """The value that an enumeration's member, an Arrow scalar or an array without dimensions stands for."""
    if type(value) in _PLAIN:
        return value
    while True:
        if isinstance(value, Enum):
            value = value.value
        elif isinstance(value, pa.Scalar):
            value = np.float32(value.as_py()) if value.is_valid and pt.is_float32(value.type) else value.as_py()
        elif getattr(value, "shape", None) == () and hasattr(value, "__array__") and not isinstance(value, np.generic):
            value = None if np.ma.is_masked(value) else np.asarray(value)[()]
        else:
            return value


def _is_number(value: Any) -> bool:
    if isinstance(value, (np.timedelta64, np.complexfloating)):  # a whole number, to numpy; a float, to float()
        return False
    return isinstance(value, (int, float, np.bool_, np.integer, np.floating)) or hasattr(
        type(value), "as_integer_ratio"
    )


def _whole(inner: Any, value: Any) -> str:
    """Digits of a whole number of any type."""
    if isinstance(inner, (float, np.floating)):
        if abs(float(inner)) >= exact_below(type(inner)):
            raise SchemaError(f"is {_shown(value)}, {LOST}")
        if inner != np.floor(inner):
            raise SchemaError(f"is {_shown(value)}, {FRACTION}")
        return int.__repr__(int(inner))
    if isinstance(inner, Decimal) and not (inner.is_finite() and abs(inner.adjusted()) < _MAX_DIGITS):
        raise SchemaError(f"is {_shown(value)}, {FRACTION}")
    if not isinstance(inner, (int, np.integer)):
        over, under = inner.as_integer_ratio()
        if under != 1:
            raise SchemaError(f"is {_shown(value)}, {FRACTION}")
        inner = over
    try:
        return int.__repr__(int(inner))
    except ValueError:
        raise SchemaError(f"is a whole number of more than {_MAX_DIGITS} digits; write it as text") from None


def held(error: SchemaError) -> str:
    """What is wrong with a value, said of the column it is in."""
    return str(error).replace("is ", "holds ", 1)


def exact_below(kind: type) -> int:
    """The whole number from which on floats of this type cannot tell neighbours apart."""
    return int(2 ** (np.finfo(kind).nmant + 1)) if issubclass(kind, (np.float16, np.float32)) else EXACT


def _float_text(text: str) -> str:
    digits = _DIGITS.fullmatch(text)
    if digits and not text.endswith(".0"):  # 7.00 is how a decimal is written, which is exact
        return "0" if digits[2] == "0" else digits[1] + digits[2]
    number = float(text)
    if abs(number) >= EXACT:
        raise SchemaError(f"is {_shown(text)}, {LOST}")
    return int.__repr__(int(number)) if number == int(number) else text


def _sound(text: str) -> str:
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise SchemaError(f"is {_shown(text)}, a text that cannot be written as UTF-8; mend it") from None
    return text


def _shown(value: Any) -> str:
    try:
        return f"{value!r:.60} ({type(value).__name__})"
    except Exception:  # whatever a value does that is asked how it looks, such as a whole number of 4,301 digits
        return f"a {type(value).__name__}"
