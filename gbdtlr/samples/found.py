"""Found: what there is to be read of a window, before anything is opened, where labels stand in the files."""

from __future__ import annotations

from collections.abc import Collection, Container
from dataclasses import dataclass
from datetime import datetime

from gbdtlr.config import SamplesConfig
from gbdtlr.samples.dealing import Share
from gbdtlr.samples.finding import find_files
from gbdtlr.samples.opening import Where, check_seen, placed
from gbdtlr.samples.window import Tally, Window


@dataclass(frozen=True)
class Found:
    """What there is to be read, before anything is opened.

    Attributes
    ----------
    window : which rows are looked for
    files : those that may hold some, by their path
    tally : what is known already
    whole : whether these are all files of the window, and not only some of them
    """

    window: Window
    files: Share
    tally: Tally
    whole: bool

    @classmethod
    def of(
        cls,
        cfg: SamplesConfig,
        start: datetime,
        end: datetime,
        as_of: datetime,
        *,
        known_after: datetime | None = None,
        only: Container[str] | None = None,
        unfinal: bool = False,
    ) -> Found:
        """What is to be read for :func:`gbdtlr.samples.reading.read_batches`; parameters and errors as there.

        Parameters
        ----------
        unfinal : look for rows whose label is not final by ``as_of``, among whom no feature needs a value
        """
        window, tally = Window.of(cfg, start, end, as_of, known_after, unfinal=unfinal), Tally()
        files = find_files(cfg.path, f"[{cfg.table}] path")
        tally.n_files = len(files)
        there = (each.file for each in placed(files, Where.of(cfg), window, tally))
        chosen = tuple(file for file in there if only is None or file.path in only)
        return cls(window, chosen, tally, only is None and not unfinal)

    def check(self, cfg: SamplesConfig, tally: Tally, seen: Collection[str]) -> None:
        """Nothing, if every feature had a value somewhere; parameters and errors as of :func:`check_seen`."""
        if self.whole:
            check_seen(cfg, tally, seen, len(self.files))
