"""Forms of a request in our own protocol: one row, ``rows`` or ``columns``, and which of them an object is meant as."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from gbdtlr.serving.answer import Refusal
from gbdtlr.serving.columns import BESIDE, Columns

FORMS: Mapping[str, tuple[type, str]] = {
    "rows": (list, "a list of objects, one for each row,"),
    "columns": (dict, "an object of lists, one for each column,"),
}


def form_of(value: Any, columns: Columns) -> str | None:
    """``rows`` or ``columns``, if an object is meant as that: it has one of them, and no column of the release."""
    if type(value) is not dict or not value.keys().isdisjoint(columns.names):
        return None
    return next((form for form in FORMS if form in value), None)


def check_form(value: Any, columns: Columns) -> None:
    """Pass what is one row, and forms that can be read.

    Raises
    ------
    Refusal
        A form of another type, or with what does not belong there; or a user without a form.
    """
    form = form_of(value, columns)
    if form is None:
        if type(value) is dict and value and value.keys() <= BESIDE - columns.names:
            raise Refusal(422, "a user alone is not scored; send rows or columns beside it", release=columns.number)
        return
    kind, words = FORMS[form]
    if type(value[form]) is not kind:
        raise Refusal(422, f"{form} is {kind_of(value[form])}, {words} expected", release=columns.number)
    if others := sorted(value.keys() - BESIDE - {form}):
        near = difflib.get_close_matches(others[0][:80], BESIDE, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        told = f"beside {form} there may be user, events and vectors, but not {others[0][:80]}{hint}"
        raise Refusal(422, told, release=columns.number)
    if len(value) > 1 and "user" not in value:
        told = "events and vectors are a user's: send user too, null for a new one"
        raise Refusal(422, told, release=columns.number)


def kind_of(value: Any) -> str:
    """What JSON calls it."""
    names = {dict: "an object", list: "a list", str: "a text", bool: "a truth value", type(None): "null"}
    return names.get(type(value), "a number")
