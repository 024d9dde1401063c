"""Queries are read as files of the same rows are, and the database is asked for the window alone."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from datetime import timedelta
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest
from samples_kit import DAY, FOREVER, config, rows, write

from gbdtlr.errors import ConfigError, GbdtlrError, NoSamplesError, SamplesError, SchemaError
from gbdtlr.samples import Samples, Tally, read, read_batches
from gbdtlr.samples.formats.file import File
from gbdtlr.samples.lakes.passwords import without_passwords
from gbdtlr.samples.tables import open_sources

HOUR = timedelta(hours=1)


def same(a: Samples, b: Samples) -> None:
    assert a.event_us.tolist() == b.event_us.tolist()
    assert a.known_us.tolist() == b.known_us.tolist()
    assert a.label.tolist() == b.label.tolist()
    assert a.table.to_pydict() == b.table.to_pydict()


@pytest.mark.parametrize(
    "query",
    [
        "ATTACH 'host=db user=me password=hunter2' AS pg (READ_ONLY); SELECT * FROM pg.x",
        "ATTACH 'host=db passwd=''hunt er2''' AS my (READ_ONLY); SELECT 1",
        "CREATE SECRET (TYPE s3, KEY_ID 'me', SECRET 'hunter2'); SELECT * FROM nowhere",
        "SELECT * FROM nowhere WHERE password = 'hunter2' OR " + "price > 1 OR " * 99 + "true",
        "SELEC 'password=hunter2'",
    ],
)
def test_an_error_tells_the_beginning_of_the_query_and_no_password(query):
    with pytest.raises(GbdtlrError) as error:
        read(config(f"sql:{query}"), DAY, DAY + HOUR, FOREVER)
    told = str(error.value)
    assert "hunt" not in told
    assert query.split()[0] in told
    assert len(told) < 700


def test_what_looks_like_a_secret_and_is_none_is_told():
    query = "CREATE SECRET (TYPE s3); SELECT token FROM password WHERE secret IS NULL"
    assert without_passwords(query) == query
    assert without_passwords("ATTACH 'postgres://me:hunter2@db/shop'") == "ATTACH 'postgres://me:***@db/shop'"


@pytest.fixture
def database(tmp_path):
    """A database file with the rows, last ones first, as table ``events``, and a query of it."""
    table = rows(48)
    path = tmp_path / "d.duckdb"
    with duckdb.connect(str(path)) as connection:
        connection.register("given", table.take(list(range(47, -1, -1))))
        connection.execute("CREATE TABLE events AS SELECT * FROM given")
    return f"sql:ATTACH '{path}' AS d (READ_ONLY); SELECT * FROM d.events", table


def test_rows_of_a_database_are_those_of_a_file(database, tmp_path):
    path, table = database
    plain = config(write(table, tmp_path / "plain.parquet"))
    for end in (5 * HOUR, 99 * HOUR):
        for after in (None, DAY + 3 * HOUR + timedelta(minutes=30)):
            found = read(config(path), DAY + 2 * HOUR, DAY + end, FOREVER, known_after=after)
            same(found, read(plain, DAY + 2 * HOUR, DAY + end, FOREVER, known_after=after))


KINDS = ["TIMESTAMPTZ", "TIMESTAMP", "TIMESTAMP_NS", "VARCHAR", "DATE", "BIGINT"]
FAR = [("TIMESTAMP", "Pacific/Kiritimati"), ("DATE", "Pacific/Pago_Pago")]


@pytest.mark.parametrize(("kind", "timezone"), [*((kind, "America/New_York") for kind in KINDS), ("DATE", "UTC"), *FAR])
def test_times_of_every_type_are_in_the_window_or_not_as_in_files(tmp_path, database, kind, timezone):
    """The bounds the database is given leave nothing out, with a delay and where clocks change."""
    path, _ = database
    cast = 'epoch_ms("at")' if kind == "BIGINT" else f'CAST("at" AS {kind})'
    query = path.replace("SELECT *", f'SELECT * REPLACE ({cast} AS "at")')
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        setup, select = query.removeprefix("sql:").split("; ")
        connection.execute(setup)
        plain = write(connection.sql(f"{select} ORDER BY ALL").to_arrow_table(), tmp_path / "p.parquet")
    given = {"timezone": timezone, "label_time": None, "label_delay": timedelta(hours=1), "wide": ()}
    for start in (DAY, DAY + 7 * HOUR + timedelta(minutes=1)):
        for after in (None, DAY + 12 * HOUR):
            bounds = start, start + 20 * HOUR, FOREVER
            found, there = (
                [
                    row
                    for part in read_batches(config(path, **given), *bounds, known_after=after)
                    for row in zip(part.event_us.tolist(), part.table.column("count").to_pylist(), strict=True)
                ]
                for path in (query, plain)
            )
            assert sorted(found) == sorted(there)


def test_the_database_sends_the_window_alone(database):
    path, _ = database
    tally = Tally()
    assert len(read(config(path), DAY + 5 * HOUR, DAY + 7 * HOUR, FOREVER, tally=tally)) == 2
    assert tally.n_rows == 2
    tally = Tally()
    after = DAY + 40 * HOUR + timedelta(minutes=30)
    read(config(path), DAY, DAY + 99 * HOUR, FOREVER, known_after=after, tally=tally)
    assert tally.n_rows == 7


def test_what_stands_before_the_query_is_done(database):
    path, _ = database
    query = path.replace("SELECT * FROM", "CREATE VIEW v AS SELECT *, price * 2 AS twice FROM")
    query += "; SET threads = 1; WITH few AS (FROM v) SELECT * FROM few WHERE count < 20 -- ; no more"
    found = read(config(query, numeric=("twice",)), DAY, DAY + 99 * HOUR, FOREVER)
    assert len(found) == 20
    assert found.table.column("twice").to_pylist()[:2] == [1.0, 3.0]


def test_lists_and_numbers_of_all_kinds_are_read(database):
    path, _ = database
    query = path.replace("SELECT *", "SELECT *, [price, 1.5] AS v, sum(count) OVER () AS total, uuid() AS u")
    cfg = config(query, numeric=("total",), dense=("v",), wide=("u",))
    found = read(cfg, DAY, DAY + 2 * HOUR, FOREVER)
    assert found.table.column("total").to_pylist() == [sum(range(48))] * 2
    assert found.table.column("v").to_pylist() == [[0.5, 1.5], [1.5, 1.5]]


@pytest.mark.parametrize(
    ("query", "error", "words"),
    [
        ("sql:SELEC 1", ConfigError, "syntax error"),
        ("sql:", ConfigError, "the last statement must be a SELECT"),
        ("sql:CREATE TABLE t (i INT)", ConfigError, "the last statement must be a SELECT"),
        ("sql:CREATE TABLE t (i INT); INSERT INTO t VALUES (1); FROM t", ConfigError, "INSERT may not stand before"),
        ("sql:SELECT * FROM nowhere", SamplesError, "nowhere does not exist"),
        ("sql:SELECT 1 AS at", SchemaError, r"label is missing.*; mend the query, or \[samples\] in the config"),
        ("sql:ATTACH '/nowhere/x.duckdb' AS d (READ_ONLY); SELECT 1", SamplesError, "nowhere"),
    ],
)
def test_what_cannot_be_asked_is_told(query, error, words):
    with pytest.raises(error, match=words):
        read(config(query), DAY, DAY + HOUR, FOREVER)


def test_an_error_amid_the_answer_is_told(database):
    path, _ = database
    query = path.replace("SELECT *", "SELECT * REPLACE (CAST(shop AS INT) AS price)")
    with pytest.raises(SamplesError, match="Could not convert string"):
        read(config(query), DAY, DAY + 99 * HOUR, FOREVER)


def test_an_empty_window_tells_what_there_is(database):
    with pytest.raises(NoSamplesError, match="have events from 2024-03-01T00:00:00Z to 2024-03-02T23:00:00Z"):
        read(config(database[0]), DAY - 99 * HOUR, DAY - HOUR, FOREVER)


def test_a_query_is_no_file_to_score(database):
    with pytest.raises(SamplesError, match="write its answer to a parquet file, and name that"):
        open_sources([File(database[0])], {})


def test_nothing_is_left_in_the_current_folder(database, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = set(os.listdir())
    read(config(database[0]), DAY, DAY + 99 * HOUR, FOREVER)
    assert set(os.listdir()) == before


def test_rows_of_one_time_come_in_one_order(tmp_path):
    """Whatever the order in which they were written, and the number of threads."""
    table = rows(4000, step=timedelta(seconds=0))
    found = []
    for i, order in enumerate([range(4000), reversed(range(4000))]):
        path = write(table.take(list(order)), tmp_path / f"{i}.parquet")
        query = f"sql:SET threads = {i + 1}; SELECT * FROM read_parquet('{path}')"
        found.append(read(config(query), DAY, DAY + HOUR, FOREVER))
    same(*found)


def test_a_server_that_does_not_answer_is_waited_for_no_longer_than_half_a_minute(database, monkeypatch):
    """Or than whoever runs the job says; and only queries of PostgreSQL change anything."""
    name, path = "PGCONNECT_TIMEOUT", database[0]

    def after(query: str) -> str | None:
        read(config(query), DAY, DAY + HOUR, FOREVER)
        return os.environ.get(name)

    monkeypatch.setenv(name, "7")
    assert after(f"{path} -- as PostgreSQL had it") == "7"
    monkeypatch.delenv(name)
    assert after(path) is None
    assert after(f"{path} -- as PostgreSQL had it") == "30"


@pytest.fixture
def extension() -> None:
    """DuckDB's for PostgreSQL; without it, the test is skipped."""
    try:
        with duckdb.connect() as connection:
            connection.execute("SET autoinstall_known_extensions = false; LOAD postgres")
    except duckdb.Error as error:
        pytest.skip(f"DuckDB's postgres extension is not installed: {error}")


