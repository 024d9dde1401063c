"""What the jobs do around the head: code a window, judge heads on it, write them."""

from __future__ import annotations

import platform
from collections.abc import Container
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa

from gbdtlr import __version__
from gbdtlr.compute.parts import Parts
from gbdtlr.config import Config
from gbdtlr.head import Codes, Head, WideColumns
from gbdtlr.head.codes import cut, known_after
from gbdtlr.jobs.counting import MOMENT
from gbdtlr.jobs.guards import Observer, Seen
from gbdtlr.jobs.ledger import Ledger
from gbdtlr.jobs.methods import Fitted
from gbdtlr.metrics import Quality
from gbdtlr.release import Golden, Release, encode, tie
from gbdtlr.samples import Tally, read_batches
from gbdtlr.store import Entry, Store, Version
from gbdtlr.times import to_us
from gbdtlr.trees import FrozenTrees
from gbdtlr.values.arrays import give_back


@dataclass(frozen=True)
class CodedWindow:
    """Mature samples of a window as codes, and the newest of them as they came.

    Attributes
    ----------
    parts : the samples in pieces, in canonical order
    newest : some rows of the last part, for golden rows
    tally : what was come across in reading them
    """

    parts: Parts[Codes] = field(default_factory=Parts)
    newest: pa.Table | None = None
    tally: Tally = field(default_factory=Tally)

    def __len__(self) -> int:
        return self.parts.sum(len, zero=0)

    def known_after(self, moment: datetime) -> Parts[Codes]:
        """Only samples whose label became known after ``moment``."""
        return self.parts.derive(known_after, to_us(moment))


def code_window(
    config: Config,
    trees: FrozenTrees,
    wide: WideColumns,
    as_of: datetime,
    known_after: datetime | None = None,
    observer: Observer | None = None,
    only: Container[str] | None = None,
) -> CodedWindow:
    """The head's window up to ``as_of``, coded batch by batch: the samples themselves are never all in memory.

    With ``known_after``, the window reaches back from there, and only what became known later is read: every sample
    is in exactly one of the intervals of a chain of moments. With ``only``, no other files are opened.
    """
    start = (as_of if known_after is None else known_after) - config.head.window
    parts: list[Codes] = []
    newest = None
    tally = Tally()
    end = as_of + MOMENT
    for samples in read_batches(config.samples, start, end, as_of, known_after=known_after, tally=tally, only=only):
        parts.append(encode(samples, trees, wide))
        if observer is not None:
            observer.add(samples, parts[-1])
        newest = samples.table.slice(max(0, len(samples) - 1000))
    made = Parts(cut(parts))
    give_back()  # what reading took is more than fitting needs
    return CodedWindow(made, newest, tally)


def wide_of(config: Config) -> WideColumns:
    """The wide columns the configuration asks for."""
    return WideColumns(config.samples.wide, config.head.wide_buckets)


def ledger_of(base: Release, config: Config) -> Ledger | None:
    """Ledger of the live head; None if it kept none, or of another window.

    Raises
    ------
    DamagedError
    """
    table = base.head_manifest.get("ledger")
    ledger = None if table is None else Ledger.from_dict(table)
    return ledger if ledger is not None and ledger.window == config.head.window else None


def settings_changed(config: Config, base: Release) -> bool:
    """Whether heads are now made with other settings than the live one was."""
    made, now = base.head_manifest.get("config"), config.as_dict()
    made = made if isinstance(made, dict) else {}
    samples = made.get("samples")
    wide = samples.get("wide") if isinstance(samples, dict) else None
    return bool(made.get("head") != now["head"] or wide != now["samples"]["wide"])


def judge(head: Head, parts: Parts[Codes]) -> Quality:
    """Quality of a head on coded samples."""
    return parts.sum(quality_of, head, zero=Quality())


def quality_of(codes: Codes, head: Head) -> Quality:
    """Quality of a head on a part's rows."""
    return Quality.of(head.margin(codes), codes.label, codes.weight)


def write_head(
    store: Store,
    trees_name: str,
    trees: FrozenTrees,
    trees_manifest: Any,
    fitted: Fitted,
    window: CodedWindow,
    ledger: Ledger,
    config: Config,
    as_of: datetime,
    metrics: dict[str, Any],
    base: int | None,
    seen: Seen,
) -> Version:
    """Write the head's version; nothing refers to it yet.

    Raises
    ------
    DamagedError, MismatchError
        Read back from these bytes, it would not give what it gives here: no reader would take it.
    """
    newest = window.newest if window.newest is not None else pa.table({})
    files = {
        "head.npz": fitted.head.to_bytes(),
        "golden.json": Golden.of(newest, trees, fitted.head).to_bytes(),
        **fitted.files,
    }
    manifest = {
        "trees": tie(trees_name, trees_manifest),
        "config": config.as_dict(),
        "samples": len(window),
        "ledger": ledger.to_dict(),
        "seen": seen.to_dict(),
        "metrics": metrics,
        "base": base,
        "versions": versions(),
    }
    version = store.write_version("heads", files, manifest, as_of, under=trees_name)
    Release.of(Entry(1, as_of, trees_name, version.name, "trial"), trees, trees_manifest, files, version.manifest)
    return version


def versions() -> dict[str, str]:
    """Versions of what made an artifact."""
    return {
        "gbdtlr": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "pyarrow": pa.__version__,
    }
