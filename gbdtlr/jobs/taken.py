"""Taken: what a window of samples says of its items - who took which, and which were shown on its last day."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gbdtlr.compute.parts import Parts
from gbdtlr.config import Config, SamplesConfig
from gbdtlr.embeddings import Counts, Events, Pairs, keys_of
from gbdtlr.embeddings.content import groups_of
from gbdtlr.engine import LOCAL, Engine
from gbdtlr.errors import ConfigError, SchemaError
from gbdtlr.jobs.window_parts import WindowParts
from gbdtlr.samples import Samples, Tally
from gbdtlr.times import to_us
from gbdtlr.values.hashing import U64

NEWEST = timedelta(days=1)
Keys = tuple[U64, NDArray[np.bool_]]


@dataclass(frozen=True)
class Taken:
    """What was read of a window.

    Attributes
    ----------
    events : positives; none where no user is named
    told : the rest, of all rows
    tally : what was come across in reading
    """

    events: Parts[Events]
    told: Told
    tally: Tally

    @classmethod
    def read(cls, config: Config, as_of: datetime, engine: Engine = LOCAL) -> Taken:
        """What is to be known for the embeddings of a config at ``as_of``.

        Parameters
        ----------
        engine : where samples are read, and positives are kept

        Raises
        ------
        ConfigError
            The columns of item or user are not named.
        SamplesError
            The samples cannot be read, or have no such ids.
        """
        settings = config.embeddings
        samples, user = columns_of(config), config.samples.user if settings.method == "pmi" else None
        window = settings.window if user is not None or settings.content else NEWEST
        columns = Columns(str(config.samples.item), user, settings.content)
        span, newest_us = (as_of - window, as_of), to_us(as_of - NEWEST)
        read = WindowParts.read(engine, samples, span, as_of, taken_of, columns, newest_us)
        return cls(read.parts.derive(events_of), read.parts.sum(told_of, zero=Told()), read.tally)


@dataclass(frozen=True)
class Told:
    """What is to be known of a window's rows beside its positives; ``a + b`` tells of both.

    Attributes
    ----------
    shown : rows of the last day by item
    n_newest : rows of the last day, those without an item among them
    content : which items were seen with which content
    n_rows, n_positives : of the window
    """

    shown: Counts = field(default_factory=Counts.none)
    n_newest: int = 0
    content: Pairs = field(default_factory=Pairs.none)
    n_rows: int = 0
    n_positives: int = 0

    def __add__(self, other: Told) -> Told:
        return Told(
            self.shown + other.shown,
            self.n_newest + other.n_newest,
            self.content + other.content,
            self.n_rows + other.n_rows,
            self.n_positives + other.n_positives,
        )


@dataclass(frozen=True)
class Columns:
    """Names of columns; no user where positives are not asked for."""

    item: str
    user: str | None
    content: tuple[str, ...]


def taken_of(batches: Iterator[Samples], columns: Columns, newest_us: int) -> tuple[Events, Told]:
    """What batches of rows say.

    Parameters
    ----------
    newest_us : when the last day begins
    """
    events, told = list[Events](), Told()
    for samples in batches:
        items, there = _keys(samples.table, columns.item)
        newest = samples.event_us >= newest_us
        positive = (samples.label == 1) & (samples.weight > 0) & there
        content = Pairs.none()
        if columns.user is not None:
            users, known = _keys(samples.table, columns.user)
            rows = positive & known
            events.append(Events(users[rows], items[rows], samples.event_us[rows]))
        if columns.content:
            group, grouped = groups_of([_keys(samples.table, name) for name in columns.content], len(samples))
            rows = grouped & there
            content = Pairs.of(group[rows], items[rows])
        shown = Counts.of(items[newest & there])
        told = told + Told(shown, int(newest.sum()), content, len(samples), int(positive.sum()))
    return Events.concat(events), told


def events_of(taken: tuple[Events, Told]) -> Events:
    """The positives."""
    return taken[0]


def told_of(taken: tuple[Events, Told]) -> Told:
    """What is to be known beside them."""
    return taken[1]


def columns_of(config: Config) -> SamplesConfig:
    """Samples of nothing but the columns that embeddings are made of, all their negatives among them.

    Raises
    ------
    ConfigError
        A column is not named.
    """
    samples, settings = config.samples, config.embeddings
    needed = {"item": samples.item, **({"user": samples.user} if settings.method == "pmi" else {})}
    if missing := [key for key, name in needed.items() if name is None]:
        raise ConfigError(
            f"[samples] {' and '.join(missing)} must name {'columns' if len(missing) > 1 else 'the column'} that "
            f'[embeddings] method = {settings.method!r} reads, such as {missing[0]} = "{missing[0]}_id"'
        )
    names = tuple(dict.fromkeys((*(str(name) for name in needed.values()), *settings.content)))
    return replace(samples, numeric=(), categorical=names, wide=(), dense=(), user_score=None, negative_keep_rate=1.0)


def _keys(table: Any, name: str) -> Keys:
    try:
        return keys_of(table.column(name))
    except SchemaError as error:
        raise SchemaError(f"column {name} {error}") from None
