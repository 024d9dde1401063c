"""Faults of CSV: what is wrong with a file that cannot be read, and in which line.

The file is read once more, slowly: whoever gets one of these errors has time.
"""

from __future__ import annotations

import csv
from collections.abc import Collection, Mapping, Sequence
from itertools import islice

from gbdtlr.errors import SamplesError, SchemaError
from gbdtlr.samples.formats.csv_records import QUOTE_OPEN, csv_header, csv_records
from gbdtlr.samples.formats.file import File
from gbdtlr.samples.formats.texts import LONGEST, is_utf8, too_long
from gbdtlr.tables import count
from gbdtlr.values.arrays import from_texts
from gbdtlr.values.numbers import read_numbers

_ROWS = 10_000
_DELIMITERS = {";": "semicolons", "\t": "tabs", "|": "bars"}


def check_delimiter(file: File, header: Sequence[str], names: Collection[str]) -> None:
    """Nothing, if the header has as many of the names between commas as between anything else, or some, and no other.

    Raises
    ------
    SchemaError
        Another delimiter was used; the message says which.
    """
    for delimiter, words in _DELIMITERS.items():
        if not any(delimiter in name for name in header):
            continue
        pieces = {piece.strip().strip('"') for name in header for piece in name.split(delimiter)}
        whole = len(header) == 1 and not {*names} & {*header}
        if whole or len(pieces & {*names}) > len({*header} & {*names}):
            raise SchemaError(
                f"{file.path}: the columns are separated by {words} ({delimiter!r}), expected commas; write it again"
            )


def check_quotes(file: File, skip_torn: bool) -> None:
    """Nothing, if every quoted value has an end.

    Raises
    ------
    SamplesError
        A quote is never closed, so that all that follows is one value.
    """
    try:
        for _ in csv_records(file, skip_torn=skip_torn, strict=True):
            pass
    except csv.Error as error:
        if error.args[0] == QUOTE_OPEN:
            raise SamplesError(
                f"{file.path}: line {error.args[1]} begins a row with a quote that is never closed; close or double it"
            ) from None


def fault_of(file: File, names: Collection[str], reason: str, skip_torn: bool) -> SamplesError:
    """The error of a file that Arrow could not read for ``reason``, by its first row that is at fault."""
    header = csv_header(file, skip_torn=skip_torn)
    needed = {name: i for i, name in enumerate(header) if name in names}
    fault, is_short = "", False
    try:
        check_quotes(file, skip_torn)
        for line, fields in csv_records(file, skip_torn=skip_torn):
            if fault:
                return SamplesError(f"{fault}; mend or remove it")
            if sum(map(len, fields)) >= LONGEST:
                return too_long(file, line)
            fault, is_short = _fault_in(file, line, fields, len(header), needed), len(fields) < len(header)
    except SamplesError as error:
        return error
    except csv.Error as error:
        return SamplesError(f"{file.path}: line {error.args[1]}: {error.args[0]}; mend the file")
    if fault:
        is_torn = is_short and not skip_torn
        hint = ", the last one; if the file is still being written to, wait for its end" if is_torn else ""
        return SamplesError(fault + (hint or "; mend or remove it"))
    return SamplesError(f"cannot read {file.path}: {' '.join(reason.split()).rstrip('.')}; write it again")


def _fault_in(file: File, line: int, fields: Sequence[str], n_columns: int, needed: Mapping[str, int]) -> str:
    where = f"{file.path}: line {line}"
    if len(fields) != n_columns:
        return f"{where} has {count(len(fields), 'column')}, expected {n_columns} as in the header"
    for name, i in needed.items():
        if not is_utf8(fields[i]):
            return f"{where}, column {name}: {fields[i].encode('utf-8', 'surrogateescape')!r:.60} is not UTF-8"
    return ""


def wrong_numbers(file: File, names: Sequence[str], skip_torn: bool) -> SchemaError:
    """The error of columns that should be numbers: how many of their values are none, and the first of them."""
    header = csv_header(file, skip_torn=skip_torn)
    places = {name: header.index(name) for name in names}
    counts: dict[str, int] = {}
    firsts: dict[str, str] = {}
    records = csv_records(file, skip_torn=skip_torn)
    next(records)
    while rows := [(line, fields) for line, fields in islice(records, _ROWS) if len(fields) == len(header)]:
        for name, i in places.items():
            texts = [fields[i].encode("utf-8", "replace").decode() for _, fields in rows]
            wrong = read_numbers(from_texts(texts))[1].nonzero()[0]
            if len(wrong):
                counts[name] = counts.get(name, 0) + len(wrong)
                firsts.setdefault(name, f"{texts[wrong[0]]!r:.60} (line {rows[wrong[0]][0]})")
    found = "; ".join(f"{name} has {n} values such as {firsts[name]}, expected a number" for name, n in counts.items())
    return SchemaError(f"{file.path}: {found}; mend the file, or the config")
