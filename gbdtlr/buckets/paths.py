"""Paths: names of files as this system spells them."""

from __future__ import annotations

import os


def native(path: str) -> str:
    """The path as this system spells it, where its locale has no words for what a config says in UTF-8."""
    try:
        os.fsencode(path)
    except UnicodeEncodeError:
        return os.fsdecode(path.encode("utf-8", "surrogateescape"))
    return path
