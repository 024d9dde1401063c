"""A line: JSON that came by a pipe, decoded fast. Whatever needs a second look is refused, and nothing is bent."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from gbdtlr.errors import SamplesError

_DECODE = msgspec.json.Decoder().decode


def decode(line: bytes | str) -> Any:
    """Value of a line that is strict JSON: UTF-8, no NaN, no half characters.

    Raises
    ------
    ValueError
        It is not; ``json.loads`` may still read it, or say better what is wrong.
    """
    try:
        return _DECODE(line)
    except msgspec.MsgspecError as error:
        raise ValueError(str(error)) from None


def row_of(line: bytes | str) -> dict[str, Any]:
    """The JSON object of a line, by all that ``json`` can read.

    Raises
    ------
    SamplesError
        It is none.
    """
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise SamplesError(f"a line that is not JSON: {error}") from None
    if not isinstance(row, dict):
        raise SamplesError(f"a line that is a JSON {type(row).__name__}, expected an object")
    return row
