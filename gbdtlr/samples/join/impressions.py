"""Impressions: rows of the raw log before their label, in order of time, and what of a batch is one of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from gbdtlr.config import SamplesConfig
from gbdtlr.samples.batch import Samples
from gbdtlr.samples.formats.columns import feature_table
from gbdtlr.samples.join.keys import key_hashes
from gbdtlr.samples.join.repeats import beside_its_like
from gbdtlr.samples.thinning import row_hashes
from gbdtlr.samples.window import Faults, Tally, Window, weights_of
from gbdtlr.values.arrays import from_numpy
from gbdtlr.values.hashing import U64

I64 = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Impressions:
    """Rows before their label, (n,) each.

    Attributes
    ----------
    key : 64 bits
    event_us, deadline_us : when it happened, and until when an outcome counts
    wanted : whether it is one of ``samples``; others only tell of them whether they repeat one
    samples : in the same order, with labels that are all 0
    """

    key: U64
    event_us: I64
    deadline_us: I64
    wanted: npt.NDArray[np.bool_]
    samples: Samples | None

    def __len__(self) -> int:
        return len(self.key)

    def take(self, places: I64) -> Impressions:
        """Rows at ``places``, in their order."""
        wanted, samples = self.wanted[places], self.samples
        if samples is not None:
            chosen = places[wanted]
            samples = samples.take(chosen if self.wanted.all() else self._number()[chosen]) if len(chosen) else None
        return Impressions(self.key[places], self.event_us[places], self.deadline_us[places], wanted, samples)

    def slice(self, start: int, stop: int) -> Impressions:
        """Rows from ``start`` up to ``stop``, without copying them."""
        rows, samples = slice(start, stop), self.samples
        if samples is not None:
            first = int(np.count_nonzero(self.wanted[:start]))
            n = int(np.count_nonzero(self.wanted[rows]))
            samples = samples.slice(first, first + n) if n else None
        return Impressions(self.key[rows], self.event_us[rows], self.deadline_us[rows], self.wanted[rows], samples)

    def before(self, moment_us: int) -> tuple[Impressions, Impressions]:
        """Rows that happened before a moment, and those that did not."""
        early = self.event_us < moment_us
        n = int(np.count_nonzero(early))
        if early[:n].all():  # as in logs, whose rows come in order
            return self.slice(0, n), self.slice(n, len(self))
        return self.take(np.flatnonzero(early)), self.take(np.flatnonzero(~early))

    def _number(self) -> I64:
        """Which of the samples each wanted row is."""
        return np.cumsum(self.wanted) - 1

    @staticmethod
    def concat(parts: Sequence[Impressions]) -> Impressions:
        """All rows of ``parts``, one after the other; at least one part."""
        if len(parts) == 1:
            return parts[0]
        samples = [part.samples for part in parts if part.samples is not None]
        return Impressions(
            np.concatenate([part.key for part in parts]),
            np.concatenate([part.event_us for part in parts]),
            np.concatenate([part.deadline_us for part in parts]),
            np.concatenate([part.wanted for part in parts]),
            Samples.concat(samples) if samples else None,
        )

    def in_order(self, numeric: Sequence[str], dense: Sequence[str] = ()) -> Impressions:
        """The rows by event time and key; of those that share both, by what they hold."""
        if (self.event_us[1:] > self.event_us[:-1]).all():
            return self
        ordered = bool((self.event_us[1:] >= self.event_us[:-1]).all())
        order = np.arange(len(self)) if ordered else np.argsort(self.event_us, kind="stable")
        tied = np.flatnonzero(beside_its_like(self.event_us if ordered else self.event_us[order]))
        rows = order[tied]
        order[tied] = rows[np.lexsort((self.key[rows], self.event_us[rows]))]
        key, event_us = self.key[order[tied]], self.event_us[order[tied]]
        tied = tied[beside_its_like(key, event_us)]
        rows = order[tied]
        if len(rows) and self.samples is not None:
            place, there = self._number()[rows], self.wanted[rows]
            content, weight = np.zeros(len(rows), np.uint64), np.zeros(len(rows))
            content[there] = row_hashes(self.samples.take(place[there]), numeric, dense)
            weight[there] = self.samples.weight[place[there]]
            order[tied] = rows[np.lexsort((weight, content, self.key[rows], self.event_us[rows]))]
        return self if (order[1:] > order[:-1]).all() else self.take(order)


Item = tuple[Impressions, int, int]


def impressions_of(
    batch: pa.RecordBatch, cfg: SamplesConfig, window: Window, reach: Window, faults: Faults, tally: Tally
) -> Item | None:
    """Rows of ``batch`` that are wanted, or tell of others whether they repeat them; None where there are none.

    Parameters
    ----------
    window : of the rows that are wanted
    reach : of all rows

    Returns
    -------
    impressions, n_wanted, n_keyless : rows with a key; how many rows were wanted, and how many of these have none
    """
    event_us, finality, has_event, _, mature = window.moments(batch, cfg, faults, tally)
    known_us = finality.known_us
    deadline_us = known_us if finality.deadline_us is None else finality.deadline_us
    there = mature
    if not mature.all():
        there = mature | (has_event & (event_us >= reach.start_us) & (event_us < reach.end_us))
        if not there.any():
            return None
    key, has_key = key_hashes(batch.column(str(cfg.key)), str(cfg.key), faults.file)
    wanted, there = mature & has_key, there & has_key
    n_mature, n_wanted = int(np.count_nonzero(mature)), int(np.count_nonzero(wanted))
    tally.mature[faults.file.path] = tally.mature.get(faults.file.path, 0) + n_wanted
    samples = None
    if n_wanted:
        is_all = n_wanted == len(batch)
        chosen = batch if is_all else batch.filter(from_numpy(wanted))
        weight = weights_of(chosen, cfg.weight, faults)
        if faults:
            return None
        label = np.zeros(len(chosen), np.int8)
        table = feature_table(chosen, cfg, faults.file)
        times_us = (event_us, known_us) if is_all else (event_us[wanted], known_us[wanted])
        samples = Samples(table, label, weight, *times_us)
    every = Impressions(key, event_us, deadline_us, wanted, samples)
    if not there.all():
        every = Impressions(key[there], event_us[there], deadline_us[there], wanted[there], samples)
    return every, n_mature, n_mature - n_wanted
