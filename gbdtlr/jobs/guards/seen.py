"""Seen: what the releases up to one were given, kept in its head's manifest for the next to compare with.

It travels with the head: a rollback takes what the bad releases saw out of the comparison with them, and no job asks
the store for more than the live release. What was forced counts as seen, so nobody has to force the same twice.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from copy import copy
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gbdtlr.codec.documents import read, table
from gbdtlr.config import GuardConfig
from gbdtlr.head import Codes, DenseColumns, WideColumns
from gbdtlr.head.dense import NO_DENSE
from gbdtlr.jobs.guards.check import Check
from gbdtlr.jobs.guards.columns import Profile
from gbdtlr.jobs.guards.traffic import HOUR_US, Traffic
from gbdtlr.model import Model
from gbdtlr.samples import Samples
from gbdtlr.times import to_us
from gbdtlr.trees import Schema
from gbdtlr.values.arrays import from_numpy

PROFILED_ROWS = 16_384
"""Rows of each batch that columns are judged by: a share of them needs no more."""
RUNS_US = 28 * 24 * HOUR_US
"""How far back trees' samples are searched for runs: of a longer window, too few rows would be left for an hour."""

_NOTHING = Traffic(0, *(np.zeros(0) for _ in range(3)))


@dataclass(frozen=True)
class Seen:
    """What the releases so far were given.

    Attributes
    ----------
    traffic : labels by the hour
    judged : columns in the newest rows that were enough to judge
    gathering : columns in the rows since, which were too few so far
    """

    traffic: Traffic = _NOTHING
    judged: Profile = field(default_factory=Profile)
    gathering: Profile = field(default_factory=Profile)

    @classmethod
    def of_manifest(cls, manifest: Mapping[str, Any]) -> Seen:
        """What is in a head's manifest; nothing where it is from a version of gbdtlr that did not note it.

        Raises
        ------
        DamagedError
        """
        seen = manifest.get("seen")
        return cls() if seen is None else read(seen, cls, "what the head has seen")

    def to_dict(self) -> dict[str, Any]:
        """The same in JSON's types."""
        return table(self)

    def plus(self, other: Seen) -> Seen:
        """What observers saw of this and of what came after it."""
        traffic, gathering = self.traffic.plus(other.traffic), self.gathering.plus(other.gathering)
        return Seen(traffic, self.judged, gathering)

    def with_fresh(self, fresh: Seen, guard: GuardConfig) -> Seen:
        """With what an observer saw since: columns count as judged once there are enough rows."""
        traffic, newest = self.traffic.plus(fresh.traffic), self._newest(fresh, guard).with_runs(self.judged)
        if newest.rows >= guard.min_samples:
            return Seen(traffic, newest, Profile())
        return Seen(traffic, self.judged, newest)

    def _newest(self, fresh: Seen, guard: GuardConfig) -> Profile:
        """The fresh rows alone where they are enough, as older ones would water down what is wrong with them."""
        return fresh.gathering if fresh.gathering.rows >= guard.min_samples else self.gathering.plus(fresh.gathering)

    def checks(
        self, fresh: Seen, trees: Profile | None, since: datetime, until: datetime, guard: GuardConfig
    ) -> list[Check]:
        """Checks of the rows an observer saw, beside those of the releases before.

        Parameters
        ----------
        trees : profile of the samples the live trees were grown on
        since, until : the labels became known in this time
        """
        found = list(self.traffic.plus(fresh.traffic).checks(since, until, guard))
        newest = self._newest(fresh, guard)
        if newest.rows >= guard.min_samples:
            found += newest.checks([self.judged, *([trees] if trees is not None else [])], guard)
        return found


class Observer:
    """Notes what a job reads on the way: those of its rows whose label became known after ``since``.

    Attributes
    ----------
    seen : with the buckets of the head in the making, for later releases to compare with
    as_live : with those of the live head, to be compared with the releases before; the same where it reads rows alike
    """

    def __init__(
        self, model: Model, since: datetime | None, live: Model | None = None, worked_out: Collection[str] = ()
    ) -> None:
        """Observer of rows that ``model`` has coded, and beside it ``live`` where that reads rows in another way.

        Parameters
        ----------
        worked_out : dense columns that no log gave, and of which none can be at fault
        """
        self._schema = model.trees.schema
        self._reads = model.head.wide, logged(model.head.dense, worked_out)
        self._live = None if live is None else (live.head.wide, logged(live.head.dense, worked_out))
        self._since_us = None if since is None else to_us(since)
        self.seen = self.as_live = Seen()

    def afresh(self) -> Observer:
        """One that looks at the same things and has seen nothing."""
        blank = copy(self)
        blank.seen = blank.as_live = Seen()
        return blank

    def take(self, other: Observer) -> None:
        """Note what another has seen of later samples."""
        alike = self._live is None
        self.seen = self.seen.plus(other.seen)
        self.as_live = self.seen if alike else self.as_live.plus(other.as_live)

    def add(self, samples: Samples, codes: Codes) -> None:
        """Note a batch of samples and their codes."""
        buckets, beside = codes.buckets, codes.beside
        if self._since_us is not None:
            new = samples.known_us > self._since_us
            if not new.any():
                return
            if not new.all():
                samples, buckets = samples.filter(new), np.compress(new, buckets, axis=1)
                beside = None if beside is None else np.compress(new, beside, axis=1)
        self.seen = self.seen.plus(seen_in(samples, buckets, self._schema, *self._reads))
        if self._live is None or beside is None:
            self.as_live = self.seen
        else:
            self.as_live = self.as_live.plus(seen_in(samples, beside, self._schema, *self._live))


def logged(dense: DenseColumns, worked_out: Collection[str]) -> DenseColumns:
    """The dense columns without those that no log gave."""
    return dense.chosen([name for name in dense.names if name not in worked_out])


def seen_in(
    samples: Samples,
    buckets: NDArray[np.uint32],
    schema: Schema,
    wide: WideColumns,
    dense: DenseColumns = NO_DENSE,
) -> Seen:
    """What a batch of samples held, of which the wide columns' buckets are given, (n_wide, n)."""
    rows = _spread(len(samples), PROFILED_ROWS)
    taken, event_us = samples.table.take(from_numpy(rows)), samples.event_us[rows]
    profile = Profile.of(taken, schema, buckets[:, rows], wide, event_us, dense)
    return Seen(Traffic.of(samples.known_us, samples.label, samples.weight), gathering=profile)


def profile_of(samples: Samples, schema: Schema, dense: DenseColumns = NO_DENSE) -> Profile:
    """Profile of the samples trees are grown on, or of some of them; runs are looked for in the newest."""
    profile = _profile(samples, np.arange(len(samples)), schema, dense)
    newest = np.flatnonzero(samples.event_us > samples.event_us.max(initial=0) - RUNS_US)
    return profile if len(newest) == len(samples) else profile.with_runs(_profile(samples, newest, schema, dense))


def _profile(samples: Samples, rows: NDArray[np.int64], schema: Schema, dense: DenseColumns) -> Profile:
    rows = rows[_spread(len(rows), 8 * PROFILED_ROWS)]
    none = np.empty((0, len(rows)), np.uint32)
    taken = samples.table.take(from_numpy(rows))
    return Profile.of(taken, schema, none, WideColumns((), 2), samples.event_us[rows], dense)


def _spread(n: int, most: int) -> NDArray[np.int64]:
    return np.arange(n) if n <= most else np.linspace(0, n - 1, most).astype(np.int64)
