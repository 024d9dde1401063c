"""Lines of the stream job: JSON objects as samples, and samples as a table."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from gbdtlr.config import SamplesConfig
from gbdtlr.errors import SamplesError, SchemaError
from gbdtlr.samples import MAX_WEIGHT
from gbdtlr.values.frames import texts

_SURROGATE = re.compile("[\ud800-\udfff]")


def sample_of(line: bytes | str, config: SamplesConfig) -> tuple[dict[str, Any], float, float]:
    """Features, label and weight of a line.

    Raises
    ------
    SamplesError
        It is not a sample.
    """
    try:
        row = json.loads(line)
    except ValueError as error:
        raise SamplesError(f"a line that is not JSON: {error}") from None
    if not isinstance(row, dict):
        raise SamplesError(f"a line that is a JSON {type(row).__name__}, expected an object")
    label = row.get(config.label)
    if isinstance(label, str) or label not in (0, 1):
        raise SamplesError(f"{config.label} is {label!r}, expected 0 or 1")
    weight = 1.0 if config.weight is None else row.get(config.weight)
    if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight <= MAX_WEIGHT:
        raise SamplesError(f"{config.weight} is {weight!r}, expected a number from 0 to {MAX_WEIGHT:g}")
    nested = [name for name in config.features if isinstance(row.get(name), dict | list)]
    if nested:
        raise SchemaError(f"{', '.join(nested)}: nested values, expected texts or numbers")
    absent = [name for name in config.features if name not in row]
    if len(absent) == len(config.features):
        raise SchemaError(f"none of the features is there; expected {', '.join(absent)}")
    broken = [name for name in config.features if isinstance(row.get(name), str) and _SURROGATE.search(row[name])]
    if broken:
        raise SchemaError(f"{', '.join(broken)}: half a character, expected texts that can be written as UTF-8")
    return {name: row.get(name) for name in config.features}, float(label), float(weight)


def table_of(rows: Sequence[dict[str, Any]], config: SamplesConfig) -> pa.Table:
    """Rows as a table: numbers as numbers, categories and ids as the texts they are taken for."""
    columns = {}
    for name in config.features:
        values = [row[name] for row in rows]
        if name in config.numeric:
            # Arrow takes no whole number beyond 64 bits for a fraction.
            columns[name] = pa.array([each if each is None else float(each) for each in values], pa.float64())
        else:
            columns[name] = pa.array([each if each is None else _text(each) for each in values], pa.string())
    return pa.table(columns)


def _text(value: Any) -> str:
    if type(value) in (str, int):  # whole numbers of any length, as ids have them
        return str(value)
    return str(texts(pa.array([value]))[0].as_py())
