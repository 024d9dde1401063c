"""Passwords in a query, which no message repeats: errors stand in logs, and in mails to many people."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from gbdtlr.errors import GbdtlrError
from gbdtlr.samples.formats.file import File

_LONGEST = 160
"""Letters of a query that are told of it."""
_WORDS = r"\b(?P<word>password|passwd|passphrase|pwd|secret|(?:session_|bearer_)?token|connection_string)"
_GIVEN = re.compile(rf"{_WORDS}\s*=\s*(''.*?''|'[^']*'|\"[^\"]*\"|[^\s'\";&,)]+)", re.IGNORECASE)
_OPTION = re.compile(rf"{_WORDS}\s+'(?:[^']|'')*'", re.IGNORECASE)
_IN_URL = re.compile(r"(?P<word>://[^/\s:@']*):[^/\s@']+@")


@contextmanager
def hidden(file: File) -> Iterator[None]:
    """Have errors that are raised inside tell the beginning of a query, and none of its passwords."""
    if file.format != "sql":
        yield
        return
    try:
        yield
    except GbdtlrError as error:
        text = " ".join(file.path.split())
        short = text if len(text) <= _LONGEST else f"{text[: _LONGEST - 4]} ..."
        raise type(error)(without_passwords(str(error).replace(file.path, short))) from None


def without_passwords(text: str) -> str:
    """The text with asterisks for the values of passwords, and of what is as good as one."""
    text = _GIVEN.sub(r"\g<word>=***", text)
    text = _OPTION.sub(r"\g<word> '***'", text)
    return _IN_URL.sub(r"\g<word>:***@", text)
