"""Roles of columns: two that can both be meant may be of one column, and all others are refused with both keys."""

from __future__ import annotations

from itertools import combinations
from types import SimpleNamespace
from typing import Any

import pytest

from gbdtlr.config import Config
from gbdtlr.errors import ConfigError
from gbdtlr.inspect.rows import window_samples

NAMED = ("label", "event_time", "label_time", "label_deadline", "weight", "key", "user", "item", "user_score")
LISTED = ("numeric", "categorical", "wide", "cross", "dense")
OUTCOMES = {"path": "o", "key": "of", "time": "came", "window": "1h"}

MAY_BE_ONE = {
    *combinations(("event_time", "label_time", "label_deadline"), 2),
    *(("user", key) for key in ("numeric", "categorical", "wide", "cross")),
    *(("item", key) for key in ("numeric", "categorical", "wide", "cross")),
    *combinations(("categorical", "wide", "cross"), 2),
    *(("numeric", key) for key in ("wide", "cross", "dense")),
}
NEVER_BESIDE_A_KEY = {"label", "label_time", "label_deadline"}  # whatever they name: outcomes say what they would
PAIRS = [
    (one, other)
    for one, other in combinations([*NAMED, *LISTED], 2)
    if "key" not in (one, other) or not {one, other} & NEVER_BESIDE_A_KEY
]


def samples(one: str, other: str) -> dict[str, Any]:
    """Settings in which two keys name one column, ``c``, and all others columns of their own."""
    roles = {one, other}
    table: dict[str, Any] = {"path": "x", "event_time": "t", "numeric": ["n"]}
    if "key" in roles:
        table["key"] = "k"
    else:
        table |= {"label_time": "known"}
        table |= {"label_deadline": "until"} if "label_deadline" in roles else {}
    for role in roles:
        if role == "cross":
            table["wide"] = [*table.get("wide", ()), "c:z"]
        elif role in LISTED:
            table[role] = [*table.get(role, ()), "c"]
        else:
            table[role] = "c"
    return table


def config(table: dict[str, Any], **more: Any) -> Config:
    return Config.from_dict({"samples": table, **({"outcomes": OUTCOMES} if "key" in table else {}), **more})


@pytest.mark.parametrize(("one", "other"), PAIRS, ids=lambda key: key)
def test_two_roles_of_one_column(one: str, other: str) -> None:
    if (one, other) in MAY_BE_ONE:
        made = config(samples(one, other))
        assert Config.from_dict({**made.as_dict(), "outcomes": OUTCOMES} if made.outcomes else made.as_dict()) == made
        return
    with pytest.raises(ConfigError, match=r"^\[samples\].*\bc\b") as caught:
        config(samples(one, other))
    for key in (one, other):
        assert {"cross": "wide"}.get(key, key) in str(caught.value)


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"wide": ["k"]}, "key = 'k' is listed under wide too, though no other impression has that id"),
        ({"wide": ["shop:k"]}, "key = 'k' is listed under wide too"),
        ({"categorical": ["k"], "wide": ["k"]}, "key = 'k' is listed under categorical and wide too"),
        ({"user": "k"}, "key and user are both 'k', and a key is the id of one impression"),
        ({"weight": "k"}, "key = 'k' is weight too; name the column of the impression's id"),
    ],
)
def test_a_key_is_nothing_but_a_key(more: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=rf"\[samples\] {told}"):
        config({"path": "x", "event_time": "t", "numeric": ["n"], "key": "k", **more})


@pytest.mark.parametrize("column", ["value", "key", "weight"])
def test_when_an_outcome_landed_is_a_column_of_its_own_or_its_time(column: str) -> None:
    table = {"path": "x", "event_time": "t", "numeric": ["n"], "key": "k"}
    outcomes = {**OUTCOMES, column: "c", "landed_time": "c"}
    with pytest.raises(ConfigError, match=r"\[outcomes\] names c for two things; .* landed_time differ"):
        Config.from_dict({"samples": table, "outcomes": outcomes})
    Config.from_dict({"samples": table, "outcomes": {**OUTCOMES, "landed_time": "came"}})


@pytest.mark.parametrize("key", ["label", "event_time", "label_time", "weight", "user", "item"])
def test_items_are_known_by_what_says_something_of_them(key: str) -> None:
    table = {"path": "x", "event_time": "t", "numeric": ["n"], "label_time": "known", "item": "i", key: "c"}
    with pytest.raises(
        ConfigError, match=rf"\[embeddings\] content lists 'c', which is \[samples\] {key}; list columns"
    ):
        config(table, embeddings={"content": ["brand", "c"]})


def test_a_release_whose_config_is_refused_by_now_is_told_without_its_rows() -> None:
    table = {"path": "x", "event_time": "t", "numeric": ["n"], "key": "k", "wide": ["k"]}
    made = {"samples": table, "outcomes": OUTCOMES, "head": {"window": "7d"}}
    assert window_samples(SimpleNamespace(head_manifest={"config": made})) is None  # type: ignore[arg-type]
