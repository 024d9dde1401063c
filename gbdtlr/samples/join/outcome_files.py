"""Outcome files: those of them that can matter to some impressions, and of these key and time alone."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from gbdtlr.config import OutcomesConfig, SamplesConfig
from gbdtlr.errors import GbdtlrError, SamplesError
from gbdtlr.metrics import MAX_WEIGHT
from gbdtlr.samples.finality import NEVER
from gbdtlr.samples.finding import find_files
from gbdtlr.samples.join.keys import key_hashes
from gbdtlr.samples.join.outcomes import F32, I64, Gathering, Outcomes
from gbdtlr.samples.opening import Placed, Reading, Where, placed, read_together
from gbdtlr.samples.window import Faults, Tally, Window, weights_of
from gbdtlr.times import format_time, from_us, to_us
from gbdtlr.values.arrays import from_numpy
from gbdtlr.values.hashing import U64
from gbdtlr.values.truth import truths

_BATCH_ROWS = 65536


class _Columns(SamplesConfig):
    """Columns of outcomes, in the places of those that samples have."""

    table = "outcomes"

    def __post_init__(self) -> None:
        """Whatever is to be checked has been, where the outcomes were."""

    @property
    def label_column(self) -> str | None:
        """The column of the value, if there is one."""
        return self.label or None


def _columns(cfg: SamplesConfig) -> _Columns:
    own = outcomes_of(cfg)
    return _Columns(
        path=own.path,
        event_time=own.time,
        label=own.value or "",
        label_time=own.landed_time,
        weight=own.weight,
        timezone=cfg.timezone,
        partition=own.partition,
        key=own.key,
    )


def outcomes_of(cfg: SamplesConfig) -> OutcomesConfig:
    """What the config says of outcomes; there is something."""
    if cfg.outcomes is None:
        raise ValueError("samples without outcomes")
    return cfg.outcomes


class _Chunk(tuple[U64, I64, npt.NDArray[np.bool_], F32 | None]):
    """Key, time, whether it says 1, and weight of some outcomes, (n,) each."""


@dataclass
class Read:
    """Outcomes in memory, and how many there were.

    Attributes
    ----------
    keyless : times of those without a key
    same : times of those that were the same as another
    """

    outcomes: Outcomes
    keyless: I64
    same: I64


def outcome_files(cfg: SamplesConfig, first_us: int, end_us: int) -> list[Placed]:
    """Files that may hold outcomes of ``[first_us, end_us)``, by their path; nothing is opened."""
    own = outcomes_of(cfg)
    window, where = Window(first_us, end_us, NEVER), Where(own.time, own.partition, cfg.timezone, "outcomes")
    return list(placed(find_files(own.path, "[outcomes] path"), where, window, Tally()))


def read_outcomes(cfg: SamplesConfig, first_us: int, end_us: int, as_of_us: int, tally: Tally) -> Read:
    """Outcomes that came in ``[first_us, end_us)`` and, where it is told when they landed, had landed by ``as_of_us``.

    Parameters
    ----------
    tally : its ``unfinished`` counts files whose last line had no end

    Raises
    ------
    NoSamplesError
        No files match.
    SchemaError, SamplesError
        Files that cannot be read, or hold what cannot be; or more outcomes than the config allows.
    """
    own, columns = outcomes_of(cfg), _columns(cfg)
    window = Window(first_us, end_us, as_of_us)

    def too_many() -> GbdtlrError:
        span = f"{format_time(from_us(first_us))} to {format_time(from_us(end_us))}"
        return SamplesError(
            f"more than {own.max_outcomes:,} outcomes from {span}; [outcomes] max_outcomes allows no more (each takes "
            "20 bytes): raise it, or shorten the windows of [trees] and [head]"
        )

    keyless: list[I64] = [np.zeros(0, np.int64)]

    def take(batch: pa.RecordBatch, faults: Faults, tally: Tally) -> _Chunk | None:
        return _chunk(batch, columns, window, faults, tally, keyless)

    files = [each.file for each in outcome_files(cfg, first_us, end_us)]
    readings = [Reading(file, columns, window, _BATCH_ROWS, take) for file in files]
    gathering = Gathering(own.max_outcomes, too_many, own.weight is not None)
    for _, chunk in read_together(readings):
        gathering.add(*chunk)
    tally.unfinished += sum(one.tally.unfinished for one in readings)
    outcomes, same = gathering.sorted()
    return Read(outcomes, np.concatenate(keyless), same)


def outcomes_in(cfg: SamplesConfig, first_us: int, as_of: datetime) -> Outcomes:
    """Outcomes that had come, and landed, by ``as_of``, of impressions that happened from ``first_us`` on."""
    as_of_us = to_us(as_of)
    return read_outcomes(cfg, first_us, as_of_us + 1, as_of_us, Tally()).outcomes


def _chunk(
    batch: pa.RecordBatch, columns: _Columns, window: Window, faults: Faults, tally: Tally, keyless: list[I64]
) -> _Chunk | None:
    # An outcome is known when it has come and landed, so the rows wanted are what would be mature samples.
    moments = replace(window, delay_us=0).moments(batch, columns, faults, tally)
    rows = np.flatnonzero(moments.mature)
    if not len(rows):
        return None
    batch = batch.take(from_numpy(rows)) if len(rows) < len(batch) else batch
    time_us = moments.event_us[rows]
    key, has_key = key_hashes(batch.column(str(columns.key)), str(columns.key), faults.file)
    one = np.ones(len(rows), bool)
    if columns.label_column is not None:
        values = truths(batch.column(columns.label_column))
        wrong = np.flatnonzero(values.wrong)
        example = batch.column(columns.label_column)[int(wrong[0])].as_py() if len(wrong) else None
        faults.add(f"a {columns.label_column} other than 0 or 1", len(wrong), example)
        faults.add(f"no {columns.label_column}", int(values.missing.sum()))
        one = values.true
    weight = None
    if columns.weight is not None:
        weight = np.minimum(weights_of(batch, columns.weight, faults), MAX_WEIGHT).astype(np.float32)
    if faults:
        return None
    keyless.append(time_us[~has_key])
    if not has_key.all():
        key, time_us, one = key[has_key], time_us[has_key], one[has_key]
        weight = None if weight is None else weight[has_key]
    return _Chunk((key, time_us, one, weight))
