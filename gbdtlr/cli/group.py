"""The group of all commands, and the one place where errors become a line on stderr and an exit code."""

from __future__ import annotations

import atexit
import contextlib
import gc
import os
import sys
import traceback
import warnings
from collections.abc import Sequence
from typing import NoReturn

import click

import gbdtlr
from gbdtlr.cli import compile as compiling
from gbdtlr.cli import decide, embeddings, explain, export, init, jobs, learn, operate, replay, score, serve
from gbdtlr.cli.outcome import Notifier
from gbdtlr.cli.session import Session
from gbdtlr.errors import GbdtlrError

USAGE, INTERRUPTED = 2, 130


class InOrder(click.Group):
    """Group that lists its commands in the order they are used in, not of the alphabet."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(self.commands)


@click.group(cls=InOrder, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(gbdtlr.__version__, prog_name="gbdtlr", message="%(prog)s %(version)s")
@click.pass_context
def group(ctx: click.Context) -> None:
    """Click models that stay fresh: LightGBM trees trained daily, a logistic regression on their leaves refitted
    every few minutes.

    \b
    Example:
      gbdtlr train-trees -c configs/flights.toml --as-of 2013-02-15
      gbdtlr update-lr   -c configs/flights.toml --as-of 2013-02-15T03:00
      gbdtlr score       -c configs/flights.toml data/flights/2013-02-15.parquet -o scores/2013-02-15.parquet
      gbdtlr status      -c configs/flights.toml

    \b
    Exit codes: 0 done, 1 error, 2 wrong usage or config, 4 refused by a guard or too old, 130 interrupted.
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help(), err=True)
        ctx.exit(USAGE)


for part in (init, jobs, learn, score, serve, export, operate, decide, embeddings, explain, replay, compiling):
    for command in part.COMMANDS:
        group.add_command(command)


def run() -> NoReturn:
    """Run the process's command line and end the process, whose whole life this is.

    A job from cron is over in less than a second, so nothing is done for a longer life: hardly any garbage is looked
    for, and the libraries are not taken apart object by object when all has been said and written.
    """
    gc.set_threshold(100_000)
    # Arrow's own allocator keeps what its threads let go; with the C library's, numpy has the use of it.
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    code = main(own_process=True)
    if "joblib" in sys.modules:  # its workers are sent home by the interpreter's own end
        sys.exit(code)
    atexit._run_exitfuncs()
    with contextlib.suppress(OSError):  # what could not be written was told when it was tried
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def main(args: Sequence[str] | None = None, own_process: bool = False) -> int:
    """Run one command line, by default the process's own, and return its exit code.

    Parameters
    ----------
    own_process : nothing but this command will run in the process
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by the caller; its number must not go to a file of the store
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 - open until the process ends
        if hasattr(getattr(sys, name), "reconfigure"):  # a reason in any script, where the terminal cannot show it
            getattr(sys, name).reconfigure(errors="backslashreplace")
    session = Session(own_process)
    session.watchers.append(Notifier(session).tell)
    with warnings.catch_warnings():
        warnings.showwarning = session.warn
        try:
            code = int(group.main(args, prog_name="gbdtlr", standalone_mode=False, obj=session) or 0)
        except Exception as error:
            code = _told(error, session)
        finally:
            session.log.close()
        session.tell_outcome(code=code)
        return code


def _told(error: Exception, session: Session) -> int:
    """Say what went wrong, and return the exit code."""
    if isinstance(error, click.Abort):  # click's name for Ctrl-C, but also for the end of any file
        if isinstance(error.__context__, EOFError):
            return _told(error.__context__, session)
        session.log.error("interrupted", INTERRUPTED)
        return INTERRUPTED
    if isinstance(error, click.ClickException):
        ctx = error.ctx if isinstance(error, click.UsageError) else None
        hint = f"; try {ctx.command_path} --help" if ctx else ""
        message, code = error.format_message().rstrip(".") + hint, USAGE
    elif isinstance(error, GbdtlrError):
        message, code = str(error), error.exit_code
    elif isinstance(error, MemoryError):
        message, code = "out of memory; shorten the windows of the config, or use a larger machine", 1
    elif isinstance(error, OSError):
        message, code = str(error), 1
    elif isinstance(error, UnicodeEncodeError):
        message, code = f"{error.object!r} cannot be written in this locale; set PYTHONUTF8=1", 1
    else:
        session.log.failure("".join(traceback.format_exception(error)))
        message, code = (
            f"{type(error).__name__}: {error}; this is a fault in gbdtlr, please report the lines above",
            1,
        )
    session.log.error(message, code)
    return code
