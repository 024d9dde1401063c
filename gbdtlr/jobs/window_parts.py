"""Window parts: what is made of a window's samples, batch by batch, where an engine reads them."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar

from gbdtlr.compute.parts import Parts
from gbdtlr.config import SamplesConfig
from gbdtlr.engine import Engine, Local
from gbdtlr.samples import (
    Found,
    Plan,
    Samples,
    Share,
    Tally,
    Window,
    deal,
    joined_batches,
    read_blocks,
    read_shares,
)

Part = TypeVar("Part")
Make = Callable[..., Part]
"""``make(batches, *broadcast)``: a part of all the batches, of which there may be none"""
BATCH_ROWS = 65_536


@dataclass(frozen=True)
class WindowParts(Generic[Part]):
    """What was made of a window's samples.

    Attributes
    ----------
    parts : it, in canonical order
    tally : what was come across in reading
    window : which rows these are
    """

    parts: Parts[Part]
    tally: Tally
    window: Window

    @classmethod
    def read(
        cls,
        engine: Engine,
        cfg: SamplesConfig,
        span: tuple[datetime, datetime],
        as_of: datetime,
        make: Make[Part],
        *broadcast: Any,
        known_after: datetime | None = None,
        only: Container[str] | None = None,
        unfinal: bool = False,
    ) -> WindowParts[Part]:
        """Parts of the samples that happened from the first moment of the span on, and before the second.

        Parameters
        ----------
        engine : where they are read, and parts are made and stay
        span, as_of, known_after, only : as of :func:`gbdtlr.samples.reading.read_batches`; and its errors
        unfinal : read those instead whose label is not final by ``as_of``, as they look then: it is 1 where the outcome
            had come, else 0, and ``known_us``, when it will be final, is later. Nothing that is learned for good or
            judges may see them. The tally's ``newest_outcome_us`` is then when the newest outcome came that is there
        """
        if cfg.key is not None:
            window = Window.of(cfg, *span, as_of, known_after, unfinal=unfinal)
            return cls._joined(engine, cfg, window, only, make, *broadcast)
        found = Found.of(cfg, *span, as_of, known_after=known_after, only=only, unfinal=unfinal)
        shares = engine.parts(deal(found.files), made_of_shares, cfg, found.window, make, broadcast)
        tally, columns = found.tally, set[str]()
        for own, seen in shares.map(notes_of):
            tally.add(own)
            columns |= seen
        found.check(cfg, tally, columns)
        return cls(shares.derive(part_of), tally, found.window)

    @classmethod
    def _joined(
        cls,
        engine: Engine,
        cfg: SamplesConfig,
        window: Window,
        only: Container[str] | None,
        make: Make[Part],
        *broadcast: Any,
    ) -> WindowParts[Part]:
        """As :meth:`read`, of impressions and outcomes: a part of each batch.

        In this process they are joined in order of time, with little in memory; elsewhere all at once, each file where
        it is read.
        """
        if isinstance(engine, Local):
            tally = Tally()
            batches = joined_batches(cfg, window, BATCH_ROWS, tally, only)
            return cls(Parts([make(iter([samples]), *broadcast) for samples in batches]), tally, window)
        plan = Plan.of(cfg, window, only)
        blocks = engine.parts(deal(plan.files), read_blocks, cfg, window, plan.reach, BATCH_ROWS)
        samples = plan.samples(blocks, BATCH_ROWS)
        return cls(samples.derive(made_of_batch, make, broadcast), plan.tally, window)


@dataclass(frozen=True)
class Made:
    """What was made of a share of the files.

    Attributes
    ----------
    tally : what was come across in reading
    columns : those that had values
    """

    part: Any
    tally: Tally
    columns: set[str]


def made_of_shares(
    shares: Sequence[Share], cfg: SamplesConfig, window: Window, make: Make[Any], broadcast: tuple[Any, ...]
) -> Iterator[Made]:
    """What is made of each share's rows of the window."""
    for share in read_shares(shares, cfg, window, BATCH_ROWS):
        part = make(share.batches, *broadcast)
        yield Made(part, share.tally, share.seen)


def made_of_batch(samples: Samples, make: Make[Any], broadcast: tuple[Any, ...]) -> Any:
    """What is made of a batch."""
    return make(iter([samples]), *broadcast)


def notes_of(made: Made) -> tuple[Tally, set[str]]:
    """What was come across in a share, and its columns that had values."""
    return made.tally, made.columns


def part_of(made: Made) -> Any:
    """What was made."""
    return made.part
