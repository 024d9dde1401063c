"""Rows of samples, written in every format the product reads."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import csv, parquet

from gbdtlr.config import SamplesConfig
from gbdtlr.samples.tables import read_tables

DAY = datetime(2024, 3, 1, tzinfo=UTC)
FOREVER = datetime(2100, 1, 1, tzinfo=UTC)
FORMATS = (".parquet", ".csv", ".csv.gz", ".csv.zst", ".jsonl", ".ndjson", ".json", ".jsonl.gz", ".jsonl.zst")


def config(path: Path | str | list[str], **changes: Any) -> SamplesConfig:
    """Config of the columns of :func:`rows`."""
    paths = tuple(path) if isinstance(path, list) else (str(path),)
    keys = {
        "path": paths,
        "event_time": "at",
        "label_time": "known_at",
        "numeric": ("price", "count"),
        "categorical": ("shop",),
        "wide": ("user",),
    }
    return SamplesConfig(**{**keys, **changes})


def rows(n: int = 8, start: datetime = DAY, step: timedelta = timedelta(hours=1)) -> pa.Table:
    """Row i happens i steps after the start, and is known half an hour later."""
    at = [start + i * step for i in range(n)]
    return pa.table(
        {
            "at": pa.array(at, pa.timestamp("us", "UTC")),
            "known_at": pa.array([t + timedelta(minutes=30) for t in at], pa.timestamp("us", "UTC")),
            "label": pa.array([i % 3 == 0 for i in range(n)]).cast(pa.int8()),
            "price": pa.array([None if i % 5 == 4 else i + 0.5 for i in range(n)], pa.float64()),
            "count": pa.array(range(n), pa.int32()),
            "shop": pa.array([None if i % 4 == 3 else ["NA", "007", "café"][i % 3] for i in range(n)]),
            "user": pa.array([f"u{i % 4}" for i in range(n)]),
            "unused": pa.array([f"x{i}" for i in range(n)]),
        }
    )


def with_column(table: pa.Table, name: str, values: Any) -> pa.Table:
    """The table with a column replaced."""
    column = values if isinstance(values, pa.Array | pa.ChunkedArray) else pa.array(values)
    return table.set_column(table.schema.get_field_index(name), name, column)


def write(table: pa.Table, path: Path, **options: Any) -> Path:
    """The table in a file, in the format its suffix says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    suffixes = "".join(path.suffixes[-2:] if path.suffix in (".gz", ".zst") else path.suffixes[-1:])
    if suffixes == ".parquet":
        parquet.write_table(table, path, **options)
        return path
    compression = {".gz": "gzip", ".zst": "zstd"}.get(path.suffix)
    with pa.output_stream(str(path), compression=compression) as sink:
        if suffixes.startswith(".csv"):
            csv.write_csv(table, sink)
        else:
            sink.write("".join(f"{line}\n" for line in _json_lines(table)).encode())
    return path


def _json_lines(table: pa.Table) -> list[str]:
    lines = []
    for row in table.to_pylist():
        plain = {k: v.isoformat() if isinstance(v, datetime) else v for k, v in row.items()}
        lines.append(json.dumps({k: v for k, v in plain.items() if v is not None}))
    return lines


def write_text(path: Path, text: str) -> Path:
    """A text file, compressed if its name says so."""
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def whole(path: Path, numeric: Sequence[str] = ()) -> tuple[pa.Table, int]:
    """All rows of a file, whose tables are of one schema, and the number of these tables."""
    tables = list(read_tables(str(path), numeric))
    assert len({str(table.schema) for table in tables}) == 1
    return pa.concat_tables(tables), len(tables)
