"""The heads that are compared: the product's blend with and without parts of it, that of 0.1.0, FTRL, LightGBM's refit,
bare trees."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

from benchmarks.served import Margins, Rows, Stream
from gbdtlr.compute.parts import Parts
from gbdtlr.head import Candidates, Codes, Head, Layout, OnlineHead, Record, blend, fit_candidates, pieces
from gbdtlr.head.dense import NO_DENSE, DenseColumns
from gbdtlr.head.levels import levelled
from gbdtlr.jobs import hindsight
from gbdtlr.jobs.grid import prior_of, ridges_for, settings_of
from gbdtlr.jobs.methods import FIRST_STEPS, rule_of
from gbdtlr.model import Model
from gbdtlr.release import Fits
from gbdtlr.samples import Samples
from gbdtlr.times import to_us
from gbdtlr.trees.refitting import refit

REFIT_DECAY = 0.9


@dataclass
class Blend:
    """Candidates fitted again and again, blended by what they said of the rows they served."""

    with_hindsight: bool = True
    with_ridges: bool = True
    with_levels: bool = True
    dense: DenseColumns = NO_DENSE
    seconds: list[float] = field(default_factory=list)
    live: list[tuple[datetime, Model, Candidates]] = field(default_factory=list)
    record: Record | None = None
    past: Fits | None = None

    def serve(self, stream: Stream, model: Model, as_of: datetime, rows: Rows) -> Margins:
        return self.fit(stream, model, as_of).margin(self.codes(stream, model, rows))

    def codes(self, stream: Stream, model: Model, rows: Rows) -> Codes:
        """Rows as its heads on the model's trees read them."""
        return stream.codes(model, rows)

    def window(self, stream: Stream, rows: Rows) -> Samples:
        """Rows with all columns its heads read."""
        return stream.samples.take(rows)

    def fit(self, stream: Stream, model: Model, as_of: datetime) -> Head:
        config, head = stream.config, stream.config.head
        if not self.live and self.with_hindsight:
            window = self.window(stream, stream.known(as_of - config.trees.window, as_of))
            with nullcontext() if self.with_ridges else patch.object(hindsight, "ridges_for", lambda *_: None):
                past = hindsight.of_samples(config, window, as_of, {}, self.dense)
            self.past = None if past is None else past.fits
        begin = time.process_time()
        window_codes = pieces([self.codes(stream, model, stream.known(as_of - head.window, as_of))])
        candidates = self._fitted(stream, model, as_of, window_codes)
        if self.record is None:
            self.record = self.past.record if self.past is not None else Record.blank(candidates.names, as_of)
        self.record = self.record.learn(self._served(stream, as_of), as_of, head.blend_half_life)
        if self.with_levels and self.live:
            candidates = levelled(candidates, window_codes, self.record.weights, as_of)
        blended = candidates.blended(self.record.weights)
        self.seconds.append(time.process_time() - begin)
        self.live = [*self.live[-8:], (as_of, model, candidates)]
        return blended

    def _fitted(self, stream: Stream, model: Model, as_of: datetime, window: Parts[Codes]) -> Candidates:
        head, base = stream.config.head, self.live[-1] if self.live else None
        start = base[2] if base is not None and base[1] is model else None
        layout = Layout.of(model.trees, model.head.wide, self.dense)
        settings, prior = settings_of(head), prior_of(head)
        known = base[2] if base is not None else None if self.past is None else self.past.candidates
        ridges = ridges_for(layout, settings, prior, known) if self.with_ridges else None
        fitted = fit_candidates(window, layout, settings, as_of, start, ridges, prior)
        for _ in range(FIRST_STEPS if self.with_ridges and known is None else 0):
            fitted = fit_candidates(window, layout, settings, as_of, fitted, fitted.found, prior)
        return fitted

    def _served(self, stream: Stream, as_of: datetime) -> list[tuple[Parts[Codes], Candidates]]:
        """Rows whose label has become known since the last fit, with what was live when they happened."""
        if not self.live:
            return []
        served, ends = [], [*(each[0] for each in self.live[1:]), as_of]
        for (start, model, candidates), end in zip(self.live, ends, strict=True):
            rows = stream.newly_known(self.live[-1][0], as_of, start, end)
            if len(rows):
                served.append((pieces([self.codes(stream, model, rows)]), candidates))
        return served


