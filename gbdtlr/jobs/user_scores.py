"""User scores: those that past rows would have been served with, where none were logged.

All events of the head's window are played again in order of time (:mod:`gbdtlr.users.past`), on the vectors that had
been made by then (:mod:`gbdtlr.jobs.vectors_then`) and on top of margins that know as little
(:mod:`gbdtlr.jobs.margins_then`). The score of a row follows from its user, its item and its time, so it is found again
whoever reads the row, in whichever order; and a reader gives it to the row as if it had been logged.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import datetime, timedelta
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from gbdtlr.config import USER_SCORE, Config, SamplesConfig
from gbdtlr.embeddings import keys_of
from gbdtlr.errors import ConfigError, SchemaError
from gbdtlr.head import Codes
from gbdtlr.jobs.margins_then import margins_then
from gbdtlr.jobs.methods import anchored, wide_of
from gbdtlr.jobs.run import Run
from gbdtlr.jobs.vectors_then import VectorsThen
from gbdtlr.model import Model
from gbdtlr.release import Slow
from gbdtlr.samples import Samples, chances, read_batches, read_unfinal
from gbdtlr.samples.finality import NEVER
from gbdtlr.times import MOMENT
from gbdtlr.users import Events, Rule
from gbdtlr.users.past import NOW
from gbdtlr.values.arrays import from_numpy, with_nulls
from gbdtlr.values.hashing import U64, mix


@dataclass(frozen=True)
class UserScores:
    """Scores of rows by who was shown what when.

    Attributes
    ----------
    reading : how samples are read that are given their scores
    kept : columns of their tables that go on; the others only say whose score it is
    vectors : that scores are of; None where there are none, and no row has a score
    keys : uint64 (n,), rising, of user, vector and time
    scores : float64 (n,)
    """

    reading: SamplesConfig
    kept: tuple[str, ...]
    vectors: VectorsThen | None = None
    keys: U64 = field(default_factory=lambda: np.empty(0, np.uint64))
    scores: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))

    @classmethod
    def blank(cls, config: Config, vectors: VectorsThen | None) -> UserScores:
        """Scores of no row yet, of vectors."""
        samples = config.samples
        if vectors is None:
            return cls(samples, samples.features)
        more = [name for name in (str(samples.user), *vectors.columns) if name not in samples.features]
        reading = replace(samples, categorical=(*samples.categorical, *dict.fromkeys(more)))
        return cls(reading, samples.features, vectors)

    @classmethod
    def of(cls, config: Config, slow: Slow, as_of: datetime, start: datetime) -> UserScores | None:
        """Scores of the rows from ``start`` up to ``as_of``, by what was known then; None where none are asked for.

        Parameters
        ----------
        slow : trees that the margins begin with, and embeddings

        Raises
        ------
        ConfigError
            There are more events than may be held.
        GbdtlrError
            Samples or embeddings cannot be read.
        """
        if not config.users.replay:
            return None
        vectors = VectorsThen.of(slow.embeddings, start)
        scores = cls.blank(config, vectors)
        if vectors is None:
            return scores
        model, n = without_users(config, slow), 0
        codes, shown = list[Codes](), list[Shown]()
        for samples, is_final in _rows(scores.reading, as_of, start):
            n += len(samples)
            _check_room(n, model, config)
            codes.append(model.encode(samples))
            shown.append(Shown.of(samples, scores, is_final))
        if not n:
            return scores
        every = Shown.concat(shown)
        margin = margins_then(codes, every.salt, model.head.layout, config.head)
        found, rows = every.scores(margin, vectors, Rule.of(config.users)), every.counts & (every.place >= 0)
        keys, first = np.unique(every.keys[rows], return_index=True)
        return replace(scores, keys=keys, scores=found[rows][first])

    def on(self, samples: Samples) -> Samples:
        """The samples with the column of their scores; nothing where there is none.

        Raises
        ------
        SchemaError
            Users or items that cannot be ids.
        """
        score = np.full(len(samples), np.nan)
        if self.vectors is not None:
            user, has_user, place, is_older = self.whose(samples)
            counts = has_user & is_older
            score[counts & (place < 0)] = 0.0  # as is an item's without a vector
            if len(self.keys):
                keys = keys_at(user, place, samples.event_us)
                found = np.minimum(self.keys.searchsorted(keys), len(self.keys) - 1)
                there = counts & (place >= 0) & (self.keys[found] == keys)
                score[there] = self.scores[found[there]]
        column = with_nulls(from_numpy(score), np.isnan(score))
        return replace(samples, table=samples.table.select(list(self.kept)).append_column(USER_SCORE, column))

    def whose(self, samples: Samples) -> tuple[U64, NDArray[np.bool_], NDArray[np.int64], NDArray[np.bool_]]:
        """Of each row its user's key, whether it has one, where its vector is, and whether that is older, (n,) each."""
        assert self.vectors is not None
        name = str(self.reading.user)
        try:
            user, there = keys_of(samples.table.column(name))
        except SchemaError as error:
            raise SchemaError(f"column {name} {error}") from None
        return user, there, *self.vectors.places(samples.table, samples.event_us)


