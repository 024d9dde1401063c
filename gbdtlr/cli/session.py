"""The session: what the common options of one command line say, and the two streams it answers on."""

from __future__ import annotations

import contextlib
import faulthandler
import functools
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from gbdtlr import tables
from gbdtlr.cli.log import FORMATS, Log, to_json
from gbdtlr.config import Config, NotifyConfig, ServeConfig, check_engine
from gbdtlr.errors import ConfigError, GbdtlrError
from gbdtlr.times import check_length, check_moment, parse_duration, parse_time

if TYPE_CHECKING:
    from gbdtlr.engine import Engine
    from gbdtlr.jobs import JobResult
    from gbdtlr.jobs.by import By
    from gbdtlr.store import Store

PIPE_CLOSED = 141  # what a shell says of a command that SIGPIPE ended
Function = Callable[..., Any]


def wall_clock() -> datetime:
    """The time now; the only place where gbdtlr asks for it."""
    return datetime.now(UTC)


class Session:
    """One command line: its config and store, its log on stderr, its result on stdout."""

    def __init__(self, own_process: bool = False) -> None:
        self.own_process = own_process
        self.log = Log(sys.stderr, "text", wall_clock)
        self._stdout = sys.stdout
        self._json = False
        self._config: Config | None = None
        self._store_url: str | None = None
        self.begun = False
        self.command = ""
        self.watchers: list[Callable[[JobResult | None, int], object]] = []
        self.candidate = False
        self._job_result: JobResult | None = None

    def begin(self, config_file: str | None, store_url: str | None, as_json: bool, style: str, quiet: bool) -> None:
        """Take the common options."""
        self.begun, self._store_url = True, store_url
        self.command = str(click.get_current_context().info_name)
        self.log = Log(sys.stderr, style, wall_clock, quiet)
        self._json = as_json
        self._config = Config.load(config_file) if config_file else None
        if self._config and store_url:
            self._config = self._config.replace(store=store_url)
        self._store_url = self._config.store if self._config else store_url

    @property
    def config(self) -> Config:
        """The config of a command that requires one."""
        if self._config is None:
            raise ConfigError("this command needs a config: add -c FILE")
        return self._config

    def on(self, engine: str | None) -> Config:
        """The config of a command that requires one, with the engine that ``--engine`` names."""
        return self.config if engine is None else self.config.replace(engine=engine, workers=self._workers(engine))

    def _workers(self, engine: str) -> int | None:
        return None if engine == "local" or self._config is None else self._config.workers

    def engine(self, name: str | None) -> contextlib.closing[Engine]:
        """The engine that ``--engine`` or else the config names, for as long as one is inside."""
        from gbdtlr.engine import open_engine

        name = check_engine(name or (self._config.engine if self._config else "local"))
        opened = open_engine(name, threads=self.threads, workers=self._workers(name), on_event=self.log.event)
        return contextlib.closing(opened)

    @property
    def serving(self) -> ServeConfig:
        """How to serve, by the config where there is one."""
        return self._config.serve if self._config else ServeConfig()

    @property
    def notified(self) -> NotifyConfig:
        """Who is told how it ends, by the config where there is one that can be read."""
        return self._config.notify if self._config else NotifyConfig()

    @property
    def threads(self) -> int | None:
        """Threads of the numerical work, by the config where there is one."""
        return self._config.threads if self._config else None

    @property
    def store_url(self) -> str:
        """Where the store is, by ``--store`` or else by the config."""
        if self._store_url is None:
            raise ConfigError("no store is named: add -c FILE or --store URL")
        return self._store_url

    @property
    def store_if_known(self) -> str:
        """Where the store is; empty where neither an option nor a config that could be read said so."""
        return self._store_url or ""

    def clock(self) -> datetime:
        """The time now, to date what is told of the command with."""
        return wall_clock()

    def ended(self, result: JobResult) -> None:
        """Keep what a job came to, for its outcome."""
        self._job_result = result

    def tell_outcome(self, result: JobResult | None = None, code: int = 0) -> None:
        """Tell those who watch how the job has ended, with which exit code, or how one without an end does so far."""
        for watcher in self.watchers if self.begun else ():  # not of --help, nor of a command line that is none
            watcher(self._job_result if result is None else result, code)

    def store(self) -> Store:
        """The store, opened."""
        from gbdtlr.store import Store

        return Store.open(self.store_url)

    def moment(self, option: str, text: str) -> datetime:
        """Time an option gives, in the config's time zone where it names none."""
        try:
            return check_moment(parse_time(text, self._config.samples.timezone if self._config else "UTC"))
        except ConfigError as error:
            raise ConfigError(f"{option}: {error}") from None

    def now(self, as_of: str | None) -> datetime:
        """What ``--as-of`` says, else the wall clock, which each command asks once."""
        return self.moment("--as-of", as_of) if as_of else wall_clock()

    def warn(self, message: Warning | str, category: type[Warning], *_where: Any, **_more: Any) -> None:
        """A library's warning, as an event."""
        self.log.event("warning", kind=category.__name__, message=str(message))

    def result(self, value: object, text: Callable[[], str]) -> None:
        """Write the result of the command on stdout: ``value`` with ``--json``, else the text for people."""
        self.print(to_json(value) if self._json else text())

    def print(self, text: str) -> None:
        """Write to stdout; where nobody reads any more, end quietly."""
        try:
            self._stdout.write(text + "\n")
            self._stdout.flush()
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._stdout.fileno())  # or Python complains when it ends
            raise click.exceptions.Exit(PIPE_CLOSED) from None

    def table(self, header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
        """Table as wide as the terminal, if it is one."""
        return tables.table(header, rows, self._width())

    def pairs(self, rows: Sequence[tuple[str, str]]) -> str:
        """Names and values as wide as the terminal, if it is one."""
        return tables.pairs(rows, self._width())

    def _width(self) -> int | None:
        return shutil.get_terminal_size().columns if self._stdout.isatty() else None


def duration(*names: str, **attributes: Any) -> Callable[[Function], Function]:
    """Option such as ``90s``, ``15m``, ``6h`` or ``28d``, converted; of one that may be repeated, all of them."""

    def convert(ctx: click.Context, param: click.Parameter, value: Any) -> timedelta | tuple[timedelta, ...] | None:
        try:
            if isinstance(value, tuple):
                return tuple(check_length("it", parse_duration(each)) for each in value)
            return None if value is None else check_length("it", parse_duration(value))
        except ConfigError as error:
            raise click.BadParameter(str(error), ctx, param) from None

    return click.option(*names, metavar="DURATION", callback=convert, **attributes)


def release(about: str) -> Callable[[Function], Function]:
    """Option ``--release``: the number of a release, or ``candidate``."""

    def convert(ctx: click.Context, param: click.Parameter, value: str | None) -> int | str | None:
        if value is None or value == "candidate":
            return value
        if not value.isascii() or not value.isdigit() or not int(value):
            raise click.BadParameter(f"{value!r} is no number of a release, and not candidate", ctx, param)
        return int(value)

    return click.option("--release", metavar="N", callback=convert, help=about)


def durations(*names: str, **attributes: Any) -> Callable[[Function], Function]:
    """Option of one or several durations, such as ``1h,3h``."""

    def convert(ctx: click.Context, param: click.Parameter, value: str) -> tuple[timedelta, ...]:
        try:
            return tuple(check_length("it", parse_duration(each.strip())) for each in value.split(","))
        except ConfigError as error:
            raise click.BadParameter(str(error), ctx, param) from None

    return click.option(*names, metavar="DURATIONS", callback=convert, **attributes)


def with_config(function: Function) -> Function:
    """Common options of a command that cannot do without a config."""
    return _with_store(_answering(function), "TOML file that says everything else.", required=True)


def with_store(function: Function) -> Function:
    """Common options of a command that only needs a store."""
    return _with_store(_answering(function), "TOML file that names the store.", required=False)


def alone(function: Function) -> Function:
    """Common options of a command that needs neither."""
    command = _answering(function)

    @functools.wraps(command)
    def without_store(**options: Any) -> Any:
        return command(config_file=None, store_url=None, **options)

    return without_store


def reason(function: Function) -> Function:
    """The option ``--reason``."""
    return click.option("--reason", metavar="TEXT", default="", help="Why, for the log.")(function)


def by(reason: str) -> By:
    """Who runs this command line, for the log, which nothing below it asks."""
    from gbdtlr.jobs.by import By

    return By.here(reason)


def engine(function: Function) -> Function:
    """The option ``--engine``."""
    help_text = "Where to work, in place of the config's: local, ray or ray://HOST:PORT."
    return click.option("--engine", metavar="NAME", help=help_text)(function)


def as_of(what: str) -> Callable[[Function], Function]:
    """The option ``--as-of``."""
    return click.option("--as-of", metavar="TIME", help=f"{what}, in ISO 8601; now if not given.")


@contextlib.contextmanager
def _held_stderr() -> Iterator[None]:
    """While inside, hold what is written to stderr: LightGBM's core writes there what it then raises.

    After an error of ours, which says it again, it is dropped, and else passed on. A crash still shows its stack.
    Where there is no folder to hold it in, as in a container that may write nowhere, it is not held.
    """
    sys.stderr.flush()
    told = False
    with contextlib.ExitStack() as stack:
        held = None
        with contextlib.suppress(OSError):
            held = stack.enter_context(tempfile.TemporaryFile())
        if held is None:
            yield
            return
        stderr = os.dup(2)
        os.dup2(held.fileno(), 2)
        faulthandler.enable(stderr)
        try:
            yield
        except GbdtlrError:
            told = True
            raise
        finally:
            sys.stderr.flush()
            faulthandler.disable()
            os.dup2(stderr, 2)
            os.close(stderr)
            held.seek(0)
            if not told:
                # Where stderr cannot be written, the command has done its work all the same.
                with contextlib.suppress(OSError), open(2, "wb", closefd=False) as passed_on:
                    shutil.copyfileobj(held, passed_on)


def _with_store(command: Function, config_help: str, required: bool) -> Function:
    command = click.option(
        "--store", "store_url", metavar="URL", help="Store to use in place of the config's: a path or URL."
    )(command)
    return click.option("-c", "--config", "config_file", metavar="FILE", required=required, help=config_help)(command)


def _answering(function: Function) -> Function:
    @click.option("--json", "as_json", is_flag=True, help="Write the result as one line of JSON.")
    @click.option(
        "--log-format", "style", type=click.Choice(FORMATS), default="text", help="Lines on stderr, one per event."
    )
    @click.option("-q", "--quiet", is_flag=True, help="Write nothing but errors to stderr.")
    @functools.wraps(function)
    def command(
        *,
        config_file: str | None,
        store_url: str | None,
        as_json: bool,
        style: str,
        quiet: bool,
        **options: Any,
    ) -> Any:
        session: Session = click.get_current_context().obj
        session.begin(config_file, store_url, as_json, style, quiet)
        with contextlib.ExitStack() as stack:
            # What a library prints is no part of the result, and no error: where it fails, it raises one, too.
            printed = stack.enter_context(open(os.devnull, "w")) if quiet else sys.stderr
            stack.enter_context(contextlib.redirect_stdout(printed))
            if quiet and session.own_process:
                stack.enter_context(_held_stderr())
            return function(session, **options)

    return command
