"""Records of CSV: the header, and the rows with the lines they begin in, as Python's own reader has them.

Slower than Arrow's, which does the reading: this one tells in which line it failed.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

from gbdtlr.errors import SamplesError
from gbdtlr.samples.formats.file import File
from gbdtlr.samples.formats.texts import BOM, LONGEST, check_text, is_utf8, whole_lines

QUOTE_OPEN = "unexpected end of data"  # Python's words


def csv_header(file: File, *, skip_torn: bool = False) -> list[str]:
    """Column names in the first line of the file that is not blank; none of a file without lines.

    Raises
    ------
    SamplesError
        It is not text, or the names are not UTF-8.
    """
    for _, names in csv_records(file, skip_torn=skip_torn):
        for name in names:
            if not is_utf8(name):
                shown = name.encode("utf-8", "surrogateescape")
                raise SamplesError(f"{file.path}: the column {shown!r:.60} has a name that is not UTF-8; mend it")
        return names
    return []


def csv_records(file: File, *, skip_torn: bool = False, strict: bool = False) -> Iterator[tuple[int, list[str]]]:
    """Every record, the header first, with the number of the line it begins in, from 1.

    Bytes that are not UTF-8 come as halves of characters. Raises ``csv.Error`` as Python's reader does.
    """
    with whole_lines(file) if skip_torn else file.stream() as source:
        reader = io.BufferedReader(source)
        check_text(file, reader.peek(8)[:8])
        if reader.peek(len(BOM)).startswith(BOM):
            reader.read(len(BOM))
        lines = io.TextIOWrapper(reader, encoding="utf-8", errors="surrogateescape", newline="")
        limit = csv.field_size_limit(2 * LONGEST)
        try:
            records = csv.reader(lines, strict=strict)
            while True:
                line = records.line_num + 1
                try:
                    fields = next(records)
                except StopIteration:
                    return
                except csv.Error as error:
                    raise csv.Error(str(error), line) from None
                if fields:
                    yield line, fields
        finally:
            csv.field_size_limit(limit)
