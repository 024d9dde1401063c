"""Cases: columns of every physical type with what they mean, and doors: the ways their values come in."""

from __future__ import annotations

import csv
import json
import math
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal as D
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
from pyarrow import parquet

from gbdtlr.config import SamplesConfig
from gbdtlr.errors import SchemaError
from gbdtlr.jobs.blocks import Block
from gbdtlr.jobs.lines import sample_of
from gbdtlr.model import Model
from gbdtlr.samples import read
from gbdtlr.scoring import Scorer, score_file
from gbdtlr.streams import Piece

REFUSED: Any = "<refused>"
NUMBER, CATEGORY, ID = "x", "c", "u"
ROLES = (NUMBER, CATEGORY, ID)
PLAIN: dict[str, Any] = {NUMBER: 0.25, CATEGORY: "a", ID: "a", "n": 5}
START, NOW = datetime(2024, 3, 1, tzinfo=UTC), datetime(2024, 3, 9, tzinfo=UTC)
U1, U2 = uuid.UUID(int=255), uuid.UUID("550e8400-e29b-41d4-a716-446655440000")


@dataclass(frozen=True)
class Case:
    """A column of one physical type.

    Attributes
    ----------
    numbers, texts : meaning of each value, or REFUSED
    """

    name: str
    array: pa.Array
    numbers: Sequence[Any]
    texts: Sequence[Any]

    def meaning(self, role: str) -> Sequence[Any]:
        return self.numbers if role == NUMBER else self.texts


def whole(kind: pa.DataType, values: Sequence[int | None]) -> Case:
    array = pa.array(values, kind)
    numbers = [math.nan if value is None else float(value) for value in values]
    return Case(str(kind), array, numbers, [None if value is None else str(value) for value in values])


def floats(kind: pa.DataType, values: Sequence[Any], texts: Sequence[Any], name: str) -> Case:
    dtype = {"halffloat": "f2", "float": "f4", "double": "f8"}[str(kind)]
    array = pa.array([None if value is None else np.dtype(dtype).type(value) for value in values], kind)
    numbers = [math.nan if value is None else float(np.dtype(dtype).type(value)) for value in values]
    return Case(f"{kind} {name}", array, numbers, texts)


def decimals(kind: Any, values: Sequence[str | None], name: str) -> Case:
    given = [None if value is None else D(value) for value in values]
    numbers = [math.nan if value is None else float(value) for value in values]  # the float nearest to the text
    texts = [None if v is None else str(int(v)) if v == v.to_integral_value() else REFUSED for v in given]
    return Case(f"{kind} {name}", pa.array(given, kind), numbers, texts)


def texts(array: pa.Array, name: str) -> Case:
    written = array.to_pylist()
    spelled = {"TRUE": "true", "False": "false", "7.0": "7", "-0.0": "0", "1e+05": "100000", "12.00": "12", "": None}
    spelled["9.2e+18"] = REFUSED
    return Case(
        name,
        array,
        [math.nan if value is None else REFUSED for value in written],
        [None if value is None else spelled.get(value, value) for value in written],
    )


def refused(array: pa.Array) -> Case:
    told = [None if value is None else REFUSED for value in array.to_pylist()]
    return Case(f"{array.type}", array, [math.nan if value is None else value for value in told], told)


def encoded(case: Case, kind: str) -> Case:
    array = case.array.dictionary_encode() if kind == "dictionary" else pa.compute.run_end_encode(case.array)
    return Case(f"{kind} of {case.name}", array, case.numbers, case.texts)


def extension(kind: Any, storage: pa.Array, numbers: Sequence[Any], texts: Sequence[Any]) -> Case:
    return Case(str(kind), pa.ExtensionArray.from_storage(kind, storage), numbers, texts)


