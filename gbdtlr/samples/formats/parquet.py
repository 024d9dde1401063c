"""Parquet: batches of the needed columns, from the row groups that can hold rows of the window."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from datetime import tzinfo
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.types as pt

from gbdtlr.config import AT_ONCE, SamplesConfig
from gbdtlr.errors import SamplesError
from gbdtlr.samples.formats.columns import check_columns, needed_columns, text_columns
from gbdtlr.samples.formats.file import File
from gbdtlr.samples.formats.lists import gathered, in_file, numbered_lists, with_lists
from gbdtlr.samples.formats.stored import View, group_spans
from gbdtlr.samples.window import Tally, Window
from gbdtlr.times import zone
from gbdtlr.values.arrays import from_numpy, is_string, present, whole_numbers, with_nulls
from gbdtlr.values.clocks import scale
from gbdtlr.values.plain import is_ascii
from gbdtlr.values.times import statistics_us

# Column chunks are read through a buffer of this size instead of whole: row groups may be as large as the file.
_BUFFER = 1 << 16
_BATCH_BYTES = 256 << 20  # of as many rows as are read at once
# Most bytes of a column chunk whose texts repeat: a small dictionary, and an index of each row.
_DICTIONARY, _INDEX = 1 << 16, 2.5


def parquet_batches(
    file: File, cfg: SamplesConfig, window: Window, tally: Tally, batch_rows: int, seen: set[str], threads: bool = True
) -> Iterator[pa.RecordBatch]:
    """Batches of ``file`` with the needed columns; row groups that lie outside of ``window`` are not read.

    Features are added to ``seen`` where there are rows. With ``threads``, columns are decoded side by side.
    """
    from pyarrow import parquet

    with file.random_access() as source:
        reader = parquet.ParquetFile(source, **sparing(file))
        metadata = reader.metadata
        view = View(reader.schema_arrow, file.stored)
        if not metadata.num_rows:
            return
        lists = numbered_lists(view.schema.names, cfg)
        check_columns(with_lists(view.schema, lists), cfg, file)
        needed = in_file(needed_columns(cfg), lists)
        names = view.columns(needed)
        seen.update(cfg.features)
        texts = view.columns([name for name in text_columns(cfg) if is_string(view.schema.field(name).type)])
        groups = _groups_in(metadata, view, cfg, window, tally)
        if groups:
            if repeating := _repeating(metadata, groups, texts):
                reader = parquet.ParquetFile(source, metadata=metadata, read_dictionary=repeating, **sparing(file))
            fetch_together(file, source, metadata, groups, names)
            rows = rows_at_once(metadata, groups, batch_rows, names)
            batches = reader.iter_batches(rows, row_groups=groups, columns=names, use_threads=threads)
            whole = (checked(batch, file) for batch in _with_far_times(batches, file, reader, groups, rows, names))
            for batch in view.batches(whole, needed, group_spans(metadata, groups)):
                yield gathered(batch, lists)


def _repeating(metadata: Any, groups: Sequence[int], texts: Collection[str]) -> list[str]:
    """Those of some columns of texts whose chunks say that they hold few, each many times.

    They are read as dictionaries, and each text is looked at once. For ids of which hardly two rows share one, to build
    a dictionary takes ten times as long as to read them.
    """
    rare = set()
    for chunk in (chunk for i in groups for chunk in _chunks(metadata.row_group(i), texts)):
        is_indexed = any("DICTIONARY" in encoding for encoding in chunk.encodings)
        if not is_indexed or chunk.total_uncompressed_size > _DICTIONARY + _INDEX * chunk.num_values:
            rare.add(chunk.path_in_schema)
    return [name for name in texts if name not in rare]


def sparing(file: File) -> dict[str, Any]:
    """How a ``ParquetFile`` reads row groups of any size in little memory, or, in a bucket, in few requests.

    INT96 are microseconds and not Arrow's nanoseconds, which would take the year 9999 for 1816.
    """
    buffer_size = 0 if file.remote else _BUFFER
    return {"buffer_size": buffer_size, "pre_buffer": False, "coerce_int96_timestamp_unit": "us"}


def fetch_together(
    file: File, source: Any, metadata: Any, groups: Sequence[int], names: Collection[str] | None
) -> None:
    """In a bucket, have the chunks of the named columns, or of all, fetched together, one row group after the other."""
    if file.remote:
        source.plan([[_span(chunk) for chunk in _chunks(metadata.row_group(i), names)] for i in groups])


def _span(chunk: Any) -> tuple[int, int]:
    start = chunk.data_page_offset
    if chunk.has_dictionary_page and 0 < chunk.dictionary_page_offset < start:
        start = chunk.dictionary_page_offset
    return start, start + chunk.total_compressed_size


def _chunks(group: Any, names: Collection[str] | None) -> list[Any]:
    """Column chunks of a row group, of the named columns with all that is nested in them."""
    columns = [group.column(i) for i in range(group.num_columns)]
    return [
        column
        for column in columns
        if names is None or column.path_in_schema.partition(".")[0] in names or column.path_in_schema in names
    ]


def rows_at_once(metadata: Any, groups: Sequence[int], most: int, names: Collection[str] | None = None) -> int:
    """As many rows, up to ``most``, as fit into ``_BATCH_BYTES``, by the group whose rows are the longest."""

    def length(group: int) -> float:
        found = metadata.row_group(group)
        return float(found.total_byte_size / max(1, found.num_rows))

    longest = metadata.row_group(max(groups, key=length))
    n_bytes = sum(column.total_uncompressed_size for column in _chunks(longest, names))
    return int(min(most, max(1, _BATCH_BYTES * longest.num_rows // max(1, n_bytes))))


def checked(batch: pa.RecordBatch, file: File) -> pa.RecordBatch:
    """The batch, if its texts are UTF-8, which Arrow does not look at.

    Raises
    ------
    SamplesError
        One is not; the message names file, row and column.
    """
    for i, column in enumerate(batch.columns):
        values = column.dictionary if pt.is_dictionary(column.type) else column
        if pt.is_string(values.type) and is_ascii(values):
            continue
        try:
            values.validate(full=True)
        except pa.ArrowInvalid:
            _check_rows(file, batch.schema.names[i])
            batch = batch.set_column(i, batch.schema.names[i], column.dictionary_decode())  # no row has that text
    return batch


def _check_rows(file: File, name: str) -> None:
    """Nothing, if all texts of a column are UTF-8."""
    from pyarrow import parquet

    n_before = 0
    remedy = "mend it" if file.stored is None else file.stored.remedy
    with file.random_access() as source:
        reader = parquet.ParquetFile(source, **sparing(file))
        fetch_together(file, source, reader.metadata, range(reader.metadata.num_row_groups), [name])
        for batch in reader.iter_batches(columns=[name]):
            column = batch.column(0)
            column = column.dictionary_decode() if pt.is_dictionary(column.type) else column
            try:
                column.validate(full=True)
            except pa.ArrowInvalid as error:
                for i, value in enumerate(column):
                    try:
                        value.as_py()
                    except UnicodeDecodeError as fault:
                        where = f"{file.subject}: row {n_before + i + 1}, column {name}"
                        raise SamplesError(f"{where}: {fault.object!r:.60} is not UTF-8; {remedy}") from None
                raise SamplesError(f"{file.subject}: column {name}: {' '.join(str(error).split())}; {remedy}") from None
            n_before += len(batch)


def _with_far_times(
    batches: Iterator[pa.RecordBatch], file: File, reader: Any, groups: list[int], rows: int, names: list[str]
) -> Iterator[pa.RecordBatch]:
    """The batches, their INT96 read in milliseconds as well: microseconds wrap around beyond the year 294,246."""
    from pyarrow import parquet

    schema = reader.metadata.schema
    kinds = {schema.column(i).path: schema.column(i).physical_type for i in range(len(schema))}
    old = [name for name in names if kinds.get(name) == "INT96"]
    if not old:
        yield from batches
        return
    with file.random_access() as source:
        coarse = parquet.ParquetFile(source, **{**sparing(file), "coerce_int96_timestamp_unit": "ms"})
        fetch_together(file, source, reader.metadata, groups, old)
        far = _Rows(coarse.iter_batches(rows, row_groups=groups, columns=old))
        for batch in batches:
            table = far.take(len(batch))
            for name in old:
                ms = table.column(name).combine_chunks()
                us, ms_raw = whole_numbers(batch.column(name)), whole_numbers(ms)
                times = from_numpy(np.where(np.abs(ms_raw) < 2**53, us, scale(ms_raw, 1000))).cast(pa.timestamp("us"))
                i = batch.schema.get_field_index(name)
                batch = batch.set_column(i, name, with_nulls(times, ~present(ms)))
            yield batch


class _Rows:
    """Rows of some batches, however many are wanted at a time."""

    def __init__(self, batches: Iterator[pa.RecordBatch]) -> None:
        self._batches = batches
        self._rest: list[pa.RecordBatch] = []

    def take(self, n_rows: int) -> pa.Table:
        """The next rows; there have to be as many."""
        while sum(map(len, self._rest)) < n_rows:
            self._rest.append(next(self._batches))
        table = pa.Table.from_batches(self._rest)
        self._rest = table.slice(n_rows).to_batches()
        return table.slice(0, n_rows)


def _groups_in(metadata: Any, view: View, cfg: SamplesConfig, window: Window, tally: Tally) -> list[int]:
    timezone = zone(cfg.timezone)
    events = _bounds(metadata, cfg.event_time, view, timezone)
    name = cfg.label_deadline if cfg.has_deadline else cfg.label_time
    labels = _bounds(metadata, name, view, timezone) if name and cfg.of_unfinal != AT_ONCE else [None] * len(events)
    groups = []
    for i, (event, known) in enumerate(zip(events, labels, strict=True)):
        if event is not None:
            tally.spans(*event)
        if window.may_hold(event, known):
            groups.append(i)
        elif (later := window.waits(event, known)) is not None:
            tally.waits_until(later)
    return groups


def _bounds(metadata: Any, name: str, view: View, timezone: tzinfo) -> list[tuple[int, int] | None]:
    """Least and greatest time of each row group, where its statistics say them."""
    inside, n_columns = view.inside(name), metadata.num_columns
    if inside is None:
        return [None] * metadata.num_row_groups
    index = next((i for i in range(n_columns) if metadata.schema.column(i).path == inside), None)
    found: list[tuple[int, int] | None] = []
    for i in range(metadata.num_row_groups):
        chunk = metadata.row_group(i).column(index)
        # INT96 are bytes to whoever orders them: what their least and greatest are is anybody's guess.
        if chunk.physical_type != "INT96" and chunk.is_stats_set and chunk.statistics.has_min_max:
            low, high = chunk.statistics.min_raw, chunk.statistics.max_raw
            found.append(statistics_us(low, high, view.schema.field(name).type, timezone))
        else:
            found.append(None)
    return found
