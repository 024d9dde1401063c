"""Lakes: paths that name a table or a query instead of files, and the files or the rows they stand for.

``delta+PLACE`` and ``iceberg+CATALOG:TABLE`` name tables, whose snapshots list their files; ``?version=N`` and
``?snapshot=N`` behind them name one snapshot. ``sql:QUERY`` is a query of DuckDB.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from gbdtlr.config import Config
from gbdtlr.samples.formats.file import SQL, File
from gbdtlr.samples.keys import named_by

DELTA = "delta+"
ICEBERG = "iceberg+"


def is_table(path: str) -> bool:
    """Whether a path names a table or a query, and not files."""
    return path.startswith((DELTA, ICEBERG, SQL))


def table_files(path: str) -> list[File]:
    """The files of the table that a path names, as its snapshot lists them; a query is one of its own.

    Raises
    ------
    ConfigError
        The path is none of a table, or the library for it is not installed.
    NoSamplesError
        There is no such table, or no such version of it, or it has no files.
    SamplesError
        The table cannot be read, or not rightly.
    """
    if path.startswith(DELTA):
        from gbdtlr.samples.lakes.delta import delta_files

        return list(delta_files(path))
    if path.startswith(ICEBERG):
        from gbdtlr.samples.lakes.iceberg import iceberg_files

        return list(iceberg_files(path))
    return [File(path)]


def pinned(path: str) -> str:
    """The path with the snapshot that the table has now, if it names none; raises as :func:`table_files`."""
    if path.startswith(DELTA):
        from gbdtlr.samples.lakes.delta import delta_pinned

        return delta_pinned(path)
    if path.startswith(ICEBERG):
        from gbdtlr.samples.lakes.iceberg import iceberg_pinned

        return iceberg_pinned(path)
    return path


def at_snapshots(config: Config) -> Config:
    """The config with the snapshots that its tables have now, so that all of a job reads the same, and can do so again.

    Raises
    ------
    GbdtlrError
        A table that is not there, or cannot be read.
    """
    changes: dict[str, Any] = {}
    for key in ("samples", "outcomes"):
        part = getattr(config, key)
        if part is not None and any(map(is_table, part.path)):
            with named_by(f"[{key}] path"):
                changes[key] = dataclasses.replace(part, path=tuple(map(pinned, part.path)))
    return config.replace(**changes) if changes else config
