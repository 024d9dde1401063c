"""The log: one line per event on stderr, in text for people or JSON for machines, and a bar on a terminal."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any, TextIO

from gbdtlr.times import format_duration, format_time

FORMATS = ("text", "json")
_BAR_WIDTH = 24


def to_json(value: Any) -> str:
    """JSON on one line that every parser reads: NaN and infinities null, times ISO 8601, durations seconds."""
    return json.dumps(_plain(value), allow_nan=False)


class Log:
    """Writes events to a stream, and never raises: no job fails because nobody reads its log.

    Parameters
    ----------
    stream : where lines go, usually stderr; a bar shows progress if it is a terminal
    style : one of ``FORMATS``
    clock : says what time it is, for the lines' stamps and for what remains
    quiet : write errors only
    """

    def __init__(self, stream: TextIO, style: str, clock: Callable[[], datetime], quiet: bool = False) -> None:
        self._stream = stream
        self._json = style == "json"
        self._clock = clock
        self._start = clock()
        self._quiet = quiet
        self._bar = not self._json and stream.isatty()
        self._bar_shown = False
        self.last_error = ""

    def event(self, name: str, **fields: Any) -> None:
        """One line: when, what, and the fields in the order given."""
        if not self._quiet:
            self._line(name, fields)

    def end(self, name: str, **fields: Any) -> None:
        """The last event of a job: as :meth:`event`, with the seconds since the log began."""
        self.event(name, **fields, seconds=(self._clock() - self._start).total_seconds())

    def error(self, message: str, exit_code: int) -> None:
        """The one line an error ends with, in text or JSON as the other lines."""
        one_line = self.last_error = " ".join(message.split())
        if self._json:
            self._line("error", {"message": one_line, "exit_code": exit_code})
        else:
            self._write(f"gbdtlr: error: {one_line}\n")

    def failure(self, traceback: str) -> None:
        """The traceback of an error that nobody foresaw."""
        if self._json:
            self._line("failure", {"traceback": traceback})
        else:
            self._write(traceback)

    def progress(self, name: str) -> Callable[[int, int, str], None]:
        """Callback ``(done, total, text)`` that draws a bar on a terminal, elsewhere a line at each tenth.

        It is called after each step. Where ``done`` grows by more, those steps had been done before.
        """
        start, n_kept, n_seen = self._clock(), 0, 0
        tenths_told = 0

        def told(done: int, total: int, text: str = "") -> None:
            nonlocal n_kept, n_seen, tenths_told
            if self._quiet or total < 1:
                return
            n_kept += done - n_seen if done > n_seen + 1 else 0
            n_seen = done
            if self._bar:
                self._draw(done, total, text, done - n_kept, self._clock() - start)
            tenths = 10 * done // total
            if tenths > tenths_told:
                tenths_told = tenths
                if not self._bar:
                    self._line(name, {"done": done, "total": total, **({"text": text} if text else {})})

        return told

    def close(self) -> None:
        """Leave the terminal on an empty line."""
        if self._bar_shown:
            self._write("")

    def _line(self, name: str, fields: Mapping[str, Any]) -> None:
        when = format_time(self._clock().replace(microsecond=0))
        if self._json:
            self._write(to_json({"time": when, "event": name, **fields}) + "\n")
        else:
            self._write(" ".join((when, name, *_words(fields))) + "\n")

    def _draw(self, done: int, total: int, text: str, n_new: int, spent: timedelta) -> None:
        """Bar of all steps; what remains is told by those ``n_new`` that took the time."""
        filled = _BAR_WIDTH * done // total
        left = spent * (total - done) / n_new if n_new else None
        remains = f"  {format_duration(timedelta(seconds=round(left.total_seconds())))} left" if left else ""
        line = f"[{'#' * filled:-<{_BAR_WIDTH}}] {done}/{total}{remains}  {_one_line(text)}"
        self._write("\r\x1b[K" + line[: shutil.get_terminal_size().columns - 1], bar=True)
        if done >= total:
            self._write("")

    def _write(self, text: str, bar: bool = False) -> None:
        clear = "\r\x1b[K" if self._bar_shown and not bar else ""
        self._bar_shown = bar
        try:
            self._stream.write(clear + text)
            self._stream.flush()
        except (OSError, ValueError):  # nobody reads, no space left, or closed
            return


def _words(fields: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """``key=value`` of each field; those of nested mappings by their dotted names."""
    for key, value in fields.items():
        if isinstance(value, Mapping):
            yield from _words(value, f"{prefix}{key}.")
        else:
            yield f"{_word(prefix + str(key))}={_word(_plain(value))}"


def _word(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, str):
        return value if value and value.isprintable() and not set(value) & set(' "=') else json.dumps(value)
    return json.dumps(value)


def _one_line(text: str) -> str:
    return "".join(letter if letter.isprintable() else " " for letter in text)


def _plain(value: Any) -> Any:
    """The value in JSON's types; numpy's scalars say theirs by ``item``."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(item) for item in value]
    if isinstance(value, datetime):
        return format_time(value)
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if value is None or isinstance(value, (bool, int, str)):
        return value
    return _plain(value.item()) if hasattr(value, "item") else str(value)
