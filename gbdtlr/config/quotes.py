"""Quotes: the commonest fault of a TOML file, a text that stands without them, told with the line as it should be."""

from __future__ import annotations

import json
import re

_LINE = re.compile(r"at line (\d+)")
_GIVEN = re.compile(r"\s*(?P<key>[\w.\-\"]+)\s*=\s*(?P<value>[^#]*?)\s*(#.*)?")
_CURLY = "\u201c\u201d\u2018\u2019\u201e\u00ab\u00bb"
"""Quotes that word processors write, which TOML does not take for any."""


def quotes_missing(text: str, error: str) -> str:
    """A hint to follow TOML's own words, where a text without quotes may be what is wrong; else nothing.

    Parameters
    ----------
    text : of the file
    error : what the parser said, which names the line
    """
    named, lines = _LINE.search(error), text.splitlines()
    if named is None or int(named[1]) > len(lines):
        return ""
    found = _GIVEN.fullmatch(lines[int(named[1]) - 1])
    if found is None:
        return ""
    value = found["value"].strip(_CURLY)
    if not value:
        return "; a value is missing there"
    if value[0] in "\"'{" or "\\" in value:
        return ""
    if value[0] == "[":
        return "; texts in a list stand in quotes"
    return f"; put quotes around it: {found['key']} = {json.dumps(value, ensure_ascii=False)}"
