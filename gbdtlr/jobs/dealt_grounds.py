"""Dealt grounds: the samples trees are grown on where they stay on an engine's workers, each rank's with one of them.

Shares of the files are dealt out to the ranks in their order, so that each has about as many rows; which, is settled by
the rows alone. The window is read three times: every row is counted; then some are chosen by their hashes, to tell
where features are cut and what columns hold, and are brought to one worker; then each rank reads its own, batch by
batch, and keeps no more of them than LightGBM's bins.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from gbdtlr.compute.parts import Parts
from gbdtlr.config import SamplesConfig
from gbdtlr.engine.seats import Seat, Together, address, seats
from gbdtlr.errors import ConfigError, EngineError, SamplesError
from gbdtlr.jobs import guards
from gbdtlr.jobs.coding import is_dealt
from gbdtlr.jobs.counted import last_of
from gbdtlr.jobs.grounds import Dealt, Grounds, Whole
from gbdtlr.jobs.looked import PARTS, Choice, end_to_end, in_one, look, sizes_of, weighed
from gbdtlr.jobs.run import Run
from gbdtlr.samples import Samples, Share, Tally, Window, check_both_classes, deal, read_shares
from gbdtlr.trees import FrozenTrees, Schema
from gbdtlr.trees.bins import N_ROWS, bins_of
from gbdtlr.trees.plan import RANK, Plan
from gbdtlr.trees.together import Growing, grow_together
from gbdtlr.trees.training import BOTH_PARTS

Result = TypeVar("Result")

MOST_ROWS = 2**31 - 1
"""LightGBM counts rows, those of all ranks too, in 32 bits."""
Seed = tuple[list[Share], ...]
"""Shares that a rank reads, for each of the two"""


def grounds_of(run: Run) -> Grounds | DealtGrounds:
    """The samples of the trees' window, here or on the engine's workers, as the config has it; errors as there."""
    trees, samples = run.config.trees, run.config.samples
    if trees.learn_on == "here" or not run.engine.n_workers:
        return Grounds.read(run)
    if not is_dealt(samples):
        if trees.learn_on == "workers":
            raise ConfigError(
                '[trees] learn_on = "workers" is not for rows that are put together of several files; leave it out, '
                "and set max_rows if they do not fit the job's machine"
            )
        return Grounds.read(run)
    growing = Growing.of(trees, samples) if trees.learn_on == "workers" else None  # before anything is read
    whole = Whole.counted_by(run)
    n_features = len({*samples.numeric, *samples.categorical})
    if trees.learn_on == "auto" and whole.fits_here(min(whole.n_rows, trees.max_rows or whole.n_rows), n_features):
        return Grounds.read(run, whole)
    return DealtGrounds.read(run, whole, growing or Growing.of(trees, samples))


@dataclass(frozen=True)
class Rows:
    """How each rank's rows are read.

    Attributes
    ----------
    schema : of all
    scale : what weights are multiplied with
    """

    cfg: SamplesConfig
    window: Window
    choice: Choice
    schema: Schema
    scale: float

    def of(self, shares: Sequence[Share], newest: bool) -> Iterator[Samples]:
        """The shares' rows to stop by, or those to grow on."""
        for share in read_shares(shares, self.cfg, self.window):
            for samples in share.batches:
                used, _ = self.choice.taken(samples, self.cfg)
                if len(used := used.filter(self.choice.is_newest(used) == newest)):
                    yield used


def fill(seat: Seat[Seed], plan: Plan, rows: Rows) -> None:
    """Begin a rank on its seat, and tell it all its rows.

    Raises
    ------
    EngineError
        There are others than there were.
    """
    seat.begin(RANK)
    seat.tell(replace(plan, address=address()))
    for part, shares in enumerate(seat.seed):
        n = 0
        for samples in rows.of(shares, bool(part)):
            n += len(samples)
            if n > plan.n_rows[part]:
                break
            matrix = np.ascontiguousarray(rows.schema.matrix(samples.table))
            seat.tell((matrix, samples.label, samples.weight * rows.scale))
        if n != plan.n_rows[part]:
            raise EngineError("samples changed while they were read for the trees; run it once more")