INTS = [
    whole(pa.from_numpy_dtype(name), [0, 7, None, 1, np.iinfo(name).max, np.iinfo(name).min])
    for name in ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
]
FLOATS = [
    *(
        floats(kind, [0.0, 7.0, None, math.nan, -0.0, -3.0], ["0", "7", None, None, "0", "-3"], "whole")
        for kind in (pa.float16(), pa.float32(), pa.float64())
    ),
    *(
        floats(kind, [7.0, value], ["7", REFUSED], name)
        for kind, limit in ((pa.float16(), 2**11), (pa.float32(), 2**24), (pa.float64(), 2**53))
        for name, value in (("fraction", 0.5), ("too large", limit), ("infinite", -math.inf))
    ),
    floats(pa.float64(), [2.0**53 - 1, 1 - 2.0**53], ["9007199254740991", "-9007199254740991"], "large"),
    floats(pa.float32(), [2.0**24 - 1], ["16777215"], "large"),
]
DECIMALS = [
    decimals(pa.decimal128(38, 0), ["7", None, "-3", str(2**63 + 1), "9" * 38, str(2**53 + 1)], "whole"),
    decimals(pa.decimal256(76, 0), ["7", None, "9" * 76], "whole"),
    decimals(pa.decimal128(22, 2), ["7.00", None, "-3.00", "90071992547409930.00"], "whole"),
    decimals(pa.decimal128(22, 2), ["7.00", "7.50", "0.01"], "fractions"),
    decimals(pa.decimal128(38, 20), ["0.1", "123456789012345678.12345678901234567891"], "fractions"),
    decimals(pa.decimal256(70, 30), ["0.1", "-9007199254740993.5"], "fractions"),
    decimals(pa.decimal128(5, -3), ["7E3", None], "of thousands"),
    *(
        decimals(getattr(pa, name)(6, 2), ["7.00", None, "-3.00"], "whole")
        for name in ("decimal32", "decimal64")
        if hasattr(pa, name)
    ),
]
TRUTHS = Case("bool", pa.array([True, False, None]), [1.0, 0.0, math.nan], ["true", "false", None])
WORDS = ["a", "7", "TRUE", "False", "7.0", "", None, "007", "-0.0", "1e+05", "12.00", "é", "1.10", "1e5", "12e45"]
TEXTS = texts(pa.array(WORDS), "string")
CASES = [
    *INTS,
    *FLOATS,
    *DECIMALS,
    TRUTHS,
    TEXTS,
    texts(pa.array(WORDS, pa.large_string()), "large_string"),
    texts(pa.array(WORDS, pa.string_view()), "string_view"),
    texts(pa.array(["7", "9.2e+18"]), "string of a float"),
    *(encoded(case, kind) for case in (INTS[3], FLOATS[2], TRUTHS, TEXTS) for kind in ("dictionary", "run ends")),
    encoded(refused(pa.array([b"a", None])), "dictionary"),
    extension(
        pa.uuid(),
        pa.array([U1.bytes, None, U2.bytes], pa.binary(16)),
        [REFUSED, math.nan, REFUSED],
        [str(U1), None, str(U2)],
    ),
    extension(
        pa.bool8(), pa.array([1, 0, None, -3], pa.int8()), [1.0, 0.0, math.nan, 1.0], ["true", "false", None, "true"]
    ),
    extension(pa.opaque(pa.int64(), "kind", "vendor"), pa.array([1, None]), [REFUSED, math.nan], [REFUSED, None]),
    Case("null", pa.nulls(2), [math.nan] * 2, [None] * 2),
    *(
        Case(f"nothing but nulls of {kind}", pa.nulls(2, kind), [math.nan] * 2, [None] * 2)
        for kind in (pa.timestamp("us"), pa.list_(pa.int8()), pa.binary(), pa.float64(), pa.duration("s"))
    ),
    *map(
        refused,
        (
            pa.array([datetime(2024, 1, 1), None], pa.timestamp("us")),
            pa.array([datetime(2024, 1, 1, tzinfo=UTC)], pa.timestamp("ns", "UTC")),
            pa.array([date(2024, 1, 1), None]),
            pa.array([time(1)]),
            pa.array([timedelta(1)]),
            pa.array([b"a", None]),
            pa.array([U1.bytes], pa.binary(16)),
            pa.array([[1], None]),
            pa.array([{"a": 1}, None]),
            pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int8())),
        ),
    ),
]


