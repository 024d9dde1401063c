"""Stored JSON documents: one decoder of distrusted bytes, one error, and the types their fields are made of.

A document is a dataclass, or a ``Document``, whose annotations say all that its fields may hold. Fields that it does
not know are passed over, so that versions of gbdtlr that read the same format may write more into it.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import msgspec
from msgspec import Meta as Meta

from gbdtlr.errors import DamagedError, FormatError, GbdtlrError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

T = TypeVar("T")

Whole = Annotated[int, Meta(ge=0, le=2**62)]
"""How many."""
Word = Annotated[int, Meta(ge=-(2**63) + 1, le=2**63 - 1)]
"""A whole number of 64 bits, but for the least, which stands for none."""
Finite = Annotated[float, Meta(ge=-sys.float_info.max, le=sys.float_info.max)]
"""A number that is one."""
Measure = Annotated[float, Meta(ge=0.0, le=1e30)]
"""Seconds, or a sum of weights."""
Time = Annotated[datetime, Meta(tz=True)]
"""A moment in UTC, as ``times.format_time`` writes it."""


class Document(msgspec.Struct, frozen=True):
    """A document that is read into something else."""


def parse(data: bytes, what: str) -> Any:
    """The value that JSON says, in Python's own types.

    Raises
    ------
    DamagedError
        Not JSON, or too deep; NaN, a key that comes twice, or a number of thousands of digits. ``what`` is its subject.
    """
    try:
        return _DECODER.decode(data.decode())
    except (ValueError, RecursionError) as error:
        raise DamagedError(f"{what} is damaged: not JSON ({_short(str(error)) or type(error).__name__})") from error


def read(value: object, kind: type[T], what: str) -> T:
    """The document in a value that :func:`parse` gave, or in a part of one.

    Parameters
    ----------
    kind : dataclass or ``Document``; arrays are float64 of finite numbers, of any shape

    Raises
    ------
    DamagedError
        Not such a document; the message names it and the field.
    """
    try:
        return typed(value, kind)
    except ValueError as error:
        raise DamagedError(f"{what} is damaged: {error}") from error


def typed(value: object, kind: type[T]) -> T:
    """As :func:`read`, of values that nobody has stored yet; raise ValueError that names the field if one is wrong."""
    try:
        document = msgspec.convert(value, kind, dec_hook=_decoded)
        if any(isinstance(each, datetime) and each.utcoffset() for each in _values(document)):
            raise ValueError("a time that is not in UTC")
    except (msgspec.MsgspecError, GbdtlrError, TypeError, ValueError, OverflowError, RecursionError) as error:
        message, _, place = str(error).partition(" - at `$")
        raise ValueError(_short(f"{place.strip('.`')}: {message}" if place else message)) from error
    return document


def decode(data: bytes, kind: type[T], what: str, newest: int | None = None) -> T:
    """The document in these bytes; raises as :func:`parse` and :func:`read`.

    Parameters
    ----------
    newest : number of the newest format that is understood, of a document that has one

    Raises
    ------
    FormatError
        Written in a format that is newer.
    """
    value = parse(data, what)
    if newest is not None:
        check_format(value, what, newest)
    return read(value, kind, what)


def check_format(value: object, what: str, newest: int) -> None:
    """Pass only if the value is an object in a format that is understood.

    Raises
    ------
    DamagedError
        It is no object, or tells no format.
    FormatError
        A newer one.
    """
    if not isinstance(value, dict):
        raise DamagedError(f"{what} is damaged: expected a JSON object, found {type(value).__name__}")
    number = value.get("format")
    if type(number) is not int or number < 1:
        raise DamagedError(f"{what} is damaged: its format is {str(number)[:40]!r}, not a number")
    if number > newest:
        raise FormatError(
            f"{what} has format {str(number)[:40]}, newer than the {newest} this gbdtlr reads; upgrade gbdtlr"
        )


def table(document: Any) -> dict[str, Any]:
    """The document in JSON's types, as :func:`read` takes it."""
    result = msgspec.to_builtins(_with_defaults(document), enc_hook=_encoded)
    assert isinstance(result, dict)
    return result


def _with_defaults(value: Any) -> Any:
    """The value with all fields of dataclasses; msgspec leaves out the defaults that it filled in."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {each.name: _with_defaults(getattr(value, each.name)) for each in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {key: _with_defaults(each) for key, each in value.items()}
    return [*map(_with_defaults, value)] if isinstance(value, list | tuple) else value


def encode(document: Any) -> bytes:
    """The document as JSON: equal documents give equal bytes.

    Raises
    ------
    ValueError
        It has a number that is none.
    """
    return json.dumps(table(document), sort_keys=True, allow_nan=False).encode()


def _decoded(kind: Any, value: Any) -> NDArray[np.float64]:
    import numpy as np  # what has no arrays does without

    if getattr(kind, "__origin__", kind) is not np.ndarray:
        raise TypeError(f"no document has a {kind}")
    rows = isinstance(value, list) and len(value) > 0 and isinstance(value[0], list)
    try:
        return np.array(msgspec.convert(value, list[list[Finite]] if rows else list[Finite]), np.float64)
    except msgspec.MsgspecError as error:
        raise ValueError(str(error)) from None  # so that the field's own place is told too


def _encoded(value: Any) -> Any:
    return value.tolist()


def _values(document: Any) -> Iterable[Any]:
    names = document.__struct_fields__ if isinstance(document, msgspec.Struct) else vars(document)
    return (getattr(document, name) for name in names)


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key comes twice in one object")
    return found


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def _short(text: str) -> str:
    return text[:200]


_DECODER = json.JSONDecoder(object_pairs_hook=_each_once, parse_constant=_no_constant)
