"""Refusals: what LightGBM says when it gives up, for people."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any


def reason_of(error: Exception | str, given: Mapping[str, Any]) -> str:
    """What LightGBM said, without the place in its source, and the key whose value it could not read."""
    text = re.sub(r" at \S+, line \d+ *\.?\s*$", "", str(error))
    token = re.fullmatch(r"Unknown token (.*) in data file", text)
    keys = [key for key, value in given.items() if token is not None and str(value) == token[1]]
    return f"{', '.join(keys)} = {token[1]!r}, expected a number" if token is not None and keys else text


def is_passing(reason: str) -> bool:
    """Whether LightGBM gave up for the network."""
    return any(word in reason for word in ("Socket", "Binding port", "linkers"))
