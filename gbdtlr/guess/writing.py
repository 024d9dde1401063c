"""Writing: a commented config of what the columns were taken for, and what to do next."""

from __future__ import annotations

import json
import shlex
import textwrap
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta

from gbdtlr.config import Config
from gbdtlr.errors import ConfigError
from gbdtlr.guess.logs import logs_of, meaning_of_logs
from gbdtlr.guess.looking import FILES, Look, is_named_like_values, look
from gbdtlr.guess.meaning import Meaning, Outcomes, meaning_of
from gbdtlr.guess.places import partition_of, partition_of_others
from gbdtlr.samples.finding import find_files
from gbdtlr.times import format_duration, format_time, from_us

_WIDTH = 118


@dataclass(frozen=True)
class Guess:
    """A config, and what a person should know of it.

    Attributes
    ----------
    config : where it was written
    files, looked, rows : how many files there are, how many of them were looked at, and of how many rows
    left_out : columns that are no features, and why
    unsure : what to look at in it
    next : the command to run
    """

    config: str
    files: int
    looked: int
    rows: int
    meaning: Meaning
    next: str

    def as_dict(self) -> dict[str, object]:
        """The same in JSON's types."""
        told = {
            "config": self.config,
            "files": self.files,
            "looked": self.looked,
            "rows": self.rows,
            "left_out": self.meaning.left_out,
            "unsure": self.meaning.unsure,
            "next": self.next,
        }
        return dict(told)

    def text(self) -> str:
        """The same for people."""
        lines = [f"wrote {self.config} after a look at {self.rows} rows in {self.looked} of {self.files} files"]
        lines += [f"left out: {name}: {why}" for name, why in self.meaning.left_out.items()]
        lines += [f"unsure: {each}" for each in self.meaning.unsure]
        return "\n".join([*lines, f"next: {self.next}"])


