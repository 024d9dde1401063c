"""Unfinal: rows whose label may still change, as extra rows of a fit, weighed so that they bend nothing.

A row without an outcome at an age by which a part F of all outcomes has come counts as ``F (1 - p) / (1 - p F)`` of a
negative, p what the live head says of it; one with an outcome as a positive. That is the score of the censored
likelihood: the chance of no outcome so far is ``1 - p F``, and its slope in the log-odds is that of so much of a
negative. A row seconds old counts nothing, one at its deadline in full.

Only a fit sees them. What judges, what is kept of the past and what later updates go on from know final rows alone.

Source
------
Chapelle 2014, "Modeling delayed feedback in display advertising", equation 9, with the share of the row's window in
place of a model of the delay.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gbdtlr.codec.documents import read
from gbdtlr.compute.parts import Parts
from gbdtlr.config import Config
from gbdtlr.head import Codes, pieces
from gbdtlr.jobs import guards
from gbdtlr.jobs.coding import Coder
from gbdtlr.jobs.run import Run
from gbdtlr.jobs.user_scores import UserScores
from gbdtlr.metrics import sigmoid
from gbdtlr.release import Release
from gbdtlr.samples import Delays, Samples, Tally, read_unfinal, share_of, windows_of
from gbdtlr.samples.delays import BINS, ENOUGH, bins_of
from gbdtlr.samples.finality import NEVER
from gbdtlr.times import to_us

DELAYS = "delays"
"""Of a head's manifest: how soon outcomes came in what it has learned."""
METRIC = "unfinal"
"""Of a release's metrics: how many rows its head has learned before they were final."""

LiveMargin = Callable[[Samples, Codes], NDArray[np.float64]]
"""Log-odds under the live head of samples, which are coded for the head in the making beside."""


def delays_of(base: Release | None, config: Config) -> Delays | None:
    """Delays of outcomes that a release's head knows; None if it knows none, or of other windows.

    Raises
    ------
    DamagedError
    """
    stored = None if base is None else base.head_manifest.get(DELAYS)
    delays = None if stored is None else read(stored, Delays, "the delays of the head's outcomes")
    return delays if delays is not None and delays.of == windows_of(config.samples) else None


class DelayCounter:
    """Looks on while a window is coded, and counts the delays of what has become final since the head before.

    Attributes
    ----------
    delays : of all rows so far; None where rows have no deadline
    """

    def __init__(self, config: Config, base: Release | None, as_of: datetime) -> None:
        before, of = delays_of(base, config), windows_of(config.samples)
        self._half_life = config.head.blend_half_life
        self._since_us = None if before is None else to_us(before.as_of)
        self.delays: Delays | None = None
        if of:
            self.delays = Delays.none(of, as_of) if before is None else before.faded(as_of, self._half_life)

    def add(self, samples: Samples, codes: Codes) -> None:  # noqa: ARG002 - the other onlookers'
        """Count a batch of final samples."""
        if self.delays is not None:
            new = samples if self._since_us is None else samples.filter(samples.known_us > self._since_us)
            self.delays = self.delays.plus(new, self._half_life)


