"""Rows in JSON that are plain: objects of exactly the columns a release reads, decoded straight to what is scored.

A mapping of names to values, whose names and types are looked at one by one, takes longer than the trees do. What is
not plain in any way, or wrong, is left to those who read mappings, or say what is wrong with it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any

import msgspec

from gbdtlr.model import Model
from gbdtlr.trees.plain_row import NOT_PLAIN

MAX_COLUMNS = 256
"""Beyond so many, columns in another order than the model's take longer to find than a mapping to fill."""
_NUMBER, _CATEGORY = int | float | bool | None, str | int | float | bool | None
_UNREADABLE = (*NOT_PLAIN, msgspec.MsgspecError, UnicodeError, RecursionError)
_Values = tuple[Any, ...]
_Some = Callable[[_Values], Sequence[Any]]


class JsonRows:
    """Reads rows for one model whose head has no dense columns."""

    def __init__(self, model: Model, decode: Callable[[bytes], Any]) -> None:
        columns, is_text = model.columns, model.trees.schema.plain.is_text
        self._decode = decode
        self._line, self._margin = model.trees.schema.plain.line, model.values_margin
        self._head, self._ids = model.head, model.head.wide.columns
        # Features come first among the columns.
        self._numbers = _at([i for i, text in enumerate(is_text) if not text], len(columns))
        self._texts = _at([i for i, text in enumerate(is_text) if text], len(columns))
        self._ids_of = _at([columns.index(name) for name in self._ids], len(columns))

    @classmethod
    def of(cls, model: Model) -> JsonRows | None:
        """Those of a model; None if its rows cannot be plain."""
        columns = model.columns
        if model.head.dense.n or len(columns) > MAX_COLUMNS:
            return None
        numbers = {feature.name for feature in model.trees.schema.features if feature.vocabulary is None}
        fields: list[tuple[str, Any]] = [
            (f"f{i}", _NUMBER if name in numbers else _CATEGORY) for i, name in enumerate(columns)
        ]
        names = {field: name for (field, _), name in zip(fields, columns, strict=True)}
        try:
            row = msgspec.defstruct("Row", fields, rename=names, forbid_unknown_fields=True, gc=False)
        except ValueError:  # of names that JSON has to escape
            return None
        return cls(model, msgspec.json.Decoder(row).decode)

    def margin(self, body: bytes) -> float | None:
        """Log-odds of the row, the same to the last bit as of the mapping it stands for; None if it is not plain."""
        try:
            values = msgspec.structs.astuple(self._decode(body))
            margin = self._margin(self._line(self._numbers(values), self._texts(values)))
            if not self._ids:
                return margin
            head, ids = self._head, dict(zip(self._ids, self._ids_of(values), strict=True))
            return head.add_row_wide(head.wide.row_buckets(ids), margin)
        except _UNREADABLE:
            return None


def _at(places: Sequence[int], n: int) -> _Some:
    """What takes the values at these places of ``n``."""
    if places == [*range(n)]:
        return tuple  # as they are
    if len(places) > 1:
        return itemgetter(*places)
    return (lambda values: (values[places[0]],)) if places else (lambda _: ())
