"""Parquet: batches of the needed columns, from the row groups that can hold rows of the window."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import tzinfo
from typing import Any

import pyarrow as pa

from gbdtlr.config import SamplesConfig
from gbdtlr.samples.columns import check_columns, needed_columns, text_columns
from gbdtlr.samples.files import File
from gbdtlr.samples.window import Tally, Window
from gbdtlr.times import zone
from gbdtlr.values.arrays import is_string
from gbdtlr.values.times import statistics_us

# Column chunks are read through a buffer of this size instead of whole: row groups may be as large as the file.
_BUFFER = 1 << 16


def parquet_batches(
    file: File, cfg: SamplesConfig, window: Window, tally: Tally, batch_rows: int
) -> Iterator[pa.RecordBatch]:
    """Batches of ``file`` with the needed columns; row groups that lie outside of ``window`` are not read."""
    from pyarrow import parquet

    with file.random_access() as source:
        reader = parquet.ParquetFile(source, **sparing(file))
        schema = reader.schema_arrow
        check_columns(schema, cfg, file.path)
        texts = [name for name in text_columns(cfg) if is_string(schema.field(name).type)]
        if texts:
            reader = parquet.ParquetFile(source, metadata=reader.metadata, read_dictionary=texts, **sparing(file))
        groups = _groups_in(reader.metadata, schema, cfg, window, tally)
        if groups:
            yield from reader.iter_batches(batch_rows, row_groups=groups, columns=list(needed_columns(cfg)))


def sparing(file: File) -> dict[str, Any]:
    """How a ``ParquetFile`` reads row groups of any size in little memory, or, in a bucket, in few requests."""
    return {"buffer_size": 0, "pre_buffer": True} if file.remote else {"buffer_size": _BUFFER, "pre_buffer": False}


def _groups_in(metadata: Any, schema: pa.Schema, cfg: SamplesConfig, window: Window, tally: Tally) -> list[int]:
    timezone = zone(cfg.timezone)
    events = _bounds(metadata, cfg.event_time, schema, timezone)
    labels = _bounds(metadata, cfg.label_time, schema, timezone) if cfg.label_time else [None] * len(events)
    groups = []
    for i, (event, known) in enumerate(zip(events, labels, strict=True)):
        if event is not None:
            tally.spans(*event)
        if window.may_hold(event, known):
            groups.append(i)
    return groups


def _bounds(metadata: Any, name: str, schema: pa.Schema, timezone: tzinfo) -> list[tuple[int, int] | None]:
    """Least and greatest time of each row group, where its statistics say them."""
    n_columns = metadata.num_columns
    index = next((i for i in range(n_columns) if metadata.schema.column(i).path == name), None)
    found = []
    for i in range(metadata.num_row_groups):
        chunk = metadata.row_group(i).column(index)
        if chunk.is_stats_set and chunk.statistics.has_min_max:
            low, high = chunk.statistics.min_raw, chunk.statistics.max_raw
            found.append(statistics_us(low, high, schema.field(name).type, timezone))
        else:
            found.append(None)
    return found
