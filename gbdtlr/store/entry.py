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
Number = Annotated[int, Meta(ge=1, le=MAX_NUMBER)]


@dataclass(frozen=True)
class Entry:
    """One release: immutable, numbered without gaps from 1.

    Attributes
    ----------
    number : place in the log
    as_of : the moment its job pretended was now (UTC)
    trees, head : names of the two versions it pairs
    why : what made it, such as ``train-trees``, ``update-lr``, ``rollback``
    reason : more words on that, for people
    forced : whether guards were overruled
    base : number of the release it was built on, if any
    rolled_back_to : for a rollback, number of the release whose versions it brings back
    metrics : whatever was measured, as JSON
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

    def __post_init__(self) -> None:
        VersionId("heads", self.head, self.trees)  # which are names of versions, or damaged

    @property
    def trees_id(self) -> VersionId:
        """What the store finds the trees by."""
        return VersionId("trees", self.trees)

    @property
    def head_id(self) -> VersionId:
        """What the store finds the head by."""
        return VersionId("heads", self.head, self.trees)

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
    return seal({**entry.to_dict(), "writer": secrets.token_hex(8)}, f"release {entry.number}")


def load(data: bytes, number: int, where: str) -> Entry:
    """Entry in these bytes.

    Raises
    ------
    DamagedError
        Not the bytes that were written, or those of another release.
    FormatError
        A format newer than this reader.
    """
    entry = read(unseal(data, where), Entry, where)
    if entry.number != number:
        raise DamagedError(f"{where} is damaged: it says it is release {entry.number}")
    return entry