@dataclass(frozen=True)
class Unfinal:
    """Extra rows of a fit.

    Attributes
    ----------
    parts : the rows as the head in the making reads them, each with the weight it counts with
    weight : of all of them
    waits : why there are none, where rows are to be weighed and cannot be
    is_asked_for : whether they are to be
    """

    parts: Parts[Codes] = field(default_factory=Parts)
    weight: float = 0.0
    waits: str = ""
    is_asked_for: bool = False

    def metrics(self, final: Parts[Codes]) -> dict[str, Any]:
        """What releases say of them beside the final rows of the same fit; nothing where they are not asked for."""
        if not self.is_asked_for:
            return {}
        total = self.weight + final.sum(weight_of, zero=0.0)
        share = self.weight / total if total > 0 else 0.0
        told: dict[str, Any] = {"rows": self.parts.sum(len, zero=0), "weight": self.weight, "share": share}
        return {METRIC: {**told, "waits": self.waits} if self.waits else told}

    @classmethod
    def of(
        cls,
        run: Run,
        as_of: datetime,
        delays: Delays | None,
        coder: Coder,
        live: LiveMargin | None,
        users: UserScores | None = None,
    ) -> Unfinal:
        """The rows of the head's window whose label is not final by ``as_of``, weighed.

        Parameters
        ----------
        delays : how soon outcomes come
        coder : codes rows for the head in the making
        live : what the live head says of rows; None where nothing is live
        users : gives rows their users' scores, where these are worked out
        """
        if run.config.samples.of_unfinal != "weigh":
            return cls()
        with run.say.timed("samples.weigh") as told:
            found = cls._weighed(run.config, as_of, delays, coder, live, users)
            told.update(rows=found.parts.sum(len, zero=0), weight=round(found.weight, 3))
            if found.waits:
                told.update(waits=found.waits)
        return found

    @classmethod
    def _weighed(
        cls,
        config: Config,
        as_of: datetime,
        delays: Delays | None,
        coder: Coder,
        live: LiveMargin | None,
        users: UserScores | None,
    ) -> Unfinal:
        if live is None:
            return cls(waits="nothing is live that could say how likely an outcome is", is_asked_for=True)
        if delays is None or not delays.are_enough:
            n = 0 if delays is None else int(delays.outcomes.sum())
            why = f"{n} outcomes tell how soon they come, fewer than {ENOUGH:g}"
            return cls(waits=why, is_asked_for=True)
        coded, margins, tally = [], [], Tally()
        cfg = config.samples if users is None else users.reading
        for batch in read_unfinal(cfg, as_of - config.head.window, as_of, tally=tally):
            samples = batch if users is None else users.on(batch)
            coded.append(coder.encode(samples))
            margins.append(live(samples, coded[-1]))
        newest_us = -NEVER if tally.newest_outcome_us is None else tally.newest_outcome_us
        aged = [Aged.of(codes, margin, delays, newest_us) for codes, margin in zip(coded, margins, strict=True)]
        if why := guards.early(sum((each.expectation() for each in aged), np.zeros((2, BINS))), config.guard):
            return cls(waits=why, is_asked_for=True)
        weighed = [codes for codes in (each.weighed() for each in aged) if len(codes)]
        parts = pieces(weighed)
        return cls(parts, parts.sum(weight_of, zero=0.0), is_asked_for=True)


@dataclass(frozen=True)
class Aged:
    """Unfinal rows and how far their time had run when the newest outcome came: a log that stalls makes none older.

    Attributes
    ----------
    codes : the rows; their label is 1 where the outcome has come
    margin : float64 (n,), the live head's
    share : float64 (n,), of the time they have for an outcome
    reached : float64 (n,), part of all outcomes that have come by then
    """

    codes: Codes
    margin: NDArray[np.float64]
    share: NDArray[np.float64]
    reached: NDArray[np.float64]

    @classmethod
    def of(cls, codes: Codes, margin: NDArray[np.float64], delays: Delays, newest_us: int) -> Aged:
        """Rows at the moment of the newest outcome."""
        share = share_of(np.maximum(newest_us, codes.event_us), codes.event_us, codes.known_us)
        return cls(codes, margin, share, delays.reached(share))

    def expectation(self) -> NDArray[np.float64]:
        """Weight of the outcomes that are expected by now, and of those that came, by share of the time, (2, BINS)."""
        bins = bins_of(self.share)
        weight = self.codes.weight
        expected = np.bincount(bins, weight * self.reached * sigmoid(self.margin), BINS)
        return np.stack([expected, np.bincount(bins, weight * self.codes.label, BINS)])

    def weighed(self) -> Codes:
        """The rows that count, with what they count."""
        share = np.where(self.codes.label == 1, 1.0, share_of_negative(self.reached, self.margin))
        weight = self.codes.weight * share
        return replace(self.codes, weight=weight).take(weight > 0)


def share_of_negative(reached: NDArray[np.float64], margin: NDArray[np.float64]) -> NDArray[np.float64]:
    """``F (1 - p) / (1 - p F)``, (n,): how much of a negative a row without an outcome is.

    Parameters
    ----------
    reached : F, from 0 to 1
    margin : log-odds of p
    """
    p, q = sigmoid(margin), sigmoid(-margin)
    left = q + p * (1.0 - reached)  # 1 - p F, exact where p is all but 1
    return np.where(reached >= 1.0, 1.0, reached * q / np.where(left > 0, left, 1.0))


def weight_of(codes: Codes) -> float:
    """Weight of a part's rows."""
    return float(codes.weight.sum())


def learned_unfinal(base: Release) -> bool:
    """Whether a release's head has learned rows before their labels were final."""
    metrics = base.head_manifest.get("metrics")
    unfinal = metrics.get(METRIC) if isinstance(metrics, Mapping) else None
    return isinstance(unfinal, Mapping) and bool(unfinal.get("rows"))
