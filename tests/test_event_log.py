"""The log: every event is one line that can be read again, and no stream that fails stops a job."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import count

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gbdtlr.cli.log import Log, to_json

START = datetime(2013, 2, 15, 6, tzinfo=UTC)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Broken(io.StringIO):
    def write(self, _text: str) -> int:
        raise BrokenPipeError


def ticking() -> Iterator[datetime]:
    return (START + timedelta(seconds=n) for n in count())


def log_on(stream: io.StringIO, style: str, quiet: bool = False) -> Log:
    return Log(stream, style, ticking().__next__, quiet)


@given(st.dictionaries(st.text(max_size=8), JSON, max_size=4))
def test_every_event_is_one_line_of_json(fields: dict[str, object]) -> None:
    stream = io.StringIO()
    fields = {name: value for name, value in fields.items() if name not in ("name", "self", "time", "event")}
    log_on(stream, "json").event("samples.read", **fields)
    line = stream.getvalue()
    assert line.count("\n") == 1
    assert line.isascii()
    values = json.loads(line, parse_constant=pytest.fail)
    assert list(values)[:2] == ["time", "event"]
    assert set(values) == {"time", "event", *fields}


@given(st.dictionaries(st.text(max_size=8).filter(str.isidentifier), JSON, max_size=4))
def test_every_event_is_one_line_of_text(fields: dict[str, object]) -> None:
    stream = io.StringIO()
    log_on(stream, "text").event("x", **{f"_{name}": value for name, value in fields.items()})
    assert stream.getvalue().endswith("\n")
    assert stream.getvalue()[:-1].isprintable()


def test_text_lines_are_read_by_eye_and_by_machine() -> None:
    stream = io.StringIO()
    fit = {"ne": 0.123456789, "rows": 3}
    log_on(stream, "text").event("head.fit", rows=6123, seconds=0.12, why="two words", fit=fit, none=None)
    assert stream.getvalue() == (
        '2013-02-15T06:00:01Z head.fit rows=6123 seconds=0.12 why="two words" fit.ne=0.123457 fit.rows=3 none=null\n'
    )


def test_json_says_everything_in_types_every_parser_knows() -> None:
    value = {
        "nan": float("nan"),
        "inf": np.float64("inf"),
        "count": np.int64(3),
        "flag": np.True_,
        "when": START,
        "long": timedelta(minutes=2),
        "tuple": (1, 2),
        3: "three",
        "other": 1j,
    }
    assert json.loads(to_json(value), parse_constant=pytest.fail) == {
        "nan": None,
        "inf": None,
        "count": 3,
        "flag": True,
        "when": "2013-02-15T06:00:00Z",
        "long": 120.0,
        "tuple": [1, 2],
        "3": "three",
        "other": "1j",
    }


@pytest.mark.parametrize("style", ["text", "json"])
def test_quiet_keeps_errors_only(style: str) -> None:
    stream = io.StringIO()
    log = log_on(stream, style, quiet=True)
    log.event("samples.read", rows=1)
    log.progress("trees.progress")(5, 10, "")
    assert stream.getvalue() == ""
    log.error("no\nsuch  file", 1)
    assert "no such file" in stream.getvalue()
    assert stream.getvalue().count("\n") == 1


def test_errors_say_whose_they_are() -> None:
    stream = io.StringIO()
    log_on(stream, "text").error("it broke", 1)
    assert stream.getvalue() == "gbdtlr: error: it broke\n"
    stream = io.StringIO()
    log_on(stream, "json").error("it broke", 4)
    assert json.loads(stream.getvalue()) == {
        "time": "2013-02-15T06:00:01Z",
        "event": "error",
        "message": "it broke",
        "exit_code": 4,
    }


@pytest.mark.parametrize("style", ["text", "json"])
@pytest.mark.parametrize("closed", [False, True], ids=["broken", "closed"])
def test_a_stream_that_fails_stops_nothing(style: str, closed: bool) -> None:
    stream = io.StringIO() if closed else Broken()
    log = log_on(stream, style)
    if closed:
        stream.close()
    log.event("x")
    log.progress("x")(1, 1, "")
    log.error("x", 1)
    log.failure("x")
    log.close()


def test_elsewhere_than_on_a_terminal_progress_is_a_line_at_each_tenth() -> None:
    stream = io.StringIO()
    told = log_on(stream, "text").progress("trees.progress")
    for done in range(1, 81):
        told(done, 80, "")
    lines = stream.getvalue().splitlines()
    assert len(lines) == 10
    assert lines[0].endswith("trees.progress done=8 total=80")
    assert lines[-1].endswith("trees.progress done=80 total=80")


def test_json_lines_stay_json_on_a_terminal() -> None:
    stream = Terminal()
    told = log_on(stream, "json").progress("trees.progress")
    for done in range(1, 4):
        told(done, 3, "loss 0.5")
    assert [json.loads(line)["text"] for line in stream.getvalue().splitlines()] == ["loss 0.5"] * 3


def test_on_a_terminal_a_bar_grows_and_says_what_remains() -> None:
    stream = Terminal()
    told = log_on(stream, "text").progress("trees.progress")
    for done in range(1, 5):
        told(done, 4, "loss 0.5")
    drawn = stream.getvalue().split("\r\x1b[K")
    assert drawn[0] == ""
    assert drawn[1] == "[######------------------] 1/4  3s left  loss 0.5"
    assert drawn[2] == "[############------------] 2/4  2s left  loss 0.5"
    assert drawn[-1] == ""  # the bar is gone when it is full


def test_what_remains_is_told_by_the_steps_that_took_time() -> None:
    stream = Terminal()
    told = log_on(stream, "text").progress("replay.progress")
    for done in (60, 61, 62):
        told(done, 100, "")
    drawn = [line.split("] ")[1].strip() for line in stream.getvalue().split("\r\x1b[K")[1:]]
    assert drawn == ["60/100", "61/100  1m18s left", "62/100  57s left"], "2 s for one of 39, 3 s for two of 38"


def test_lines_do_not_run_into_the_bar() -> None:
    stream = Terminal()
    log = log_on(stream, "text")
    log.progress("trees.progress")(1, 4, "")
    log.event("x")
    assert stream.getvalue().split("\r\x1b[K")[-1] == "2013-02-15T06:00:03Z x\n"
    log.progress("trees.progress")(1, 4, "")
    log.close()
    assert stream.getvalue().endswith("\r\x1b[K")


def test_the_last_event_of_a_job_says_how_long_it_took() -> None:
    stream = io.StringIO()
    log_on(stream, "json").end("job.published", release=3)
    assert json.loads(stream.getvalue())["seconds"] == 1.0
