"""Texts: what CSV and JSON lines have in common: they are UTF-8, come in lines, and may still be written to."""

from __future__ import annotations

import re
from typing import Any

from gbdtlr.errors import SamplesError
from gbdtlr.samples.formats.file import File

LONGEST = 64 << 20
"""Longest line of JSON, or row of CSV, in bytes."""
BOM = b"\xef\xbb\xbf"
_HALF = re.compile("[\ud800-\udfff]")

_OTHERS = {
    b"\xff\xfe": "UTF-16 text, expected UTF-8; iconv -f UTF-16 -t UTF-8 writes it so",
    b"\xfe\xff": "UTF-16 text, expected UTF-8; iconv -f UTF-16 -t UTF-8 writes it so",
    b"\x1f\x8b": "compressed; give it a name that ends in .gz",
    b"\x28\xb5\x2f\xfd": "compressed; give it a name that ends in .zst",
    b"PAR1": "a parquet file; give it a name that ends in .parquet",
}


def check_text(file: File, head: bytes) -> None:
    """Nothing, if the first bytes of ``file`` can be text.

    Raises
    ------
    SamplesError
        They are those of something else; the message says of what.
    """
    for magic, words in _OTHERS.items():
        if head.startswith(magic):
            raise SamplesError(f"{file.path} is {words}")


def is_utf8(text: str) -> bool:
    """Whether a text can be written as UTF-8: it has no bytes that were none, and no half of a character."""
    return text.isascii() or not _HALF.search(text)


def too_long(file: File, line: int) -> SamplesError:
    """The error of a line, or of the row that begins with it, that goes on and on."""
    return SamplesError(f"{file.path}: line {line} is longer than {LONGEST >> 20} MB; mend the file")


def whole_lines(file: File) -> Any:
    """Decompressed bytes of the lines of ``file`` that have an end, as a ``pyarrow.NativeFile``.

    What follows the last end of a line, where somebody may be appending, is no line yet.
    """
    if not file.may_grow:
        return file.stream()
    source = file.random_access()
    at = source.size()
    step = 1 << 16
    while at > 0:
        at, until = max(0, at - step), at
        tail = source.read_at(until - at, at)
        end = max(tail.rfind(b"\n"), tail.rfind(b"\r")) + 1
        if end:
            return source.get_stream(0, at + end)
    return source.get_stream(0, 0)


def has_torn_end(file: File) -> bool:
    """Whether the last line has no end, in a file that somebody may be appending to."""
    if not file.may_grow or file.format == "parquet":
        return False
    with file.random_access() as source:
        size = source.size()
        return bool(size and source.read_at(1, size - 1) not in (b"\n", b"\r"))
