"""CSV: batches of the needed columns, with types from the config and never guessed from the values."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from enum import IntEnum

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gbdtlr.config import SamplesConfig
from gbdtlr.errors import SamplesError, SchemaError
from gbdtlr.samples.columns import check_columns, needed_columns
from gbdtlr.samples.files import File
from gbdtlr.values.arrays import empty_as_null, from_numpy, from_texts, with_nulls
from gbdtlr.values.categories import texts_of
from gbdtlr.values.numbers import read_numbers

_BLOCK = 1 << 20
_WHOLE = r"^(0|-?[1-9][0-9]{0,14})$"
_NUMBER = r"^-?(0|[1-9][0-9]{0,14})(\.[0-9]+)?([eE][-+]?[0-9]{1,2})?$"


def csv_batches(file: File, cfg: SamplesConfig) -> Iterator[pa.RecordBatch]:
    """Batches of ``file`` with the needed columns: numeric ones and the weight as numbers, all others as text.

    Nothing between the commas is a missing value; so is ``NA``, ``NaN`` or ``null`` where a number is expected,
    while among categories these are names like any other.
    """
    numbers = {*cfg.numeric, *([cfg.weight] if cfg.weight else [])}
    # A number that is hashed as an id too has to be whole, and exact.
    types = {
        name: (pa.int64() if name in cfg.wide_columns else pa.float64()) if name in numbers else pa.string()
        for name in needed_columns(cfg)
    }
    header = csv_header(file)
    check_columns(pa.schema([(name, types.get(name, pa.string())) for name in header]), cfg, file.path)
    yield from typed_csv(file, types)


def csv_header(file: File) -> list[str]:
    """Column names in the first line of the file.

    Raises
    ------
    SamplesError
        The file is empty.
    """
    with file.stream() as source:
        lines = io.TextIOWrapper(io.BufferedReader(source), encoding="utf-8-sig", newline="")
        names = next(csv.reader(lines), [])
    if not names:
        raise SamplesError(f"{file.path} is empty, expected a line with the names of the columns")
    return names


class Content(IntEnum):
    """What a column holds, besides gaps; of two parts of it, the larger holds for both."""

    NOTHING, WHOLE, NUMBERS, TEXTS = range(4)


def content_of(file: File) -> dict[str, Content]:
    """What each column holds; a number is one that JSON could write so, its whole part short enough for float64."""
    found = dict.fromkeys(csv_header(file), Content.NOTHING)
    for batch in _batches(file, dict.fromkeys(found, pa.string())):
        for name in [name for name, content in found.items() if content < Content.TEXTS]:
            values = empty_as_null(batch.column(name)).drop_null()
            if not len(values):
                continue
            kinds = ((Content.WHOLE, _WHOLE), (Content.NUMBERS, _NUMBER))
            all_are = (kind for kind, pattern in kinds if pc.all(pc.match_substring_regex(values, pattern)).as_py())
            found[name] = max(found[name], next(all_are, Content.TEXTS))
    return found


def typed_csv(file: File, types: Mapping[str, pa.DataType]) -> Iterator[pa.RecordBatch]:
    """Batches of the columns in ``types``, in its order; empty texts are nulls.

    Raises
    ------
    SchemaError
        Values that are not of their column's type; all such columns are listed.
    """
    n_read = 0
    try:
        for batch in _batches(file, types):
            n_read += len(batch)
            columns = [empty_as_null(column) if pa.types.is_string(column.type) else column for column in batch.columns]
            yield pa.record_batch(columns, names=batch.schema.names)
        return
    except pa.ArrowInvalid as error:
        if "conversion error" not in str(error):
            raise
    # Truth values, and whole numbers that went through floats, are numbers as well, though not to Arrow.
    for batch in _batches(file, dict.fromkeys(types, pa.string())):
        begin, n_read = min(n_read, len(batch)), max(n_read - len(batch), 0)
        texts = batch.slice(begin).columns
        columns = [_typed(column, kind) for column, kind in zip(texts, types.values(), strict=True)]
        if any(column is None for column in columns):
            raise SchemaError(f"{file.path}: {_wrong_values(file, types)}; mend the file, or the config")
        yield pa.record_batch(columns, names=batch.schema.names)


def _typed(texts: pa.Array, kind: pa.DataType) -> pa.Array | None:
    """The texts as numbers, if that is their type; None if some are none."""
    if pa.types.is_string(kind):
        return empty_as_null(texts)
    values, wrong = read_numbers(texts)
    missing = np.isnan(values)
    if wrong.any():
        return None
    if pa.types.is_floating(kind):
        return with_nulls(from_numpy(values), missing)
    try:
        return texts_of(with_nulls(pc.utf8_trim_whitespace(texts), missing)).cast(kind)
    except (pa.ArrowInvalid, SchemaError):
        return None


def _batches(file: File, types: Mapping[str, pa.DataType]) -> Iterator[pa.RecordBatch]:
    from pyarrow import csv as pa_csv

    with file.stream() as source:
        yield from pa_csv.open_csv(
            source,
            read_options=pa_csv.ReadOptions(block_size=_BLOCK),
            parse_options=pa_csv.ParseOptions(newlines_in_values=True),
            convert_options=pa_csv.ConvertOptions(
                column_types=dict(types), include_columns=list(types), strings_can_be_null=False
            ),
        )


def _wrong_values(file: File, types: Mapping[str, pa.DataType]) -> str:
    """Every column with values that are not of its type, with their number and an example."""
    numbers = {name: kind for name, kind in types.items() if not pa.types.is_string(kind)}
    counts: dict[str, int] = {}
    examples: dict[str, str] = {}
    for batch in _batches(file, dict.fromkeys(numbers, pa.string())):
        for name, kind in numbers.items():
            if _typed(batch.column(name), kind) is None:
                wrong = [text for text in batch.column(name).to_pylist() if _typed(from_texts([text]), kind) is None]
                counts[name] = counts.get(name, 0) + len(wrong)
                examples.setdefault(name, next(iter(wrong), "").strip())
    want = {name: "whole number" if pa.types.is_integer(kind) else "number" for name, kind in numbers.items()}
    return "; ".join(
        f"{name} has {n} values such as {examples[name]!r}, expected a {want[name]}" for name, n in counts.items()
    )
