"""SQL: the rows of a query as batches, asked for within the bounds of the window. The only door to DuckDB."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

import pyarrow as pa
import pyarrow.types as pt

from gbdtlr.compute.threads import n_threads
from gbdtlr.config import SamplesConfig
from gbdtlr.errors import ConfigError, SamplesError
from gbdtlr.samples.formats.columns import check_columns, needed_columns
from gbdtlr.samples.formats.file import SQL, File
from gbdtlr.samples.formats.lists import gathered, in_file, numbered_lists, with_lists
from gbdtlr.samples.window import Tally, Window
from gbdtlr.times import from_us, to_us, zone
from gbdtlr.values.times import times

_BEFORE = ("ATTACH", "CREATE", "DETACH", "LOAD", "PRAGMA", "SET", "VARIABLE_SET")
"""Kinds of statements that may stand before the query: they open what it reads, and change nothing in it."""
_CONNECT_S = 30
"""Seconds that PostgreSQL has to take a connection where nobody says otherwise: its library would wait for ever."""
_SLACK = timedelta(hours=26)  # of times without a zone: more than clocks differ from UTC, and than they are put back
_FIRST_US, _LAST_US = to_us(datetime(2, 1, 1, tzinfo=UTC)), to_us(datetime(9998, 12, 28, tzinfo=UTC))


def sql_batches(
    file: File, cfg: SamplesConfig, window: Window, tally: Tally, batch_rows: int, seen: set[str]
) -> Iterator[pa.RecordBatch]:
    """Batches of the answer to the query that ``file`` is, with the needed columns.

    Rows are ordered by the time of the event and then by all columns, so that the same rows give the same batches
    however the database works. Rows without that time are not read. Features are added to ``seen`` where there are
    rows.

    Raises
    ------
    ConfigError
        It is no query, or duckdb is not installed.
    SamplesError
        The database does not answer it.
    """
    with _asking(file, cfg.table), _opened(file, cfg.table) as (connection, query):
        schema = _reader(connection.sql(f"SELECT * FROM (\n{query}\n) LIMIT 0"), 1).schema
        lists = numbered_lists(schema.names, cfg)
        check_columns(with_lists(schema, lists), cfg, file)
        asked = _Asked(query, schema, cfg, window)
        columns = in_file(needed_columns(cfg), lists)
        answer = _reader(connection.sql(asked.rows([cfg.event_time, *columns])), batch_rows)
        n_rows = 0
        while (batch := _next(file, answer)) is not None:
            if len(batch):
                n_rows += len(batch)
                seen.update(cfg.features)
                yield gathered(batch, lists)
        if not n_rows and window.known_after_us is None:
            _note_ends(connection.sql(asked.ends()).to_arrow_table(), zone(cfg.timezone), tally)


@dataclass(frozen=True)
class _Asked:
    """What the database is asked for."""

    query: str
    schema: pa.Schema
    cfg: SamplesConfig
    window: Window

    def rows(self, columns: list[str]) -> str:
        """Rows that may be in the window and, where that matters, became known since."""
        names = ", ".join(map(_quoted, dict.fromkeys(columns)))
        return f"SELECT {names} FROM (\n{self.query}\n) AS asked WHERE {self._where()} ORDER BY ALL"

    def ends(self) -> str:
        """First and last time of an event."""
        at = _quoted(self.cfg.event_time)
        return f"SELECT min({at}), max({at}) FROM (\n{self.query}\n) AS asked"

    def _where(self) -> str:
        window, cfg = self.window, self.cfg
        after, delay = window.known_after_us, window.delay_us
        start = window.start_us
        if after is not None and delay is not None:
            # An hour and more is left for the second reading of times when clocks go back.
            start = max(start, after - delay - 2 * 3600 * 1_000_000)
        bounds = [self._compared(cfg.event_time, ">=", start), self._compared(cfg.event_time, "<", window.end_us)]
        if after is not None and cfg.label_time is not None and not cfg.has_deadline:
            # What is known before it happened is known when it happens.
            known = [self._compared(name, ">", after) for name in (cfg.label_time, cfg.event_time)]
            bounds += [f"({' OR '.join(each for each in known if each)})"] if all(known) else []
        return " AND ".join(bound for bound in bounds if bound) or "true"

    def _compared(self, name: str, sign: str, us: int) -> str:
        """A comparison that every row meets whose time is so; empty for columns that the database cannot compare."""
        kind = self.schema.field(name).type
        moment = from_us(min(max(us, _FIRST_US), _LAST_US))
        if pt.is_timestamp(kind) and kind.tz is not None:
            return f"{_quoted(name)} {sign} TIMESTAMPTZ '{moment:%Y-%m-%d %H:%M:%S.%f}+00'"
        if not pt.is_timestamp(kind) and not pt.is_date(kind):
            return ""
        if zone(self.cfg.timezone) is not UTC:
            moment += _SLACK if sign == "<" else -_SLACK
        return f"{_quoted(name)} {sign} TIMESTAMP '{moment:%Y-%m-%d %H:%M:%S.%f}'"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


@contextmanager
def _opened(file: File, table: str) -> Iterator[tuple[Any, str]]:
    """A connection in which all that stands before the query has been done, and the query."""
    import duckdb

    if "postgres" in file.path.lower():
        # Left as it is afterwards: other queries of this process may be connecting. What a query says itself wins.
        os.environ.setdefault("PGCONNECT_TIMEOUT", str(_CONNECT_S))
    with tempfile.TemporaryDirectory(prefix="gbdtlr-sql-") as folder:
        connection = duckdb.connect(config={"threads": n_threads(), "temp_directory": folder})
        try:
            connection.execute("SET TimeZone = 'UTC'")
            statements = connection.extract_statements(file.path.removeprefix(SQL))
            if not statements or statements[-1].type.name != "SELECT":
                raise ConfigError(f"[{table}] path {file.path}: the last statement must be a SELECT")
            *before, query = statements
            for statement in before:
                if statement.type.name not in _BEFORE:
                    raise ConfigError(
                        f"[{table}] path {file.path}: {statement.type.name} may not stand before the query; "
                        f"only {', '.join(_BEFORE)} may"
                    )
                connection.execute(statement)
            yield connection, query.query.strip().rstrip(";")
        finally:
            connection.close()


@contextmanager
def _asking(file: File, table: str) -> Iterator[None]:
    """Say in one line what is wrong with a query that is not answered inside."""
    try:
        import duckdb
    except ImportError:
        raise ConfigError("a path that begins with sql: needs duckdb; pip install 'gbdtlr[duckdb]'") from None
    try:
        yield
    except duckdb.ParserException as error:
        raise ConfigError(f"[{table}] path {file.path}: {_words(error)}") from None
    except duckdb.Error as error:
        words = _words(error)
        raise SamplesError(f"{file.path}: {words}; {_remedy(words)}") from None


def _remedy(words: str) -> str:
    """What to do about an error of DuckDB's."""
    if missing := re.search(r"[Ee]xtension \"(\w+)\"", words):
        return f"fetch it once: INSTALL {missing[1]} in DuckDB"
    if re.search(r"(unable|failed) to connect", words, re.IGNORECASE):
        return "see that the database answers, and lets this user in"
    return "mend the query, or what it reads"


def _words(error: Exception) -> str:
    return " ".join(re.split(r"\n\s*LINE \d", str(error))[0].split())[:400].rstrip(".")


def _reader(answer: Any, batch_rows: int) -> Any:
    """The answer as a stream of batches, by the name that the version of DuckDB has for that."""
    read = getattr(answer, "to_arrow_reader", None) or answer.fetch_arrow_reader
    return read(batch_rows)


def _next(file: File, answer: Any) -> pa.RecordBatch | None:
    try:
        return answer.read_next_batch()
    except StopIteration:
        return None
    except (pa.ArrowException, OSError) as error:  # what DuckDB's streams make of its errors
        raise SamplesError(f"{file.path}: {_words(error)}; mend the query, or what it reads") from None


def _note_ends(ends: pa.Table, timezone: tzinfo, tally: Tally) -> None:
    """Note between which times there are events at all."""
    moments = [times(ends.column(i).combine_chunks(), timezone) for i in range(2)]
    if all(known[0] for _, known, _ in moments):
        tally.spans(*(int(us[0]) for us, _, _ in moments))