OLD_L2, OLD_CAUTION = (3.0, 30.0, 300.0, 3000.0), 10.0
"""Of version 0.1.0: the ridges of its grid, each of all kinds of weight, and what held its blend to equal shares."""


def old_prior_shares(names: Sequence[str]) -> NDArray[np.float64]:
    """The same for all candidates; nothing of levels, of which that version knew nothing."""
    is_level = np.array([name.startswith(blend.LEVEL) for name in names])
    return np.where(is_level, blend.LEAST, 1.0 / (~is_level).sum())


@dataclass
class Old(Blend):
    """The head of version 0.1.0: sixteen settings with one ridge for all kinds, blended from equal shares by what the
    candidates said that were live when a label became known, and not when its row happened."""

    with_hindsight: bool = False
    with_ridges: bool = False
    with_levels: bool = False

    def fit(self, stream: Stream, model: Model, as_of: datetime) -> Head:
        head = dataclasses.replace(stream.config.head, l2=OLD_L2)
        stream = dataclasses.replace(stream, config=stream.config.replace(head=head))
        with patch.multiple(blend, CAUTION=OLD_CAUTION, prior_shares=old_prior_shares):
            return super().fit(stream, model, as_of)

    def _served(self, stream: Stream, as_of: datetime) -> list[tuple[Parts[Codes], Candidates]]:
        if not self.live:
            return []
        since, model, candidates = self.live[-1]
        rows = stream.newly_known(since, as_of, since - stream.config.head.window, as_of)
        return [(pieces([self.codes(stream, model, rows)]), candidates)] if len(rows) else []


@dataclass
class Renewed:
    """A blend in a new store, again and again: after so long it has all forgotten."""

    every: timedelta
    with_hindsight: bool = True
    seconds: list[float] = field(default_factory=list)
    begun: datetime | None = None
    store: Blend = field(default_factory=Blend)

    def serve(self, stream: Stream, model: Model, as_of: datetime, rows: Rows) -> Margins:
        if self.begun is None or as_of - self.begun >= self.every:
            self.begun, self.store = as_of, Blend(self.with_hindsight, seconds=self.seconds)
        return self.store.serve(stream, model, as_of, rows)


@dataclass
class Ftrl:
    """Each sample once."""

    seconds: list[float] = field(default_factory=list)
    head: OnlineHead | None = None
    model: Model | None = None
    known: datetime | None = None

    def serve(self, stream: Stream, model: Model, as_of: datetime, rows: Rows) -> Margins:
        return self.fit(stream, model, as_of).margin(stream.codes(model, rows))

    def fit(self, stream: Stream, model: Model, as_of: datetime) -> Head:
        begin, head, since = time.process_time(), stream.config.head, as_of - stream.config.head.window
        rows = stream.known(since, as_of)
        if self.head is None or self.model is not model or self.known is None:
            rule = rule_of(dataclasses.replace(head, method="ftrl"))
            self.head, self.model = OnlineHead(rule, Layout.of(model.trees, model.head.wide)), model
        else:
            rows = rows[stream.samples.known_us[rows] > to_us(self.known)]
        codes = stream.codes(model, rows)
        self.head.learn_many(codes.take(np.argsort(codes.known_us, kind="stable")))
        self.known = as_of
        self.seconds.append(time.process_time() - begin)
        return self.head.head()


@dataclass
class LightGBM:
    """``Booster.refit`` of the trees."""

    seconds: list[float] = field(default_factory=list)

    def serve(self, stream: Stream, model: Model, as_of: datetime, rows: Rows) -> Margins:
        begin = time.process_time()
        window = stream.samples.take(stream.known(as_of - stream.config.head.window, as_of))
        matrix = model.trees.schema.matrix(window.table)
        (values,) = refit(model.trees, matrix, window.label, window.weight, [REFIT_DECAY])
        layout = Layout.of(model.trees, model.head.wide)
        self.seconds.append(time.process_time() - begin)
        head = Head(layout, layout.join(values, [np.empty(0) for _ in layout.buckets], 0.0))
        return head.margin(stream.codes(model, rows))


@dataclass
class Bare:
    """The trees themselves."""

    seconds: list[float] = field(default_factory=list)

    def serve(self, stream: Stream, model: Model, as_of: datetime, rows: Rows) -> Margins:  # noqa: ARG002 - as all systems
        return model.head.margin(stream.codes(model, rows))
