"""Thinning: keeping only some of the negatives, always the same ones, with weights that make up for the rest."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from gbdtlr.samples.batch import Samples
from gbdtlr.values.arrays import real_numbers
from gbdtlr.values.categories import text_dictionary, texts_of
from gbdtlr.values.hashing import SPLITMIX64, U64, hash_of, hash_texts, mix
from gbdtlr.values.vectors import vectors


def thin_negatives(
    samples: Samples, keep_rate: float, numeric: Collection[str], dense: Collection[str] = ()
) -> Samples:
    """Every positive, and the share ``keep_rate`` of the negatives at ``1 / keep_rate`` of their weight.

    Which negatives stay follows from a hash of event time and features: the same on every machine, in every file
    format that holds the same values, however the rows are batched. Columns named in ``numeric`` are hashed as
    numbers, others in ``dense`` as lists of them, all others as texts. The weights keep the expected loss, so
    probabilities fitted to the rest are calibrated on the full stream.

    Source
    ------
    He et al. 2014, section 6.3, with importance weights in place of their correction of the probabilities.
    """
    if keep_rate >= 1 or not len(samples):
        return samples
    negatives = np.flatnonzero(samples.label == 0)
    hashes = row_hashes(samples.take(negatives), numeric, dense)
    uniform = (hashes >> np.uint64(11)) * 2.0**-53
    weight = samples.weight.copy()
    weight[negatives] /= keep_rate
    keep = np.ones(len(samples), bool)
    keep[negatives] = uniform < keep_rate
    return replace(samples, weight=weight).filter(keep)


def row_hashes(samples: Samples, numeric: Collection[str], dense: Collection[str] = ()) -> U64:
    """64 bits of event time and features of each row, (n,); columns named in ``numeric`` and ``dense`` as numbers."""
    table, event_us = samples.table, samples.event_us
    # A sum over columns, each salted with its name: the order of columns in the config does not matter.
    name_hash = hash_of(SPLITMIX64)
    total = mix(event_us.view(np.uint64))
    for name in table.column_names:
        column, salt = table.column(name), np.uint64(name_hash(name))
        if name in dense and name not in numeric:
            total = total + _vector_hash(vectors(column), salt)
            continue
        values = _number_hash(column) if name in numeric else _category_hash(column)
        total = total + mix(values ^ salt)
    return mix(total)


def _number_hash(column: pa.ChunkedArray) -> U64:
    # By value and not by type: 7 is hashed as 7.0, so that int16 in one file equals float64 in another.
    numbers = np.concatenate([real_numbers(chunk) for chunk in column.chunks] or [np.zeros(0)])
    return _bits(numbers)


def _vector_hash(values: npt.NDArray[np.float64], salt: np.uint64) -> U64:
    total = np.zeros(len(values), np.uint64)
    for place, numbers in enumerate(values.T):
        total = total + mix(_bits(numbers) ^ salt ^ np.uint64(place + 1))
    # Where no row of a batch has a value, nobody knows how many numbers are missing.
    total[np.isnan(values).all(axis=1)] = 0
    return total


def _bits(numbers: npt.NDArray[np.float64]) -> U64:
    return (np.where(np.isnan(numbers), np.nan, numbers) + 0.0).view(np.uint64)


def _category_hash(column: pa.ChunkedArray) -> U64:
    return np.concatenate([np.zeros(0, np.uint64), *(hash_texts(_texts(chunk), 0) for chunk in column.chunks)])


def _texts(column: pa.Array) -> pa.Array:
    return text_dictionary(column) if pa.types.is_dictionary(column.type) else texts_of(column)