@dataclass(frozen=True)
class Shown:
    """What was shown to whom, as it is played again.

    Attributes
    ----------
    user : uint64 (n,), the users' keys
    has_user : bool (n,)
    place : int64 (n,), of the vector; below zero of items without one
    counts : bool (n,), whether the row can have been served with a score of this vector
    event_us, taught_us : int64 (n,), when it happened, and when its label became known
    label : int8 (n,)
    salt : uint64 (n,), a hash of the row
    """

    user: U64
    has_user: NDArray[np.bool_]
    place: NDArray[np.int64]
    counts: NDArray[np.bool_]
    event_us: NDArray[np.int64]
    taught_us: NDArray[np.int64]
    label: NDArray[np.int8]
    salt: U64

    @classmethod
    def of(cls, samples: Samples, scores: UserScores, is_final: bool = True) -> Shown:
        """Samples read as ``scores`` read them; those that are not final teach nothing yet."""
        user, has_user, place, is_older = scores.whose(samples)
        taught_us = _taught_us(samples) if is_final else np.full(len(samples), NEVER)
        hashes = chances(samples, scores.reading.numeric, scores.reading.linear)
        salt = mix(hashes ^ mix(samples.weight.view(np.uint64) ^ samples.label.astype(np.uint64)))
        at_us = samples.event_us
        return cls(user, has_user, place, has_user & is_older, at_us, taught_us, samples.label, salt)

    @classmethod
    def concat(cls, parts: Sequence[Shown]) -> Shown:
        """All rows of the parts, of which there is one at least."""
        return cls(*(np.concatenate([getattr(part, each.name) for part in parts]) for each in fields(cls)))

    @property
    def keys(self) -> U64:
        """64 bits of who was shown what when, (n,)."""
        return keys_at(self.user, self.place, self.event_us)

    def scores(
        self, margin: NDArray[np.float64], vectors: VectorsThen, rule: Rule, age: timedelta = NOW
    ) -> NDArray[np.float64]:
        """Each row's score, float64 (n,), by all that its user was shown before; zero without a user or a vector.

        Parameters
        ----------
        margin : float64 (n,), without the score
        vectors : that the places are in
        age : of the users' states
        """
        rows = np.flatnonzero(self.has_user & (self.place >= 0))
        places, vector = np.unique(self.place[rows], return_inverse=True)
        events = Events(
            self.user[rows],
            vector.astype(np.int64),
            self.event_us[rows],
            self.taught_us[rows],
            self.label[rows],
            margin[rows],
            self.salt[rows],
        )
        out = np.zeros(len(self.user))
        out[rows] = events.scores(vectors.vectors(places), rule, age)
        return out


def without_users(config: Config, slow: Slow) -> Model:
    """The trees with the columns that a config asks for, but for users' scores; it has learned nothing."""
    known = [each for each in slow.dense.columns if each.name in config.samples.dense]
    return slow.bare(wide_of(config), anchored(known, config))


def played(run: Run, slow: Slow, as_of: datetime, start: datetime) -> UserScores | None:
    """:meth:`UserScores.of` a run's config; what was done is told."""
    if not run.config.users.replay:
        return None
    with run.say.timed("users.replay") as told:
        users = UserScores.of(run.config, slow, as_of, start)
        told.update(scores=0 if users is None else len(users.keys))
        if users is not None and users.vectors is not None:
            told.update(since=users.vectors.since, **({"cut": users.vectors.cut} if users.vectors.cut else {}))
    return users


def _rows(cfg: SamplesConfig, as_of: datetime, start: datetime) -> Iterator[tuple[Samples, bool]]:
    """Batches of rows, and whether their labels are final: others are shown a score, and teach nothing yet."""
    final = read_batches(cfg, start, as_of + MOMENT, as_of)
    later = read_unfinal(cfg, start, as_of) if cfg.of_unfinal == "weigh" else iter(())
    return chain(((each, True) for each in final), ((each, False) for each in later))


def _taught_us(samples: Samples) -> NDArray[np.int64]:
    """When the label of each became known: a positive by its outcome, though it was final only later."""
    if samples.outcome_us is None:
        return samples.known_us
    return np.where(samples.label == 1, np.minimum(samples.outcome_us, samples.known_us), samples.known_us)


def _check_room(n: int, model: Model, config: Config) -> None:
    """Nothing, if so many events may be held; ConfigError if not."""
    most, head = config.users.max_events, model.head
    if n > most:
        size = 2 * (head.layout.n_trees * 2 + 4 * len(head.wide.names) + 4 * head.dense.n + 28) + 160
        raise ConfigError(
            f"[users] replay plays the events of the head's window again, and there are more than the {most:,} that "
            f"[users] max_events allows; raise it, at some {size} bytes each, or give [head] window less time, or log "
            "the score as it is served and name it as [samples] user_score"
        )


def keys_at(user: U64, place: NDArray[np.int64], event_us: NDArray[np.int64]) -> U64:
    """64 bits of who was shown what when, (n,)."""
    return mix(mix(user ^ mix(place.view(np.uint64))) ^ event_us.view(np.uint64))
