"""One file: its rows of the window, and what was come across on the way, whatever its format."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import pyarrow as pa

from gbdtlr.config import SamplesConfig
from gbdtlr.errors import SamplesError
from gbdtlr.samples.batch import Samples
from gbdtlr.samples.files import File
from gbdtlr.samples.texts import has_torn_end
from gbdtlr.samples.window import Faults, Tally, Window


@dataclass
class Reading:
    """One file's share: its samples, and what was come across on the way."""

    file: File
    cfg: SamplesConfig
    window: Window
    batch_rows: int
    tally: Tally = field(default_factory=Tally)
    seen: set[str] = field(default_factory=set)

    def samples(self) -> Iterator[Samples]:
        faults = Faults(self.file.path)
        try:
            for batch in self._batches():
                samples = self.window.select(batch, self.cfg, faults, self.tally)
                # After a fault the rest of the file is read only to count.
                if samples is not None and not faults:
                    yield samples
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            reason = " ".join(str(error).split()).rstrip(".")
            remedy = "let this user read it" if isinstance(error, PermissionError) else "write it again or move it away"
            raise SamplesError(f"cannot read {self.file.path}: {reason}; {remedy}") from None
        if self.file.format == "csv" and has_torn_end(self.file):
            self.tally.unfinished += 1
        faults.check()

    def _batches(self) -> Iterator[pa.RecordBatch]:
        # Each reader loads its part of Arrow only when a file calls for it: start-up is part of every update.
        if self.file.format == "json":
            from gbdtlr.samples.json_columns import json_batches

            yield from json_batches(self.file, self.cfg, self.seen)
        elif self.file.format == "csv":
            from gbdtlr.samples.csv import csv_batches

            yield from csv_batches(self.file, self.cfg, self.seen)
        else:
            from gbdtlr.samples.parquet import parquet_batches

            yield from parquet_batches(self.file, self.cfg, self.window, self.tally, self.batch_rows, self.seen)