@pytest.mark.slow
@pytest.mark.usefixtures("extension")
def test_a_postgres_that_takes_no_connection_is_given_up(monkeypatch):
    monkeypatch.setenv("PGCONNECT_TIMEOUT", "")
    monkeypatch.delenv("PGCONNECT_TIMEOUT")
    monkeypatch.setattr("gbdtlr.samples.lakes.sql._CONNECT_S", 2)  # the least that its library takes
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        place = f"host=127.0.0.1 port={silent.getsockname()[1]} dbname=shop user=me password=hunter2"
        query = f"sql:LOAD postgres; ATTACH '{place}' AS pg (TYPE postgres, READ_ONLY); SELECT * FROM pg.public.clicks"
        with pytest.raises(SamplesError, match="timeout expired; see that the database answers, and lets") as caught:
            read(config(query), DAY, DAY + HOUR, FOREVER)
    assert "hunter2" not in str(caught.value)


@pytest.fixture
def postgres(extension):  # noqa: ARG001 - which it needs
    """A real PostgreSQL on a socket in a folder, with the rows; skipped where DuckDB has no extension for it."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    initdb = shutil.which("initdb") or (programs and shutil.which("initdb", path=str(programs[-1])))
    root = os.geteuid() == 0
    if not initdb or (root and "postgres" not in {user.pw_name for user in pwd.getpwall()}):
        pytest.skip("needs PostgreSQL, and a user for it other than root")
    with tempfile.TemporaryDirectory() as folder:
        if root:
            shutil.chown(folder, "postgres")
        as_user = {"check": True, "stdin": subprocess.DEVNULL, "cwd": folder, "user": "postgres" if root else None}
        control = [Path(initdb).parent / "pg_ctl", "-D", f"{folder}/data", "-w", "-l", f"{folder}/log"]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, **as_user}
        subprocess.run([initdb, "-D", f"{folder}/data", "-U", "me", "-A", "trust", "-N"], **quiet)
        subprocess.run([*control, "-o", f"-k {folder} -c listen_addresses= -c fsync=off", "start"], **quiet)
        yield f"host={folder} user=me dbname=postgres"
        subprocess.run([*control, "-m", "immediate", "stop"], **quiet)


def test_rows_of_postgres_are_those_of_a_file(postgres, tmp_path):
    table = rows(48)
    with duckdb.connect() as connection:
        connection.execute(f"ATTACH '{postgres}' AS pg (TYPE postgres)")
        connection.register("given", table)
        connection.execute("CREATE TABLE pg.public.events AS SELECT * FROM given")
    query = f"sql:ATTACH '{postgres}' AS pg (TYPE postgres, READ_ONLY); SELECT * FROM pg.public.events"
    found = read(config(query), DAY + 2 * HOUR, DAY + 9 * HOUR, FOREVER)
    same(found, read(config(write(table, tmp_path / "p.parquet")), DAY + 2 * HOUR, DAY + 9 * HOUR, FOREVER))
    assert isinstance(found.table, pa.Table)
