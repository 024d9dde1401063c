"""Golden rows: a few rows with what a model gave for them, replayed wherever it is loaded."""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa

from gbdtlr.codec.documents import Finite, Whole, decode, encode
from gbdtlr.errors import DamagedError, GbdtlrError, MismatchError
from gbdtlr.model.model import Model
from gbdtlr.values.arrays import from_numpy

GOLDEN_ROWS = 8
GOLDEN_TOLERANCE = 1e-9


@dataclass(frozen=True)
class Golden:
    """A few rows with what they gave when the head was made: replayed at load, they show any difference.

    Attributes
    ----------
    rows : column name to value, JSON's types
    leaves : (n_rows, n_trees), leaf of each row in each tree
    margins : (n_rows,), log-odds
    """

    rows: list[dict[str, bool | str | int | Finite | list[Finite | None] | None]]
    leaves: list[list[Whole]]
    margins: list[Finite]

    @classmethod
    def of(cls, table: pa.Table, model: Model) -> Golden:
        """Golden rows spread over ``table``; those with an infinite number, which JSON cannot say, are left out."""
        spread = np.unique(np.linspace(0, len(table) - 1, min(GOLDEN_ROWS, len(table))).astype(np.int64))
        rows = [_in_json(row) for row in table.take(from_numpy(spread)).to_pylist()]
        rows = [row for row in rows if _json_can_say(row)]
        if not rows:
            return cls([], [], [])
        codes = model.encode(_columns_of(rows))
        return cls(rows, codes.leaves.T.tolist(), model.head.margin(codes).tolist())

    def replay(self, model: Model) -> None:
        """Pass only if the model gives the same here.

        Raises
        ------
        MismatchError
            It does not; the message says what differs.
        """
        if not self.rows:
            return
        try:
            codes = model.encode(_columns_of(self.rows))
            leaves, margins = codes.leaves, model.head.margin(codes)
        except GbdtlrError as error:
            raise MismatchError(f"its golden rows cannot be scored: {error}") from error
        if np.shape(self.leaves) != leaves.T.shape:
            raise MismatchError(
                f"its golden rows tell the leaves of {np.shape(self.leaves)[1]} trees, not {len(leaves)}"
            )
        wrong = np.argwhere(np.array(self.leaves) != leaves.T)
        if len(wrong):
            row, tree = (int(i) for i in wrong[0])
            raise MismatchError(
                f"golden row {row} falls into leaf {leaves[tree, row]} of tree {tree}, not {self.leaves[row][tree]}, "
                f"and {len(wrong)} leaves differ in all; the trees are not what they were"
            )
        off = np.abs(margins - np.array(self.margins))
        worst = int(off.argmax())
        if not off[worst] <= GOLDEN_TOLERANCE:
            raise MismatchError(
                f"golden row {worst} has margin {margins[worst]:.12g}, not {self.margins[worst]:.12g}; "
                "the head is not what it was"
            )

    @property
    def columns(self) -> dict[str, list[Any]]:
        """The rows as a frame."""
        return _columns_of(self.rows)

    def to_bytes(self) -> bytes:
        """The golden rows as JSON."""
        return encode(self)

    @classmethod
    def from_bytes(cls, data: bytes) -> Golden:
        """Golden rows as :meth:`to_bytes` gave them; ``DamagedError`` for anything else."""
        golden = decode(data, cls, "the document of golden rows")
        same_length = len(golden.rows) == len(golden.margins) == len(golden.leaves)
        if not same_length or len(set(map(len, golden.leaves))) > 1:
            raise DamagedError("the document of golden rows is damaged: its lengths differ")
        return golden


def _columns_of(rows: list[dict[str, Any]]) -> dict[str, list[Any]]:
    names = list(dict.fromkeys(name for row in rows for name in row))
    return {name: [row.get(name) for row in rows] for name in names}


def _in_json(row: dict[str, Any]) -> dict[str, Any]:
    """The row in JSON's types, as far as they can: long whole numbers come as decimals."""
    return {name: int(value) if isinstance(value, Decimal) else value for name, value in row.items()}


def _json_can_say(row: dict[str, Any]) -> bool:
    return all(_is_said(value) or (isinstance(value, list) and all(map(_is_said, value))) for value in row.values())


def _is_said(value: Any) -> bool:
    return value is None or isinstance(value, str | bool | int) or (isinstance(value, float) and math.isfinite(value))
