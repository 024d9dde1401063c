"""The entry: one line of the release log, saying which head goes live on which trees, and why."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from typing import Annotated, Any

from gbdtlr.codec.documents import Meta, Time, read, table, typed
from gbdtlr.errors import ConfigError, DamagedError, StoreError
from gbdtlr.store.manifest import VersionId, plain, seal, unseal
from gbdtlr.times import parse_time

MAX_NUMBER = 99_999_999
FORMAT, WITH_EMBEDDINGS = 1, 2
"""Formats of an entry: who knows no embeddings must not take a release that has them for one without."""
Number = Annotated[int, Meta(ge=1, le=MAX_NUMBER)]


@dataclass(frozen=True)
class Entry:
    """One release: immutable, numbered without gaps from 1.

    Attributes
    ----------
    number : place in the log
    as_of : the moment its job pretended was now (UTC)
    trees, head : names of the versions it pairs
    why : what made it, such as ``train-trees``, ``update-lr``, ``rollback``
    reason : more words on that, for people
    forced : whether guards were overruled
    base : number of the release it was built on, if any
    rolled_back_to : for a rollback, number of the release whose versions it brings back
    metrics : whatever was measured, as JSON
    embeddings : name of the version of embeddings that goes with them, if any
    """

    number: Number
    as_of: Time
    trees: str
    head: str
    why: Annotated[str, Meta(min_length=1)]
    reason: str = ""
    forced: bool = False
    base: Number | None = None
    rolled_back_to: Number | None = None
    metrics: Mapping[str, Any] = field(default_factory=dict)
    embeddings: str | None = None

    def __post_init__(self) -> None:
        self.versions  # noqa: B018 - which are names of versions, or damaged

    @property
    def trees_id(self) -> VersionId:
        """What the store finds the trees by."""
        return VersionId("trees", self.trees)

    @property
    def head_id(self) -> VersionId:
        """What the store finds the head by."""
        return VersionId("heads", self.head, self.trees)

    @property
    def embeddings_id(self) -> VersionId | None:
        """What the store finds the embeddings by, if there are any."""
        return None if self.embeddings is None else VersionId("embeddings", self.embeddings)

    @property
    def versions(self) -> tuple[VersionId, ...]:
        """All versions that it needs."""
        slow = (self.trees_id,) if self.embeddings_id is None else (self.trees_id, self.embeddings_id)
        return (*slow, self.head_id)

    @property
    def slow(self) -> tuple[str, str | None]:
        """Names of its slow artifacts: releases that have the same share them in memory."""
        return self.trees, self.embeddings

    def to_dict(self) -> dict[str, Any]:
        """The entry as JSON has it, times in ISO 8601."""
        return table(self)


def key_of(number: int) -> str:
    """Key of a release's entry."""
    return f"releases/{number:08d}.json"


def number_of(key: str) -> int | None:
    """Release whose entry has that key, or None if it is none's."""
    digits = key.removeprefix("releases/").removesuffix(".json")
    if len(digits) == 8 and digits.isascii() and digits.isdigit() and key_of(int(digits)) == key:
        return int(digits) or None
    return None


def make(values: Entry | Mapping[str, Any], number: int) -> Entry:
    """Entry of that number from a caller's values; the number among them, if any, is ignored.

    Raises
    ------
    StoreError
        Values missing, unknown or of the wrong type.
    """
    given = dict(values.to_dict() if isinstance(values, Entry) else values)
    unknown = sorted(set(given) - {each.name for each in fields(Entry)})
    if unknown:
        raise StoreError(f"a release has no {', '.join(unknown)}; put what was measured into metrics")
    try:
        as_of = given.get("as_of")
        if isinstance(as_of, str):
            given["as_of"] = parse_time(as_of)
        elif isinstance(as_of, datetime) and as_of.tzinfo is not None:
            given["as_of"] = as_of.astimezone(UTC)
        given["metrics"] = plain(given.get("metrics", {}), f"the metrics of release {number}")
        return typed({**given, "number": number}, Entry)
    except (ValueError, ConfigError) as error:
        raise StoreError(f"release {number} cannot be written: {error}") from error


def dump(entry: Entry) -> bytes:
    """Bytes of the entry, unlike those of any other writer's: so a writer can tell its own after a lost answer."""
    payload = {**entry.to_dict(), "writer": secrets.token_hex(8)}
    if entry.embeddings is None:
        del payload["embeddings"]  # it is what it was before there were any
    return seal(payload, f"release {entry.number}", FORMAT if entry.embeddings is None else WITH_EMBEDDINGS)


def load(data: bytes, number: int, where: str) -> Entry:
    """Entry in these bytes.

    Raises
    ------
    DamagedError
        Not the bytes that were written, or those of another release.
    FormatError
        A format newer than this reader.
    """
    entry = read(unseal(data, where, WITH_EMBEDDINGS), Entry, where)
    if entry.number != number:
        raise DamagedError(f"{where} is damaged: it says it is release {entry.number}")
    return entry
