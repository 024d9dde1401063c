"""A row that is explained is the row that is scored, whatever types its file has."""

from __future__ import annotations

from decimal import Decimal as D
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet
from values_kit import in_csv

from gbdtlr.errors import SchemaError
from gbdtlr.inspect.explain import explain, row_of
from gbdtlr.scoring import Scorer

COLUMNS = {
    "x": pa.array([D("0.25"), None], pa.decimal128(5, 2)),
    "n": pa.array([D(5), D(6)], pa.decimal128(38, 0)),
    "c": pa.array([7.0, None], pa.float32()),
    "u": pa.array([True, False]),
    "else": pa.array([b"\xff", b""]),
}


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
@pytest.mark.parametrize(
    "changes", [{}, {"c": pa.array(["TRUE", ""]), "u": pa.array([7, 2**63], pa.uint64())}], ids=["numbers", "texts"]
)
def test_a_row_of_a_file_is_explained_as_it_is_scored(
    scorer: Scorer, tmp_path: Path, suffix: str, changes: dict[str, pa.Array]
) -> None:
    table = pa.table({**COLUMNS, **changes})
    path = tmp_path / f"rows{suffix}"
    if suffix == ".parquet":
        parquet.write_table(table, path)
    else:
        rows = [[in_csv(value) or "" for value in row.values()] for row in table.to_pylist()]
        path.write_text("\n".join([",".join(table.column_names), *map(",".join, rows)]) + "\n", "utf-8")
    model = scorer.loaded.model
    margins = scorer.margin(table)
    for number in (0, 1):
        row = row_of(model, str(path), number)
        assert set(row) == {"x", "n", "c", "u"}
        found = explain(model, row)
        assert found["margin"] == margins[number]
        told = " ".join(term["what"] for term in found["terms"])
        assert f"u is {told_of(table['u'][number].as_py())}" in told


def told_of(value: Any) -> str:
    return str(value).lower()


def test_a_row_that_cannot_be_scored_is_not_explained(scorer: Scorer, tmp_path: Path) -> None:
    model = scorer.loaded.model
    for changes, name in (({"c": pa.array([0.5, 1.0])}, "c"), ({"u": pa.array([2.0**24], pa.float32())}, "u")):
        table = pa.table({name: column.slice(0, 1) for name, column in {**COLUMNS, **changes}.items()})
        parquet.write_table(table, tmp_path / "rows.parquet")
        with pytest.raises(SchemaError, match=f"{name} "):
            explain(model, row_of(model, str(tmp_path / "rows.parquet"), 0))
        with pytest.raises(SchemaError, match=f"{name} "):
            scorer.score(table)
