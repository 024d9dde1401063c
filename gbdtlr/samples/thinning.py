"""Thinning: keeping only some of the negatives, always the same ones, with weights that make up for the rest."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from gbdtlr.samples.batch import Samples
from gbdtlr.samples.columns import to_text_dictionary
from gbdtlr.values.arrays import from_numpy, from_texts, present, real_numbers, whole_numbers

U64 = npt.NDArray[np.uint64]


def thin_negatives(samples: Samples, keep_rate: float, numeric: Collection[str]) -> Samples:
    """Every positive, and the share ``keep_rate`` of the negatives at ``1 / keep_rate`` of their weight.

    Which negatives stay follows from a hash of event time and features: the same on every machine, in every file
    format that holds the same values, however the rows are batched. Columns named in ``numeric`` are hashed as
    numbers, all others as texts. The weights keep the expected loss, so probabilities fitted to the rest are
    calibrated on the full stream.

    Source
    ------
    He et al. 2014, section 6.3, with importance weights in place of their correction of the probabilities.
    """
    if keep_rate >= 1 or not len(samples):
        return samples
    negatives = np.flatnonzero(samples.label == 0)
    hashes = _row_hash(samples.table.take(from_numpy(negatives)), samples.event_us[negatives], numeric)
    uniform = (hashes >> np.uint64(11)) * 2.0**-53
    weight = samples.weight.copy()
    weight[negatives] /= keep_rate
    keep = np.ones(len(samples), bool)
    keep[negatives] = uniform < keep_rate
    return replace(samples, weight=weight).filter(keep)


def _row_hash(table: pa.Table, event_us: npt.NDArray[np.int64], numeric: Collection[str]) -> U64:
    # A sum over columns, each salted with its name: the order of columns in the config does not matter.
    total = _mix(event_us.view(np.uint64))
    for name in table.column_names:
        values = _number_hash(table.column(name)) if name in numeric else _category_hash(table.column(name))
        total = total + _mix(values ^ _text_hash(from_texts([name])))
    return _mix(total)


def _number_hash(column: pa.ChunkedArray) -> U64:
    # By value and not by type: 7 is hashed as 7.0, so that int16 in one file equals float64 in another.
    numbers = np.concatenate([real_numbers(chunk) for chunk in column.chunks] or [np.zeros(0)])
    return (np.where(np.isnan(numbers), np.nan, numbers) + 0.0).view(np.uint64)


def _category_hash(column: pa.ChunkedArray) -> U64:
    pieces = [np.zeros(0, np.uint64)]
    for chunk in to_text_dictionary(column).chunks:
        hashes = np.append(_text_hash(chunk.dictionary), np.uint64(0))
        pieces.append(hashes[np.where(present(chunk.indices), whole_numbers(chunk.indices), -1)])
    return np.concatenate(pieces)


def _text_hash(texts: pa.Array) -> U64:
    """Hash of the bytes of each text, eight at a time, all texts of one length together."""
    out = np.zeros(len(texts), np.uint64)
    if not len(texts):
        return out
    offsets = np.frombuffer(texts.buffers()[1], np.int32)[texts.offset :][: len(texts) + 1].astype(np.int64)
    data = np.frombuffer(texts.buffers()[2] or b"", np.uint8)
    lengths = np.diff(offsets)
    for length in np.unique(lengths):
        rows = np.flatnonzero(lengths == length)
        padded = np.zeros((len(rows), -(-length // 8) * 8), np.uint8)
        padded[:, :length] = data[offsets[rows, None] + np.arange(length)]
        state = _mix(np.full(len(rows), length, np.uint64))
        for words in padded.view("<u8").T:
            state = _mix(state ^ words)
        out[rows] = state
    return out


def _mix(values: U64) -> U64:
    """splitmix64's finaliser (Steele, Lea and Flood 2014): every bit of the input moves half of the output's."""
    z = values + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