def write_config(
    paths: Sequence[str], output: str, label: str | None = None, event_time: str | None = None, store: str = "store"
) -> Guess:
    """Look at files, and write a config that trains on them as it stands.

    Parameters
    ----------
    output : the file to write, which is not there yet
    label, event_time : columns that are known to be these

    Raises
    ------
    ConfigError
        The output is there already, or cannot be written.
    SamplesError
        The files cannot be read, or have nothing that can be learned from.
    """
    logs = logs_of(*(look([path], 8 * FILES) for path in paths)) if len(paths) == 2 and label is None else None
    looked = look(paths) if logs is None else logs.impressions
    meaning = meaning_of(looked, label, event_time) if logs is None else meaning_of_logs(logs, event_time)
    partition = partition_of(looked, meaning.event_time)
    meaning.unsure += list(_doubts(looked, meaning, partition))
    if logs is None or meaning.outcomes is None:
        text = config_text(paths, meaning, partition, store)
    else:
        first, second = paths if logs.impressions.files[0] in find_files(paths[:1]) else reversed(paths)
        text = config_text([first], meaning, partition, store)
        placed = partition_of(logs.outcomes, meaning.outcomes.time)
        text += outcomes_text(second, logs.key, meaning.outcomes, placed)
    Config.from_dict(tomllib.loads(text))
    try:
        with open(output, "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise ConfigError(f"{output} is there already; name another file with -o, or move it away") from None
    except OSError as error:
        raise ConfigError(f"cannot write {output}: {error.strerror}; name another place with -o") from None
    command = f"gbdtlr train-trees -c {shlex.quote(output)} --as-of {_as_of(looked, meaning)}"
    return Guess(output, len(looked.files), len(looked.looked), len(looked), meaning, command)


def _doubts(look: Look, meaning: Meaning, partition: str | None) -> Iterator[str]:
    """What in the files themselves may not be as it was meant."""
    texts = [file.path for file in look.looked if file.format == "csv"]
    if texts and (odd := [name for name in look.columns if is_named_like_values(name)]):
        yield f"columns are named {', '.join(odd)}: has {texts[0]} a header?"
    if partition is None and (wrong := partition_of_others(look, meaning.event_time)) is not None:
        yield (
            f"paths have dates, as {wrong} has them, but rows that were looked at happened at other times in UTC; if "
            "they are of another zone, write that as timezone, and partition"
        )


def _as_of(look: Look, meaning: Meaning) -> str:
    """The moment by which all labels that were looked at are known."""
    at = look.columns[meaning.label_time or meaning.event_time]
    assert at.us is not None
    delay = meaning.label_delay or timedelta()
    if meaning.outcomes is not None:
        delay = meaning.outcomes.window
    newest = from_us(int(at.us[at.there].max())) + delay
    return format_time(newest.replace(second=0, microsecond=0) + timedelta(minutes=1))


def config_text(paths: Sequence[str], meaning: Meaning, partition: str | None, store: str) -> str:
    """The config, which loads as it stands."""
    lines = [
        "# Written by gbdtlr init, which looked at some rows of the files: read it once, and change what is not so.",
        "# Every key that may be set is in docs/configuration.md; only [samples] has to be.",
        *_comment(*(f"Unsure: {each}" for each in meaning.unsure)),
        "",
        "# Where trees, heads and the release log are kept: a folder, or a bucket such as s3://models/clicks.",
        f"store = {_quoted(store)}",
        "",
        "[samples]",
        "# Files, folders or globs, or a table. Relative paths start at the current folder.",
        f"path = {_listed(list(paths)) if len(paths) > 1 else _quoted(paths[0])}",
    ]
    if partition is not None:
        lines += ["# Where in its path a file says which time it holds: files of other times are not opened."]
        lines += [f"partition = {_quoted(partition)}"]
    if meaning.key is None:
        lines += ["# The outcome, 0 or 1, and when the event happened.", f"label = {_quoted(meaning.label)}"]
    else:
        lines += [
            "# What an impression shares with its outcome, and when it happened.",
            f"key = {_quoted(meaning.key)}",
        ]
    lines += [f"event_time = {_quoted(meaning.event_time)}"]
    if meaning.label_time is not None:
        lines += ["# When the outcome became known: rows are learned from then on."]
        lines += [f"label_time = {_quoted(meaning.label_time)}"]
    elif meaning.label_delay is not None:
        lines += ["# How long after the event its outcome is final: rows are learned from then on."]
        lines += [f"label_delay = {_quoted(format_duration(meaning.label_delay))}"]
    lines += ["# The zone of times that carry none.", 'timezone = "UTC"']
    if meaning.weight is not None:
        lines += ["# How much a row counts.", f"weight = {_quoted(meaning.weight)}"]
    for name, told in (
        ("numeric", "Numbers, which the trees split on; they may be missing."),
        ("categorical", "Categories, which the trees split on."),
        ("wide", "Ids of many values, straight into the fast model, beside the leaves of the trees."),
        ("dense", "Numbers and lists of them that go linearly into the fast model."),
    ):
        if columns := getattr(meaning, name):
            lines += [f"# {told}", f"{name} = {_listed(columns)}"]
    lines += _comment(*(f"Left out: {name}: {why}." for name, why in meaning.left_out.items()))
    lines += [
        "",
        "[trees]",
        "# How far back the trees learn, every day or so. [trees.params] takes LightGBM's own parameters.",
        'window = "28d"',
        "",
        "[head]",
        "# How far back the fast model learns, every few minutes.",
        'window = "7d"',
    ]
    return "\n".join(lines) + "\n"


def outcomes_text(path: str, key: str, outcomes: Outcomes, partition: str | None) -> str:
    """The table of the outcomes."""
    lines = [
        "",
        "[outcomes]",
        "# Where the outcomes are: an impression is a 1 where one of its key came within the window, and else a 0.",
        f"path = {_quoted(path)}",
        *([] if partition is None else [f"partition = {_quoted(partition)}"]),
        f"key = {_quoted(key)}",
        f"time = {_quoted(outcomes.time)}",
    ]
    if outcomes.landed_time is not None:
        lines += ["# When an outcome could be read.", f"landed_time = {_quoted(outcomes.landed_time)}"]
    lines += ["# How long an outcome is waited for.", f"window = {_quoted(format_duration(outcomes.window))}"]
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _listed(names: list[str]) -> str:
    whole = "[" + ", ".join(map(_quoted, names)) + "]"
    if len(whole) <= _WIDTH - 12:
        return whole
    return "[\n" + "".join(f"    {_quoted(name)},\n" for name in names) + "]"


def _comment(*texts: str) -> list[str]:
    return [
        line
        for text in texts
        for line in textwrap.wrap(" ".join(text.split()), _WIDTH, initial_indent="# ", subsequent_indent="#   ")
    ]
