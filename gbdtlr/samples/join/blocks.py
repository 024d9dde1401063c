"""Blocks: impressions as shares of the files hold them, in order of time, to be dealt out by it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from gbdtlr.compute.parts import Slice
from gbdtlr.config import SamplesConfig
from gbdtlr.samples.ahead import in_order_ahead
from gbdtlr.samples.dealing import Share
from gbdtlr.samples.join.impressions import Impressions, Item, impressions_of
from gbdtlr.samples.opening import WIDTH, Reading, in_a_bucket
from gbdtlr.samples.window import Faults, Tally, Window

I64 = npt.NDArray[np.int64]

TOLD = 64
"""Moments by which each share tells how its impressions lie in time."""


@dataclass
class Block:
    """A share's impressions in order of time, to be dealt out by it; :class:`gbdtlr.compute.parts.Rows`.

    Attributes
    ----------
    n_wanted, n_keyless : how many rows were wanted, and how many of these have no key
    tally : what was come across in reading
    columns : those that had values
    """

    impressions: Impressions | None
    n_wanted: int = 0
    n_keyless: int = 0
    tally: Tally = field(default_factory=Tally)
    columns: set[str] = field(default_factory=set)

    def __len__(self) -> int:
        return 0 if self.impressions is None else len(self.impressions)

    def slices(self, start: int, stop: int) -> list[Slice]:
        """Those rows."""
        return [(self.impressions, start, stop)]

    def drop(self, stop: int) -> None:
        """Nothing: all of it goes at once."""


def read_blocks(
    shares: Sequence[Share], cfg: SamplesConfig, window: Window, reach: Window, batch_rows: int
) -> Iterator[Block]:
    """Each share's impressions.

    Parameters
    ----------
    window : of the rows that are wanted
    reach : of all rows, those among them that tell of others whether they repeat them
    """

    def take(batch: pa.RecordBatch, faults: Faults, tally: Tally) -> Item | None:
        return impressions_of(batch, cfg, window, reach, faults, tally)

    for share in shares:
        readings = [Reading(file, cfg, reach, batch_rows, take) for file in share]
        blocks, block = [], Block(None)
        for impressions, n_wanted, n_keyless in _items(readings):
            blocks.append(impressions)
            block.n_wanted += n_wanted
            block.n_keyless += n_keyless
        for one in readings:
            block.tally.add(one.tally)
            block.columns |= one.seen
        if sum(map(len, blocks)):
            block.impressions = Impressions.concat(blocks).in_order(cfg.numeric, cfg.linear)
        yield block


def _items(readings: Sequence[Reading[Item]]) -> Iterator[Item]:
    if in_a_bucket(one.file for one in readings):
        yield from in_order_ahead([one.items for one in readings], WIDTH)
    else:
        for one in readings:
            yield from one.items()


Notes = tuple[Tally, set[str], int, int]


def notes_of_block(block: Block) -> Notes:
    """What is said of a share: tally, columns, how many rows were wanted, how many of these have no key."""
    return block.tally, block.columns, block.n_wanted, block.n_keyless


def told_of(block: Block) -> tuple[int, I64]:
    """How many impressions a share has, and moments that part them evenly."""
    if block.impressions is None:
        return 0, np.zeros(0, np.int64)
    rows = np.linspace(0, len(block) - 1, min(TOLD, len(block))).astype(np.int64)
    return len(block), block.impressions.event_us[rows]


def joined_impressions(slices: Sequence[Slice]) -> Impressions:
    """Impressions of slices of some, at least one."""
    return Impressions.concat(
        [each if stop - start == len(each) else _some(each, start, stop) for each, start, stop in slices]
    )


def _some(impressions: Impressions, start: int, stop: int) -> Impressions:
    """Rows in a row, with no more texts than they need: they may travel."""
    found = impressions.take(np.arange(start, stop))
    if found.samples is None:
        return found
    table = found.samples.table
    for i, name in enumerate(table.column_names):
        column = table.column(i)
        if pa.types.is_dictionary(column.type):
            table = table.set_column(i, name, pa.chunked_array([_compact(each) for each in column.chunks], column.type))
    return replace(found, samples=replace(found.samples, table=table))


def _compact(column: pa.Array) -> pa.Array:
    if len(column.dictionary) <= len(column):
        return column
    texts = column.dictionary.take(column.indices).dictionary_encode()
    return pa.DictionaryArray.from_arrays(texts.indices.cast(column.type.index_type), texts.dictionary)
