"""Plain rows: one row's numbers and texts put into a line of floats, in a few calls that do all columns each."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import getitem, itemgetter
from typing import Any

import numpy as np
import numpy.typing as npt

from gbdtlr.errors import SchemaError
from gbdtlr.values import scalars

_NUMBERS = frozenset({float, int, bool, np.float64, np.float32, np.int64})
NOT_PLAIN = (KeyError, TypeError, OverflowError, struct.error, SchemaError)
"""What is raised where a row is not plain."""


class Codes(dict[str | None, float]):
    """Numbers of a feature's categories by their text, of None, and of any other text or whole number."""

    def __init__(self, known: Mapping[str, float], as_written: bool) -> None:
        super().__init__(iter(known.items()))
        self._unseen = float(len(self))
        self._as_written = as_written
        self[None] = math.nan

    def __missing__(self, key: Any) -> float:
        if type(key) is not str and type(key) is not int:
            raise KeyError(key)
        text = scalars.written(key) if self._as_written else scalars.text(key)
        return self._unseen if text == key else self[text]


@dataclass(frozen=True)
class PlainRow:
    """How a row is put together: numbers first, then categories.

    Attributes
    ----------
    is_text : of each feature, in their order, whether it is a category
    codes : of each categorical feature
    """

    is_text: Sequence[bool]
    codes: Sequence[Codes]
    _numbers: Callable[[Mapping[str, Any]], Sequence[Any]]
    _texts: Callable[[Mapping[str, Any]], Sequence[Any]]
    _pack: struct.Struct
    _order: npt.NDArray[np.intp] | None

    @classmethod
    def of(cls, names: Sequence[str], codes: Sequence[Codes | None]) -> PlainRow:
        """That of features with these names, and codes where they are categories."""
        is_text = [each is not None for each in codes]
        order = np.argsort(np.argsort(is_text, kind="stable"))
        return cls(
            is_text,
            [each for each in codes if each is not None],
            _values([name for name, text in zip(names, is_text, strict=True) if not text]),
            _values([name for name, text in zip(names, is_text, strict=True) if text]),
            struct.Struct(f"={len(names)}d"),
            None if (np.diff(order) > 0).all() else order,
        )

    def of_mapping(self, values: Mapping[str, Any]) -> npt.NDArray[np.float64] | None:
        """The line of named values; None where they are not plain."""
        try:
            numbers = self._numbers(values)
            others = {*map(type, numbers)} - _NUMBERS
            return self.line(numbers, self._texts(values)) if others <= _MISSING else None
        except NOT_PLAIN:
            return None

    def line(self, numbers: Sequence[Any], texts: Sequence[Any]) -> npt.NDArray[np.float64]:
        """The line, float64 (n_features,), of values of the numeric and of the categorical features; None is missing.

        Parameters
        ----------
        numbers : of these types only, as others may pass for numbers that are none: those of ``_NUMBERS``, and None

        Raises
        ------
        NOT_PLAIN
            Other texts, or numbers too large.
        """
        row = np.empty(len(self.is_text))
        buffer: Any = row  # which numpy's stubs do not know that it is
        codes = [*map(getitem, self.codes, texts)] if self.codes else ()
        try:
            self._pack.pack_into(buffer, 0, *numbers, *codes)
        except struct.error:  # mostly there is none missing, and to look for it takes as long as all else
            self._pack.pack_into(buffer, 0, *(math.nan if value is None else value for value in numbers), *codes)
        return row if self._order is None else row[self._order]


_MISSING = frozenset({type(None)})


def _values(names: Sequence[str]) -> Callable[[Mapping[str, Any]], Sequence[Any]]:
    """What takes the values of these names out of a mapping; KeyError where there is none."""
    if len(names) > 1:
        return itemgetter(*names)
    return lambda values: [values[name] for name in names]
