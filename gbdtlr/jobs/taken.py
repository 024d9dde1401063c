"""Taken: what a window of samples says of its items - who took which, and which were shown on its last day."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gbdtlr.config import Config, SamplesConfig
from gbdtlr.embeddings import Counts, Events, Pairs, keys_of
from gbdtlr.embeddings.content import groups_of
from gbdtlr.errors import ConfigError, SchemaError
from gbdtlr.samples import Samples, Tally, read_batches
from gbdtlr.times import to_us
from gbdtlr.values.hashing import U64

NEWEST = timedelta(days=1)
Keys = tuple[U64, NDArray[np.bool_]]


@dataclass
class Taken:
    """What was read of a window.

    Attributes
    ----------
    events : positives, a part for every batch; none where no user is named
    shown : rows of the last day by item
    n_newest : rows of the last day, those without an item among them
    content : which items were seen with which content
    n_rows, n_positives : of the window
    """

    events: list[Events] = field(default_factory=list)
    shown: Counts = field(default_factory=Counts.none)
    n_newest: int = 0
    content: Pairs = field(default_factory=Pairs.none)
    n_rows: int = 0
    n_positives: int = 0

    @classmethod
    def read(cls, config: Config, as_of: datetime, tally: Tally) -> Taken:
        """What is to be known for the embeddings of a config at ``as_of``.

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
        taken, newest_us = cls(), to_us(as_of - NEWEST)
        for batch in read_batches(samples, as_of - window, as_of, as_of, tally=tally):
            taken._add(batch, str(config.samples.item), user, settings.content, newest_us)
        return taken

    def _add(self, samples: Samples, item: str, user: str | None, content: tuple[str, ...], newest_us: int) -> None:
        self.n_rows += len(samples)
        items, there = _keys(samples.table, item)
        newest = samples.event_us >= newest_us
        self.n_newest += int(newest.sum())
        self.shown += Counts.of(items[newest & there])
        positive = (samples.label == 1) & (samples.weight > 0) & there
        self.n_positives += int(positive.sum())
        if user is not None:
            users, known = _keys(samples.table, user)
            rows = positive & known
            self.events.append(Events(users[rows], items[rows], samples.event_us[rows]))
        if content:
            group, grouped = groups_of([_keys(samples.table, name) for name in content], len(samples))
            rows = grouped & there
            self.content += Pairs.of(group[rows], items[rows])


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
