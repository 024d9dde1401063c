"""Keys of the embeddings: what cannot be right is said by its name."""

from __future__ import annotations

from typing import Any

import pytest

from gbdtlr.config import Config
from gbdtlr.errors import ConfigError

SAMPLES = {"path": "x", "event_time": "t", "label_delay": "1h", "numeric": ["n"]}


def config(samples: dict[str, Any] | None = None, **embeddings: Any) -> Config:
    return Config.from_dict({"samples": {**SAMPLES, **(samples or {})}, "embeddings": embeddings})


def test_they_are_read_and_written() -> None:
    made = config({"user": "u", "item": "i"}, method="file", path="v.parquet", window="7d", content=["a", "b"])
    assert (made.samples.user, made.samples.item, made.embeddings.content) == ("u", "i", ("a", "b"))
    assert Config.from_dict(made.as_dict()) == made
    assert config().samples.user is None


def test_versions_without_an_item_say_nothing_of_them() -> None:
    """As those from before there were any, whose names are of what they say."""
    table = config({"user": "u"}, dimensions=5).as_dict()
    assert "embeddings" not in table
    assert not {"vectors", "cosine"} & {*table["guard"]}
    assert "item" not in table["samples"]
    full = config({"item": "i"}, dimensions=5).as_dict()
    assert (full["embeddings"]["dimensions"], full["guard"]["vectors"], full["guard"]["cosine"]) == (5, 0.3, 0.3)


@pytest.mark.parametrize(
    ("embeddings", "told"),
    [
        ({"method": "svd"}, r"method is 'svd'; choose one of pmi, file"),
        ({"method": "file"}, r"method = \"file\" needs path: parquet files of vectors"),
        ({"path": "v.parquet"}, "belongs to no other"),
        ({"dimensions": 0}, "dimensions must be at least 1"),
        ({"dimensions": 257}, "dimensions must be at most 256"),
        ({"min_item_count": 0}, "min_item_count must be at least 1"),
        ({"content": ["a", "a"]}, "content lists a column more than once"),
        ({"windows": "1d"}, "did you mean window"),
    ],
)
def test_what_cannot_be_is_said(embeddings: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=rf"\[embeddings\].*{told}"):
        config(**embeddings)


@pytest.mark.parametrize(
    ("samples", "told"),
    [
        ({"user": "a", "item": "a"}, "user and item are both a"),
        ({"user": "t"}, "user = 't' is event_time too; name a column of ids"),
        ({"item": "label"}, "item = 'label' is label too"),
    ],
)
def test_user_and_item_are_columns_of_their_own(samples: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=rf"\[samples\] {told}"):
        config(samples)


@pytest.mark.parametrize("key", ["vectors", "cosine"])
def test_guards_are_shares(key: str) -> None:
    with pytest.raises(ConfigError, match=rf"\[guard\] {key} must be at least 0 and at most 1"):
        Config.from_dict({"samples": SAMPLES, "guard": {key: 1.5}})
