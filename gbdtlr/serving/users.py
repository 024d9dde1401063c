"""A request for one user: rows and the user's state in, probabilities, scores and the state out."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gbdtlr.errors import ConfigError, SchemaError
from gbdtlr.metrics import sigmoid
from gbdtlr.scoring.user import User
from gbdtlr.scoring.users import Margins
from gbdtlr.serving.answer import Refusal
from gbdtlr.serving.columns import BESIDE, UNREADABLE, Columns
from gbdtlr.serving.forms import FORMS
from gbdtlr.serving.service import FEW_ROWS, Service, in_rows, of_one_kind, refused
from gbdtlr.users import pack
from gbdtlr.values.scalars import text

EVENT = frozenset({"item", "label", "margin", "content"})
MAX_STATE = 4096
"""Characters of a state."""


@dataclass(frozen=True)
class ForUser:
    """What is asked for a user.

    Attributes
    ----------
    rows : mappings of names to values
    state : as the last answer had it; None of a new user
    events : what came of items that were shown, learned before anything is scored
    vectors : whether the client wants what it needs to go on by itself
    """

    rows: Sequence[Mapping[str, Any]]
    state: str | None
    events: Sequence[Mapping[str, Any]]
    vectors: bool

    @classmethod
    def of(cls, value: Any) -> ForUser | None:
        """The request in a JSON value; None if it is of another kind; raises Refusal if it is one that cannot be."""
        if type(value) is not dict or "user" not in value or not value.keys() & {*FORMS}:
            return None
        form = "rows" if type(value.get("rows")) is list else "columns"
        if value.keys() - BESIDE != {form} or type(value[form]) is not FORMS[form][0]:
            return None
        state, events, vectors = value["user"], value.get("events", []), value.get("vectors", False)
        if state is not None and (type(state) is not str or len(state) > MAX_STATE):
            raise Refusal(422, "user must be the state that the last answer had, a text, or null for a new one")
        if type(vectors) is not bool:
            raise Refusal(422, "vectors must be true or false")
        if type(events) is not list or not all(type(event) is dict and event.keys() <= EVENT for event in events):
            raise Refusal(422, f"events must be a list of objects with {', '.join(sorted(EVENT))}")
        return cls(value["rows"] if form == "rows" else _rows(value["columns"]), state, events, vectors)


@dataclass(frozen=True)
class Answered:
    """What a user is answered.

    Attributes
    ----------
    probability : float64 (n,)
    release : number of the one release all is of
    document : the whole of it, in JSON's types
    began : what became of the state that was given; see ``scoring.user.BEGAN``
    """

    probability: NDArray[np.float64]
    release: int
    document: dict[str, Any]
    began: str


def answered(service: Service, asked: ForUser, refuse_unknown: bool) -> Answered:
    """Learn the events, score the rows, and write the state; all by one release.

    Raises
    ------
    Refusal
        The release has no vectors, or rows or events cannot be read.
    """
    for i, row in enumerate(asked.rows):
        if type(row) is not dict:
            raise Refusal(422, f"a row is an object of names and values; row {i} is none")
    while True:
        columns = service.columns
        try:
            user = service.scorer.user(asked.state)
        except ConfigError as error:
            raise Refusal(422, str(error), release=columns.number) from None
        if user.release != columns.number:  # another has come between the two
            continue
        _learn(user, asked.events)
        margins = _margins(user, columns, asked.rows, refuse_unknown)
        probability = sigmoid(margins.margin)
        document = {
            "probability": probability.tolist(),
            "release": user.release,
            "user": user.to_text(),
            "user_score": margins.score.tolist(),
        }
        if asked.vectors:
            document |= {"margin": margins.without.tolist(), "vector": _packed(margins), "rule": user.rule}
        return Answered(probability, user.release, document, user.began)


def _learn(user: User, events: Sequence[Mapping[str, Any]]) -> None:
    for i, event in enumerate(events):
        content = event.get("content")
        try:
            if not {"item", "label", "margin"} <= event.keys() or type(content) not in (dict, type(None)):
                raise ValueError("an object with item, label, margin and maybe content expected")
            if type(event["margin"]) not in (int, float):
                raise ValueError("a margin is a number")
            user.learn(event["item"], event["label"], float(event["margin"]), content)
        except (*UNREADABLE, ValueError) as error:
            told = " ".join(str(error).split())[:300]
            raise Refusal(422, f"event {i} cannot be learned: {told}", release=user.release) from None


def _margins(user: User, columns: Columns, rows: Sequence[Mapping[str, Any]], refuse_unknown: bool) -> Margins:
    names = {*columns.names, *user.columns}
    problems = in_rows(rows, lambda row: _not_whose(user.columns, row))
    if refuse_unknown and not all(row.keys() <= names for row in rows):
        problems |= in_rows(rows, lambda row: columns.unknown(row.keys() - {*user.columns}))
    if problems:
        raise refused(columns, {**in_rows(rows, columns.of_row), **problems})
    if len(rows) > FEW_ROWS and all(row.keys() >= names for row in rows):
        frame = {name: [row[name] for row in rows] for name in names}
        if all(name in columns.numeric or of_one_kind(values) for name, values in frame.items()):
            try:
                return user.margins(frame)
            except UNREADABLE:  # one by one tells which row it is
                pass
    try:
        return user.margins_of_rows(rows)
    except UNREADABLE as error:
        raise refused(columns, in_rows(rows, columns.of_row), error) from None


def _not_whose(columns: Sequence[str], row: Mapping[str, Any]) -> dict[str, str]:
    """What is wrong with the columns of a row that say which item it is of, the first of which it must have."""
    if columns[0] not in row:
        return {columns[0]: "is missing"}
    problems: dict[str, str] = {}
    for name in columns:
        try:
            text(row.get(name))
        except SchemaError as error:
            problems[name] = " ".join(str(error).split())[:300]
    return problems


def _packed(margins: Margins) -> list[str]:
    numbers, scale = margins.packed
    return [base64.b64encode(pack(each, of_each)).decode() for each, of_each in zip(numbers, scale, strict=True)]


def _rows(columns: Mapping[str, Any]) -> list[dict[str, Any]]:
    if odd := [name for name, values in columns.items() if type(values) is not list]:
        raise Refusal(422, f"columns are lists of values, {odd[0][:100]} is none")
    lengths = {len(values) for values in columns.values()}
    if len(lengths) > 1:
        raise Refusal(422, "columns differ in length")
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
