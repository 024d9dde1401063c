"""Looking: some rows of some of the files, and what each column holds in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt
from numpy.typing import NDArray

from gbdtlr.errors import NoSamplesError, SchemaError
from gbdtlr.samples import File
from gbdtlr.samples.finding import find_files
from gbdtlr.samples.formats.common import conformed
from gbdtlr.samples.tables import common_types, open_sources, read_pieces
from gbdtlr.times import to_us
from gbdtlr.values.arrays import is_string, present
from gbdtlr.values.numbers import is_number, numbers_of
from gbdtlr.values.times import is_time, times
from gbdtlr.values.truth import truths
from gbdtlr.values.vectors import is_list

FILES = 8
"""Most files that are looked at, where there is no reason for more."""
_ROWS = 160_000
_NO_VALUE = pa.array(["", "NA", "N/A", "NaN", "nan", "null", "NULL", "None", "\\N"])
_NUMBER = r"^-?(0|[1-9]\d*)(\.\d+)?([eE][-+]?\d+)?$"  # 007 is a text
_WHOLE = r"^-?(0|[1-9]\d*)$"
_FIRST, _LAST = (to_us(datetime(year, 1, 1, tzinfo=UTC)) for year in (1990, 2100))


@dataclass(frozen=True, eq=False)
class Column:
    """What a column holds in the rows that were looked at.

    Attributes
    ----------
    kind : ``empty``, ``truth``, ``time``, ``whole``, ``number``, ``text``, ``list`` or ``other``
    there : bool, (n,), whether a row has a value
    n_distinct : how many values there are
    values : (n,), codes of the values, numbers in their order; -1 where there is none
    us : int64, (n,), times in microseconds; None where they are no times
    has_zone : whether its times say their zone
    texts : string, (n,), of texts and whole numbers, which may be keys
    truth : int8, (n,), 0, 1, or -1 for neither and none; None where there are others
    """

    name: str
    kind: str
    there: NDArray[np.bool_]
    n_distinct: int
    values: NDArray[np.int64]
    us: NDArray[np.int64] | None = None
    has_zone: bool = True
    truth: NDArray[np.int8] | None = None
    texts: pa.Array | None = None

    @property
    def share(self) -> float:
        """Share of the rows that have a value."""
        return float(self.there.mean())


@dataclass(frozen=True, eq=False)
class Look:
    """Rows of files.

    Attributes
    ----------
    files : all of them
    looked : those the rows are of
    file_of : int64, (n,), which of ``looked`` a row is of
    """

    files: Sequence[File]
    looked: Sequence[File]
    file_of: NDArray[np.int64]
    columns: dict[str, Column]

    def __len__(self) -> int:
        return len(self.file_of)


def is_named_like_values(name: str) -> bool:
    """Whether the name of a column looks like a number or a time, as where a CSV has no header."""
    column = pa.array([name])
    return _kind(column, np.array([True]))[0] not in ("text", "truth")


def look(paths: Sequence[str], most: int = FILES) -> Look:
    """Rows from the beginning of files all over the paths, of as many files at most.

    Raises
    ------
    NoSamplesError
        No files, or none with rows.
    SamplesError
        A file that cannot be read.
    """
    files = find_files(paths)
    chosen = sorted({round(i) for i in np.linspace(0, len(files) - 1, min(most, len(files)))})
    sources = [source for source in open_sources([files[i] for i in chosen], {}) if not source.is_empty]
    if not sources:
        raise NoSamplesError(f"no rows in {files[chosen[0]].path} and {len(chosen) - 1} more files; name others")
    schema = common_types(sources)
    tables = []
    for source in sources:
        piece = next(read_pieces(source))
        assert isinstance(piece.rows, pa.Table)
        tables.append(conformed(piece.rows.slice(0, _ROWS // len(sources)), schema))
    table = pa.concat_tables(tables)
    file_of = np.repeat(np.arange(len(tables)), [len(each) for each in tables])
    columns = {name: _column(name, table.column(name)) for name in table.column_names}
    return Look(files, [source.file for source in sources], file_of, columns)


def _column(name: str, chunks: pa.ChunkedArray) -> Column:
    column = chunks.combine_chunks()
    if isinstance(column, pa.ChunkedArray):
        column = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
    column = column.dictionary_decode() if pt.is_dictionary(column.type) else column
    there = present(column)
    if is_string(column.type):
        column = column.cast(pa.string())
        there &= ~pc.is_in(column, _NO_VALUE).to_numpy(zero_copy_only=False)
        column = pc.if_else(pa.array(there), column, pa.scalar(None, pa.string()))
    if not there.any():
        return Column(name, "empty", there, 0, np.full(len(column), -1))
    values = np.zeros(len(column), np.int64)
    if is_list(column.type):
        return Column(name, "list" if is_number(column.type.value_type) else "other", there, 0, values)
    if pt.is_nested(column.type) or pt.is_binary(column.type):
        return Column(name, "other", there, 0, values)
    return _flat(name, column, there)


def _flat(name: str, column: pa.Array, there: NDArray[np.bool_]) -> Column:
    kind, numbers = _kind(column, there)
    encoded = column.dictionary_encode()
    codes = pc.fill_null(encoded.indices, -1).to_numpy(zero_copy_only=False).astype(np.int64)
    n_distinct = len(encoded.dictionary)
    if numbers is not None:
        codes = np.where(there, np.unique(numbers, return_inverse=True)[1].reshape(-1), -1)
    us, has_zone = None, True
    if kind == "time" or (kind == "whole" and is_time(column.type)):
        us, known, _ = times(column, UTC)
        if kind == "whole" and not ((us[known] > _FIRST) & (us[known] < _LAST)).all():
            us = None
        zone = getattr(column.type, "tz", None)
        has_zone = bool(kind == "whole" or zone or (is_string(column.type) and _texts_have_zones(column)))
    truth = None
    found = truths(column)
    if not found.wrong.any():
        truth = np.where(found.missing, -1, found.true).astype(np.int8)
    texts = column.cast(pa.string()) if kind in ("text", "whole") else None
    return Column(name, kind, there, n_distinct, codes, us, has_zone, truth, texts)


def _kind(column: pa.Array, there: NDArray[np.bool_]) -> tuple[str, NDArray[np.float64] | None]:
    """What the values are, and the numbers that they are."""
    kind = column.type
    if pt.is_boolean(kind):
        return "truth", None
    if pt.is_timestamp(kind) or pt.is_date(kind):
        return "time", None
    if is_number(kind):
        return ("whole" if pt.is_integer(kind) else "number"), numbers_of(column)
    if not is_string(kind):
        return "other", None
    if pc.all(pc.match_substring_regex(column, _NUMBER)).as_py():
        numbers = pc.fill_null(column.cast(pa.float64()), np.nan).to_numpy(zero_copy_only=False)
        return ("whole" if pc.all(pc.match_substring_regex(column, _WHOLE)).as_py() else "number"), numbers
    if not truths(column).wrong.any():
        return "truth", None
    if pc.all(pc.match_substring_regex(column, r"^\d+$")).as_py():
        return "text", None  # such as postcodes, which are no compact dates
    try:
        _, known, _ = times(column, UTC)
    except SchemaError:
        return "text", None
    return ("time" if (known == there).all() else "text"), None


def _texts_have_zones(column: pa.Array) -> bool:
    return bool(pc.all(pc.match_substring_regex(column, r"([zZ]|[+-]\d{2}:?\d{2}|UTC|GMT)$")).as_py())