@dataclass
class DealtGrounds:
    """Samples for trees on the workers; in use as :class:`~gbdtlr.jobs.grounds.Grounds`.

    Attributes
    ----------
    n_used : how many rows trees are grown on
    some : part of one worker that has rows which tell of all, as long as nothing has grown; of weights that stand for
        all
    sizes : what was said of each share
    n_ranks : how many are to grow them
    """

    whole: Whole
    dealt: Dealt
    growing: Growing
    choice: Choice
    n_used: int
    some: Parts[Samples]
    sizes: Sequence[tuple[NDArray[np.int64], NDArray[np.int64], bool]]
    n_ranks: int

    @classmethod
    def read(cls, run: Run, whole: Whole, growing: Growing) -> DealtGrounds:
        """The samples of the trees' window, or ``max_rows`` of them.

        Raises
        ------
        SamplesError
            Labels all of one class, more rows than LightGBM counts, or rows all alike where some are to be chosen.
        """
        trees, dealt = run.config.trees, whole.dealt
        assert isinstance(dealt, Dealt)
        limit = whole.limit(trees.max_rows)
        n_used = whole.n_below(limit)
        if not n_used:
            raise whole.all_alike()
        if n_used > MOST_ROWS:
            raise SamplesError(
                f"{n_used} rows in the trees' window; LightGBM counts to {MOST_ROWS}: set [trees] max_rows"
            )
        few = whole.limit(max(N_ROWS, growing.n_for_bins))
        few = min([each for each in (few, limit) if each is not None], default=None)
        if few is not None and not whole.n_below(few):
            raise whole.all_alike()
        cut_us = None
        if trees.early_stopping_rounds is not None:
            cut_us = max(whole.counted.map(last_of)) - trees.validation // timedelta(microseconds=1)
        choice = Choice(limit, few, cut_us)
        cfg, window = run.config.samples, dealt.window
        looked = run.engine.parts(deal(dealt.found.files), look, cfg, window, choice)
        sizes = looked.map(sizes_of)
        _check_classes(sizes, cut_us is not None)
        some = looked.regroup(in_one, end_to_end)
        if limit is not None or few is not None:
            some = some.derive(weighed, whole.n_rows / some.sum(len))
        n_ranks = min(run.engine.n_workers, sum(bool(n_rows[0]) for n_rows, _, _ in sizes))
        # Notes of all rows would be made again where a worker is lost, and nobody asks for them any more.
        whole = replace(whole, counted=Parts())
        return cls(whole, dealt, growing, choice, n_used, some, sizes, n_ranks)

    @property
    def n_rows(self) -> int:
        """How many there are in the window."""
        return self.whole.n_rows

    @property
    def totals(self) -> guards.Totals:
        """Sums over all of these."""
        return self.whole.totals

    @property
    def schema(self) -> Schema:
        """Of all of them."""
        return self.whole.schema

    @property
    def tally(self) -> Tally:
        """What was come across in reading."""
        return self.whole.tally

    @property
    def thinned(self) -> dict[str, int]:
        """As of :class:`~gbdtlr.jobs.grounds.Grounds`."""
        return {} if self.n_used == self.n_rows else {"grown_on": self.n_used}

    @property
    def learned(self) -> Mapping[str, int]:
        """As of :class:`~gbdtlr.jobs.grounds.Grounds`."""
        return {"ranks": self.n_ranks}

    def ask(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """What ``function(samples, *arguments)`` says of rows that tell of all, on the worker that has them."""
        (said,) = self.some.map(function, *arguments)
        return said

    def grow(self, run: Run, progress: Callable[[int, int, str], None] | None) -> FrozenTrees:
        """Trees of the samples; nothing can be asked of them any more. Raises as :func:`grow_together`."""
        bins = self.ask(bins_on, self.choice, self.schema, self.growing.params)
        self.some = Parts()  # rows that would all be read again where their worker is lost
        scale = 1.0 if self.choice.limit is None else self.n_rows / self.n_used
        is_weighed = scale != 1 or any(each for _, _, each in self.sizes)
        plan = self.growing.plan(self.schema, bins, is_weighed)
        shares = deal(self.dealt.found.files)
        seeds: list[Seed] = [([], []) for _ in range(self.n_ranks)]
        plans = [plan] * self.n_ranks
        for part in range(PARTS):
            n_rows = [int(each[part]) for each, _, _ in self.sizes]
            for rank, own in enumerate(dealt_evenly(n_rows, self.n_ranks)):
                seeds[rank][part].extend(shares[i] for i in own)
                n = sum(n_rows[i] for i in own)
                plans[rank] = replace(plans[rank], n_rows=(n, 0) if not part else (plans[rank].n_rows[0], n))
        reading = Rows(run.config.samples, self.dealt.window, self.choice, self.schema, scale)
        ranks = Together(run.engine.parts([*enumerate(seeds)], seats))
        return grow_together(
            ranks,
            partial(fill, rows=reading),
            self.growing,
            plans,
            self.schema,
            progress=progress,
            on_lost=lambda reason: run.say.say("trees.again", reason=reason),
        )


def bins_on(samples: Samples, choice: Choice, schema: Schema, params: Mapping[str, Any]) -> bytes:
    """Bins of the rows to grow on, as LightGBM finds them on one machine."""
    return bins_of(samples.filter(~choice.is_newest(samples)), schema, params)


def dealt_evenly(n_rows: Sequence[int], n_ranks: int) -> list[list[int]]:
    """Places of shares for each rank, in their order, with about as many rows; those without rows are left out.

    Each rank has some as long as there are as many with rows as ranks.
    """
    places = [i for i, n in enumerate(n_rows) if n]
    n_of = np.cumsum([n_rows[i] for i in places])
    cuts = [0]
    for rank in range(1, n_ranks):
        nearest = int(np.abs(n_of - n_of[-1] * rank / n_ranks).argmin()) + 1 if places else 0
        cuts.append(min(max(nearest, cuts[-1] + 1), max(len(places) - (n_ranks - rank), cuts[-1])))
    cuts.append(len(places))
    return [places[first:last] for first, last in pairwise(cuts)]


def _check_classes(sizes: Sequence[tuple[Any, NDArray[np.int64], Any]], is_cut: bool) -> None:
    classes = sum((each for _, each, _ in sizes), np.zeros((PARTS, 2), np.int64))
    if not is_cut:
        (negative, positive), _ = classes.tolist()
        check_both_classes(positive, negative, "samples")
        return
    for (negative, positive), told in zip(classes.tolist(), BOTH_PARTS, strict=True):
        check_both_classes(positive, negative, *told)
