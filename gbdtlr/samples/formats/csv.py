"""CSV: batches of the needed columns, with types from the config and never guessed from the values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from enum import IntEnum
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gbdtlr.config import SamplesConfig
from gbdtlr.samples.formats import csv_faults
from gbdtlr.samples.formats.columns import check_columns, needed_columns
from gbdtlr.samples.formats.csv_records import csv_header
from gbdtlr.samples.formats.file import File
from gbdtlr.samples.formats.lists import gathered, in_file, numbered_lists, with_lists
from gbdtlr.samples.formats.texts import LONGEST, whole_lines
from gbdtlr.values import scalars
from gbdtlr.values.arrays import empty_as_null, from_numpy, from_texts, present, true_rows, with_nulls
from gbdtlr.values.numbers import read_numbers

_BLOCK = 1 << 20
_WHOLE = r"^(0|-?[1-9][0-9]{0,14})$"
_NUMBER = r"^-?(0|[1-9][0-9]{0,14})(\.[0-9]+)?([eE][-+]?[0-9]{1,2})?$"


def csv_batches(file: File, cfg: SamplesConfig, seen: set[str]) -> Iterator[pa.RecordBatch]:
    """Batches of ``file`` with the needed columns: numeric ones and the weight as numbers, all others as text.

    Nothing between the commas is a missing value; so is ``NA``, ``NaN`` or ``null`` where a number is expected,
    while among categories these are names like any other. A last line without an end is left alone where somebody may
    be appending to the file. Features are added to ``seen`` where there are rows.
    """
    header = csv_header(file, skip_torn=True)
    lists = numbered_lists(header, cfg)
    numbers = {*cfg.numeric, *in_file(cfg.linear, lists), *([cfg.weight] if cfg.weight else [])}
    # A number that is hashed as an id too has to be whole, and exact.
    types = {
        name: (pa.int64() if name in cfg.wide_columns else pa.float64()) if name in numbers else pa.string()
        for name in in_file(needed_columns(cfg), lists)
    }
    fields = [(name, types.get(name, pa.string())) for name in header]
    if {*types} - {*header} or len({*header}) < len(header):
        if not has_rows(file, header, skip_torn=True):
            return
        csv_faults.check_delimiter(file, header, types)
        check_columns(with_lists(pa.schema(fields), lists), cfg, file)
    for batch in typed_csv(file, types, skip_torn=True):
        seen.update(cfg.features)
        yield gathered(batch, lists)


def has_rows(file: File, header: Sequence[str], *, skip_torn: bool = False) -> bool:
    """Whether there is anything below the header."""
    if not header:
        return False
    stream = whole_lines(file) if skip_torn else file.stream()
    try:
        return any(len(batch) for batch in _batches(stream, {header[0]: pa.string()}, _BLOCK, 0))
    except pa.ArrowInvalid as error:
        return "Empty CSV" not in str(error)  # rows that cannot be read are told when it is their turn


class Content(IntEnum):
    """What a column holds, besides gaps; of two parts of it, the larger holds for both."""

    NOTHING, WHOLE, NUMBERS, TEXTS = range(4)


def content_of(file: File) -> dict[str, Content]:
    """What each column holds; a number is one that JSON could write so, its whole part short enough for float64."""
    found = dict.fromkeys(csv_header(file), Content.NOTHING)
    for batch in typed_csv(file, dict.fromkeys(found, pa.string())):
        for name in [name for name, content in found.items() if content < Content.TEXTS]:
            values = batch.column(name).drop_null()
            if not len(values):
                continue
            kinds = ((Content.WHOLE, _WHOLE), (Content.NUMBERS, _NUMBER))
            all_are = (kind for kind, pattern in kinds if pc.all(pc.match_substring_regex(values, pattern)).as_py())
            found[name] = max(found[name], next(all_are, Content.TEXTS))
    return found


def typed_csv(file: File, types: Mapping[str, pa.DataType], *, skip_torn: bool = False) -> Iterator[pa.RecordBatch]:
    """Batches of the columns in ``types``, in its order; empty texts are nulls.

    Parameters
    ----------
    types : string, float64, or int64 of a number that is an id too, which may come as another type that is exact
    skip_torn : leave alone a last line without an end, where somebody may be appending to the file

    Raises
    ------
    SchemaError
        Values that are not of their column's type; all such columns are listed.
    SamplesError
        Rows that have not as many columns as the header, texts that are not UTF-8, a quote that is never closed: the
        message names the line.
    """
    n_rows, block, as_texts = 0, _BLOCK, False
    while True:
        source = _Source(file, skip_torn)
        try:
            for batch in _batches(source, dict.fromkeys(types, pa.string()) if as_texts else types, block, n_rows):
                n_rows += len(batch)
                yield _converted(batch, file, types, skip_torn)
            if source.n_quotes % 2:
                csv_faults.check_quotes(file, skip_torn)
            return
        except pa.ArrowInvalid as error:
            reason = str(error)
        if "straddling" in reason and block < LONGEST:
            block = min(8 * block, LONGEST)
        elif "conversion error" in reason and "UTF8" not in reason and not as_texts:
            as_texts = True
        elif n_rows or "Empty CSV" not in reason:
            raise csv_faults.fault_of(file, types, reason, skip_torn) from None
        else:
            return


def read_column(file: File, texts: pa.Array, kind: pa.DataType, numbers: Sequence[str], skip_torn: bool) -> pa.Array:
    """Texts of the file as float64, or, where ``kind`` is int64, as a type that holds the whole numbers exactly.

    Parameters
    ----------
    numbers : all columns of numbers, which the message lists that has one that is none
    """
    values, wrong = read_numbers(texts)
    if wrong.any():
        raise csv_faults.wrong_numbers(file, numbers, skip_torn)
    missing = np.isnan(values)
    if pa.types.is_integer(kind):
        trimmed = with_nulls(pc.utf8_trim_whitespace(texts), missing & present(texts))
        truths = true_rows(pc.is_in(trimmed, value_set=from_texts([*scalars.TRUTHS])))
        if truths.any() and (truths | missing).all():
            return with_nulls(from_numpy(values == 1), missing)
        for exact in (pa.int64(), pa.uint64()):
            try:
                return trimmed.cast(exact)
            except pa.ArrowInvalid:
                continue
    return with_nulls(from_numpy(values), missing)


def _converted(batch: pa.RecordBatch, file: File, types: Mapping[str, pa.DataType], skip_torn: bool) -> pa.RecordBatch:
    numbers = [name for name, kind in types.items() if not pa.types.is_string(kind)]
    columns = []
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        if pa.types.is_string(column.type):
            column = empty_as_null(column)
            if name in numbers:
                column = read_column(file, column, types[name], numbers, skip_torn)
        columns.append(column)
    return pa.record_batch(columns, names=batch.schema.names)


class _Source:
    """Bytes of a file, as Python's own files give them, with the number of quotes in them."""

    closed = False

    def __init__(self, file: File, skip_torn: bool) -> None:
        self._stream = whole_lines(file) if skip_torn else file.stream()
        self.n_quotes = 0

    def read(self, n_bytes: int = -1) -> bytes:
        data: bytes = self._stream.read(n_bytes)
        self.n_quotes += data.count(b'"')
        return data

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        self._stream.close()


def _batches(source: Any, types: Mapping[str, pa.DataType], block: int, n_skipped: int) -> Iterator[pa.RecordBatch]:
    from pyarrow import csv as pa_csv

    try:
        reader = pa_csv.open_csv(
            pa.PythonFile(source, mode="r") if isinstance(source, _Source) else source,
            read_options=pa_csv.ReadOptions(block_size=block),
            parse_options=pa_csv.ParseOptions(newlines_in_values=True),
            convert_options=pa_csv.ConvertOptions(
                column_types=dict(types), include_columns=list(types), strings_can_be_null=False
            ),
        )
        for batch in reader:
            if n_skipped < len(batch):
                yield batch.slice(n_skipped)
            n_skipped = max(0, n_skipped - len(batch))
    finally:
        source.close()
