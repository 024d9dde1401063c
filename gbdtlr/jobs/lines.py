"""Lines of the stream job: JSON objects as samples, and samples as a table."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from gbdtlr.codec.line import row_of
from gbdtlr.config import SamplesConfig
from gbdtlr.errors import SamplesError, SchemaError
from gbdtlr.samples import MAX_WEIGHT
from gbdtlr.samples.formats.lists import list_array
from gbdtlr.values import scalars
from gbdtlr.values.arrays import from_numpy, with_nulls
from gbdtlr.values.categories import whole_array, written
from gbdtlr.values.numbers import numbers
from gbdtlr.values.vectors import vector, vectors


def sample_of(
    line: bytes | str, config: SamplesConfig, label: float | None = None
) -> tuple[dict[str, Any], float, float]:
    """Features, label and weight of a line.

    Parameters
    ----------
    label : its own, where the line does not say so

    Raises
    ------
    SamplesError
        It is not a sample.
    """
    row = row_of(line)
    label = _read(scalars.truth, row, config.label) if label is None else label
    if math.isnan(label):
        raise SamplesError(f"{config.label} is missing, expected 0 or 1")
    weight = 1.0 if config.weight is None else _read(scalars.number, row, config.weight)
    if not 0 <= weight <= MAX_WEIGHT:
        raise SamplesError(f"{config.weight} is {row.get(str(config.weight))!r}, expected 0 to {MAX_WEIGHT:g}")
    absent = [name for name in config.features if name not in row]
    if len(absent) == len(config.features):
        raise SchemaError(f"none of the features is there; expected {', '.join(absent)}")
    numeric, wide, texts = set(config.numeric), set(config.wide_columns), set(config.texts)
    for name in config.features:
        if name in config.linear:
            _read(vector, row, name)
        if name in numeric:
            _read(scalars.number, row, name)
            if name in wide:
                _read(_whole, row, name)
        elif name in texts:
            _read(scalars.text, row, name)
    return {name: row.get(name) for name in config.features}, label, weight


def _whole(value: Any) -> None:
    """Nothing, if a number is one that :func:`whole_array` takes."""
    text = scalars.text(value)
    if text is not None and not (text.removeprefix("-").isdecimal() and len(text) <= 38):
        raise SchemaError(f"is {text:.60}, a whole number of 38 digits at most expected (it is a wide column too)")


def _read(meaning: Callable[[Any], Any], row: dict[str, Any], name: str) -> Any:
    try:
        return meaning(row.get(name))
    except SchemaError as error:
        raise SchemaError(f"{name} {error}") from None


def table_of(rows: Sequence[dict[str, Any]], config: SamplesConfig) -> pa.Table:
    """Rows as a table: numbers as numbers, lists of them as lists, categories and ids as the texts they stand for."""
    columns = {}
    for name in config.features:
        values = [row[name] for row in rows]
        if name in config.linear and any(isinstance(value, list) for value in values):
            columns[name] = list_array(vectors(values))
        elif name in config.texts:
            columns[name] = written(values)
        elif name in config.wide_columns:
            columns[name] = whole_array(values)
        else:
            found = numbers(values)
            columns[name] = with_nulls(from_numpy(found), np.isnan(found))
    return pa.table(columns)