@dataclass
class Doors:
    """Ways to have values scored, coded or learned by one release.

    Each takes an array and the role it plays, and gives leaves, buckets and margin of the rows, or None where that
    door cannot carry what the array holds.
    """

    scorer: Scorer
    folder: Path
    model: Model = field(init=False)

    def __post_init__(self) -> None:
        self.model = self.scorer.loaded.model

    def frame(self, frame: Any) -> tuple[Any, ...]:
        codes = self.model.encode(frame)
        return codes.leaves, codes.buckets, self.scorer.margin(frame)

    def rows(self, rows: Sequence[Any]) -> tuple[Any, ...]:
        codes, n_trees = np.stack([self.model.encode_row(row) for row in rows], axis=1), self.model.trees.n_trees
        return (
            codes[:n_trees].astype(self.model.trees.code_dtype),
            codes[n_trees:].astype(np.uint32),
            np.array([self.model.row_margin(row) for row in rows]),
        )

    def expected(self, role: str, meaning: Sequence[Any]) -> tuple[Any, ...]:
        """What values that mean so give: floats and texts, or None, that nobody can misread."""
        return self.frame({**constants(len(meaning)), role: list(meaning)})

    def table(self, array: pa.Array, role: str) -> Any:
        return self.frame(table_of(array, role))

    def slices(self, array: pa.Array, role: str) -> Any:
        twice = pa.concat_tables([table_of(array, role)] * 2)
        whole = pa.concat_tables([twice.slice(1, 1), twice.slice(1, 0), twice]).slice(1)
        return self.frame(whole.slice(len(array)))

    def stream(self, array: pa.Array, role: str) -> Any:
        table = table_of(array, role)
        coded = self.frame(table)
        return (*coded[:2], self.scorer.margin(OnlyStream(table)))

    def columns(self, array: pa.Array, role: str) -> Any:
        return self.frame({**constants(len(array)), role: array})

    def lists(self, array: pa.Array, role: str) -> Any:
        if is_opaque(array):
            return None
        return self.frame({**constants(len(array)), role: values_of(array)})

    def objects(self, array: pa.Array, role: str) -> Any:
        if is_opaque(array):
            return None
        return self.frame({**constants(len(array)), role: objects_of(values_of(array))})

    def masked(self, array: pa.Array, role: str) -> Any:
        kind = array.type
        if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)):
            return None
        filled = [1 if value is None else value for value in array.to_pylist()]
        hidden = np.array([value is None for value in array.to_pylist()])
        column = np.ma.masked_array(np.array(filled, kind.to_pandas_dtype()), hidden)
        return self.frame({**constants(len(array)), role: column})

    def pandas(self, array: pa.Array, role: str) -> Any:
        kind = array.type.value_type if hasattr(array.type, "value_type") else array.type
        if is_opaque(array):
            return None
        if (pa.types.is_integer(kind) and array.null_count) or pa.types.is_run_end_encoded(array.type):
            return None  # whole numbers with a gap become floats there
        try:
            column = pd.Series(array.to_pandas())
        except (pa.ArrowException, TypeError, ValueError, NotImplementedError):
            return None
        if pa.types.is_decimal(array.type) or isinstance(array.type, pa.BaseExtensionType):
            column = pd.Series(objects_of(array.to_pylist()), dtype=object)
        return self.frame(pd.DataFrame({**constants(len(array)), role: column}))

    def arrow_backed(self, array: pa.Array, role: str) -> Any:
        if pa.types.is_run_end_encoded(array.type) or isinstance(array.type, pa.BaseExtensionType):
            return None
        column = pd.Series(array, dtype=pd.ArrowDtype(array.type))
        return self.frame(pd.DataFrame({**constants(len(array)), role: column}))

    def polars(self, array: pa.Array, role: str) -> Any:
        kind = array.type
        if pa.types.is_run_end_encoded(kind) or isinstance(kind, pa.BaseExtensionType) or pa.types.is_map(kind):
            return None
        if pa.types.is_dictionary(kind) and not pa.types.is_string(kind.value_type):
            return None
        if pa.types.is_decimal(kind) and (kind.bit_width > 128 or kind.scale < 0):
            return None
        column = pl.from_arrow(array)
        if pa.types.is_float16(kind) and column.dtype != getattr(pl, "Float16", None):
            return None
        return self.frame(pl.DataFrame({**constants(len(array)), role: column}))

    def row(self, array: pa.Array, role: str) -> Any:
        if is_opaque(array):
            return None
        return self.rows([{**PLAIN, role: value} for value in values_of(array)])

    def line(self, array: pa.Array, role: str) -> Any:
        lines = self.lines_of(array, role)
        return None if lines is None else self.rows([sample_of(line, self.config("-"))[0] for line in lines])

    def block(self, array: pa.Array, role: str) -> Any:
        lines = self.lines_of(array, role)
        if lines is None:
            return None
        block = Block.of(Piece(lines), self.config("-"), self.model)
        if block.n_refused:
            raise SchemaError(block.reason)
        codes, n_trees = np.stack(block.codes, axis=1), self.model.trees.n_trees
        leaves, buckets = codes[:n_trees].astype(self.model.trees.code_dtype), codes[n_trees:].astype(np.uint32)
        return leaves, buckets, self.rows(block.rows)[2]

    def lines_of(self, array: pa.Array, role: str) -> list[str] | None:
        texts = [in_json(value) for value in values_of(array)]
        if None in texts or is_opaque(array):
            return None
        fixed = json.dumps({**{k: v for k, v in PLAIN.items() if k != role}, "label": 1})[:-1]
        return [f'{fixed}, "{role}": {text}}}' for text in texts]

    def parquet(self, array: pa.Array, role: str) -> Any:
        path = self.in_parquet(array, role)
        return None if path is None else self.learned(path)

    def score_parquet(self, array: pa.Array, role: str) -> Any:
        path = self.in_parquet(array, role)
        return None if path is None else self.scored(path)

    def csv(self, array: pa.Array, role: str) -> Any:
        path = self.in_csv(array, role)
        return None if path is None else self.learned(path)

    def score_csv(self, array: pa.Array, role: str) -> Any:
        path = self.in_csv(array, role)
        return None if path is None else self.scored(path)

    def json_lines(self, array: pa.Array, role: str) -> Any:
        path = self.in_json(array, role)
        return None if path is None else self.learned(path)

    def score_json_lines(self, array: pa.Array, role: str) -> Any:
        path = self.in_json(array, role)
        return None if path is None else self.scored(path)

    def learned(self, path: Path) -> tuple[Any, ...]:
        samples = read(self.config(str(path)), START, NOW, NOW)
        codes = self.model.encode(samples)
        return codes.leaves, codes.buckets, self.model.margin(samples.table)

    def scored(self, path: Path) -> tuple[Any, ...]:
        out = path.with_name("scored.parquet")
        score_file(self.scorer, str(path), str(out))
        return (None, None, parquet.read_table(out)["probability"].to_numpy())

    def in_parquet(self, array: pa.Array, role: str) -> Path | None:
        path = self.folder / "in.parquet"
        try:
            parquet.write_table(sample_table(array, role), path)
        except (pa.ArrowException, OSError, NotImplementedError):
            return None
        kind = parquet.read_schema(path).field(role).type
        same = kind == array.type or pa.types.is_dictionary(array.type) or pa.types.is_string(kind)
        return path if same else None  # written as another type than it is read as

    def in_csv(self, array: pa.Array, role: str) -> Path | None:
        values = values_of(array)
        told = [in_csv(value) for value in values]
        if None in told or (role == NUMBER and any(isinstance(value, str) for value in values)):
            return None
        path = self.folder / "in.csv"
        with path.open("w", newline="", encoding="utf-8") as file:
            out = csv.writer(file)
            out.writerow(["t", "label", *PLAIN])
            for i, text in enumerate(told):
                out.writerow([f"2024-03-02T00:00:0{i % 10}Z", i % 2, *{**PLAIN, role: text}.values()])
        return path

    def in_json(self, array: pa.Array, role: str) -> Path | None:
        texts = [in_json(value) for value in values_of(array)]
        if None in texts or is_opaque(array) or all(text == "null" for text in texts):
            return None
        path = self.folder / "in.jsonl"
        fixed = json.dumps({**{k: v for k, v in PLAIN.items() if k != role}})[:-1]
        lines = [
            f'{fixed}, "t": "2024-03-02T00:00:0{i % 10}Z", "label": {i % 2}, "{role}": {text}}}\n'
            for i, text in enumerate(texts)
        ]
        path.write_text("".join(lines), "utf-8")
        return path

    def config(self, path: str) -> SamplesConfig:
        return SamplesConfig(
            path=(path,),
            event_time="t",
            label_delay=timedelta(hours=1),
            numeric=("x", "n"),
            categorical=("c",),
            wide=("u", "c:u", "n"),
        )


