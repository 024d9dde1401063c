"""A line: JSON that came by a pipe, decoded fast. Whatever needs a second look is refused, and nothing is bent."""

from __future__ import annotations

from typing import Any

import msgspec

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
