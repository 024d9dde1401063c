"""The stream job on standard input, or topics of Kafka: ``learn``."""

from __future__ import annotations

import os
import select
import signal
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click

from gbdtlr.cli import kafka as kafka_options
from gbdtlr.cli import outcome
from gbdtlr.cli.jobs import finish
from gbdtlr.cli.session import Session, by, duration, reason, wall_clock, with_config

if TYPE_CHECKING:
    from gbdtlr.jobs import JobResult
    from gbdtlr.streams.asked import Asked

_PIECE = 1 << 16
_LOOK_EVERY_S = 0.5
_MOST_AT_STOP = 1 << 20
_LONGEST = 1 << 20
"""Bytes of a line, which is cut there, and no JSON any more: one without an end would fill the memory."""
NOTHING_LEARNED = 1
_STOPS = (signal.SIGTERM, signal.SIGINT)


@click.command("learn")
@duration("--publish-every", default="60s", show_default=True, help="Publish what was learned so often.")
@click.option("--publish-samples", type=click.IntRange(min=1), metavar="N", help="Publish after so many samples, too.")
@reason
@outcome.metrics
@with_config
@kafka_options.options
def learn(
    session: Session, publish_every: timedelta, publish_samples: int | None, reason: str, kafka: Asked | None
) -> int:
    """Learn JSON lines from standard input, or from Kafka, as they come.

    What was learned is published every so often.

    One line is one sample: a JSON object of the features and the label, sent once the label is final. [head] method
    must be ftrl, rda or fobos. Ends with the input, or on SIGTERM or Ctrl-C: whatever has come by then is learned and
    published first. Lines that are no sample are counted; if no line was one, it exits with 1.

    With --kafka and --topic each message is a line. Up to where they are learned is published with the head, so that
    each is learned once, whatever crashes.

    \b
    Example:
      tail -n +1 -F clicks.jsonl | gbdtlr learn -c configs/stream.toml --publish-every 30s
      gbdtlr learn -c configs/stream.toml --kafka broker-1:9092 --topic clicks
    """
    from gbdtlr.jobs.learn import learn

    def run(pieces: Any) -> JobResult:
        return learn(
            session.config,
            pieces,
            wall_clock,
            publish_every=publish_every,
            publish_samples=publish_samples,
            on_event=session.log.event,
            by=by(reason),
            on_result=session.tell_outcome,
        )

    with _stopping() as stop:
        if kafka is None:
            result = run(_pieces(sys.stdin.fileno(), stop))
        else:
            with closing(kafka_options.source(session, kafka, stop)) as source:
                result = run(source)
    again = "send them again" if kafka is None else "start it again"
    code = finish(session, result, f"if they are right, allow it under [guard] and {again}")
    if result.metrics["lines_refused"] and not result.samples:
        session.log.error(f"{result.reason}; mend the lines, or [samples]", NOTHING_LEARNED)
        return NOTHING_LEARNED
    return code


@contextmanager
def _stopping() -> Iterator[int]:
    """While inside, a signal to stop interrupts nothing: it makes the yielded file descriptor readable."""
    read, write = os.pipe()
    os.set_blocking(write, False)

    def note(*_: Any) -> None:
        os.write(write, b".")

    before = {each: signal.signal(each, note) for each in _STOPS}
    try:
        yield read
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
        os.close(read)
        os.close(write)


def _pieces(source: int, stop: int) -> Iterator[list[bytes]]:
    """Whole lines as they come, and an empty list now and then while none do; ends with the input or at ``stop``.

    What is in the pipe by then is handed on first, as it would be lost with it, but no more than any pipe holds. Half a
    line is not.
    """
    rest = b""
    stopped, n_left = False, _MOST_AT_STOP
    while n_left > 0:
        readable, _, _ = select.select([source] if stopped else [source, stop], [], [], 0 if stopped else _LOOK_EVERY_S)
        if stop in readable:
            stopped = True
        elif source in readable:
            piece = os.read(source, _PIECE)
            if not piece:
                break
            n_left -= len(piece) if stopped else 0
            end, *begun = piece.split(b"\n")
            rest = (rest + end)[:_LONGEST]
            if begun:
                lines, rest = [rest, *begun[:-1]], begun[-1]
                yield lines
            else:
                yield []
        elif stopped:
            return
        else:
            yield []
    if rest.strip() and not stopped:
        yield [rest]


COMMANDS = (learn,)