DOORS: dict[str, Callable[[Doors, pa.Array, str], Any]] = {
    name: getattr(Doors, name)
    for name in (
        *("table", "slices", "stream", "columns", "lists", "objects", "masked", "pandas", "arrow_backed", "polars"),
        *("row", "line", "block", "parquet", "score_parquet", "csv", "score_csv", "json_lines", "score_json_lines"),
    )
}


class OnlyStream:
    """What has a stream and nothing else that a frame has."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        return self._table.__arrow_c_stream__(requested_schema)


def constants(n: int) -> dict[str, Any]:
    return {name: [value] * n for name, value in PLAIN.items()}


def table_of(array: pa.Array, role: str) -> pa.Table:
    table = pa.table(constants(len(array)))
    return table.set_column(table.schema.get_field_index(role), role, array)


def sample_table(array: pa.Array, role: str) -> pa.Table:
    n = len(array)
    times = pa.array([datetime(2024, 3, 2, tzinfo=UTC)] * n, pa.timestamp("us", "UTC"))
    table = table_of(array, role).append_column("t", times)
    return table.append_column("label", pa.array([i % 2 for i in range(n)], pa.int8()))


def is_opaque(array: pa.Array) -> bool:
    """Whether its values tell nothing of their type once they are taken out."""
    return "opaque" in str(array.type)


def values_of(array: pa.Array) -> list[Any]:
    """Python's own values; numpy's where these are the only ones to tell the type."""
    dtype = {"halffloat": np.float16, "float": np.float32}.get(str(array.type))
    values = array.to_pylist()
    return values if dtype is None else [None if value is None else dtype(value) for value in values]


def objects_of(values: Sequence[Any]) -> Any:
    out = np.empty(len(values), object)
    out[:] = values
    return out


def in_json(value: Any) -> str | None:
    """The value as JSON says it; None if it cannot."""
    if isinstance(value, np.floating):
        return None
    if value is None or isinstance(value, bool | str):
        return json.dumps(value)
    if isinstance(value, int):
        return json.dumps(value) if -(2**63) <= value < 2**64 else None
    return json.dumps(value) if isinstance(value, float) and math.isfinite(value) else None


def in_csv(value: Any) -> str | None:
    """The value as the programs that write CSV put it; None if they do not."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bool | int | float | str | D | uuid.UUID) and not isinstance(value, np.floating):
        return str(value)
    return None
