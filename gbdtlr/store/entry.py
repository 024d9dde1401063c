"""The entry: one line of the release log, saying which head goes live on which trees, and why.

Most entries are releases. Others leave the live release as it is: a candidate, which is published to be tried, its
withdrawal, a hold, and the lifting of it. Every entry says what stands after it, so that the newest tells all. What
old readers would take for a live release, or overlook, as they would embeddings, is written in a format that they
refuse by name.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from gbdtlr.codec.documents import Meta, Time, read, table, typed
from gbdtlr.errors import ConfigError, DamagedError, StoreError
from gbdtlr.store.manifest import FORMAT, VersionId, plain, seal, unseal
from gbdtlr.times import parse_time

MAX_NUMBER = 99_999_999
Number = Annotated[int, Meta(ge=1, le=MAX_NUMBER)]
Kind = Literal["release", "candidate", "withdrawal", "hold", "lift"]
PAIRS: tuple[Kind, ...] = ("release", "candidate")
"""Kinds of entries that bring a pair of their own; the others name that of the live release."""
NEWEST_FORMAT = FORMAT + 1
_DERIVED = ("number", "live", "candidate", "held")


@dataclass(frozen=True)
class Entry:
    """One release, or a decision about releases: immutable, numbered without gaps from 1.

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
    kind : ``release``, which goes live; ``candidate``, ``withdrawal``, ``hold`` or ``lift``, which leave what is live
    promoted : for a promotion, number of the candidate whose versions it makes live
    live : for what leaves it, number of the release that is live
    candidate, held : numbers of the candidate and of the hold that stand after this entry, if any
    user, host : who made it, and on which machine; empty where nobody said
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
    kind: Kind = "release"
    promoted: Number | None = None
    live: Number | None = None
    candidate: Number | None = None
    held: Number | None = None
    user: str = ""
    host: str = ""
    embeddings: str | None = None

    def __post_init__(self) -> None:
        self.versions  # noqa: B018 - which are names of versions, or damaged
        for name in ("promoted", "live", "candidate", "held"):
            if (getattr(self, name) or 0) > self.number:
                raise ValueError(f"{name}: of release {self.number}, it cannot be release {getattr(self, name)}")

    @property
    def live_number(self) -> int:
        """Number of the release that is live after this entry."""
        return self.number if self.live is None else self.live

    @property
    def did(self) -> str:
        """In words, what a person has done by it to what is live; empty where it was no person."""
        return "rolled back" if self.rolled_back_to is not None else "promoted a candidate" if self.promoted else ""

    @property
    def stands_against_jobs(self) -> bool:
        """Whether a person has chosen what is live, which no job that began before it may undo."""
        return self.rolled_back_to is not None or self.promoted is not None

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
    """Entry of that number from a caller's values; what follows from its place in the log is ignored among them.

    Raises
    ------
    StoreError
        Values missing, unknown or of the wrong type.
    """
    given = dict(values.to_dict() if isinstance(values, Entry) else values)
    given = {name: value for name, value in given.items() if name not in _DERIVED}
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


def following(entry: Entry, before: Entry | None) -> Entry:
    """The entry with what stands after it: what stood after the one before, where it says nothing else.

    Parameters
    ----------
    before : None for the first, or where none before can be read: then nothing stood

    Raises
    ------
    StoreError
        It leaves the live release, of which nothing is known.
    """
    kind, number = entry.kind, entry.number
    if before is None:
        if kind != "release":
            raise StoreError(f"release {number} cannot be written: there is no live release before that {kind}")
        return replace(entry, live=None, candidate=None, held=None)
    candidate = {"candidate": number, "withdrawal": None}.get(kind, before.candidate)
    return replace(
        entry,
        live=None if kind == "release" else before.live_number,
        candidate=None if candidate is not None and candidate == entry.promoted else candidate,
        held={"hold": number, "lift": None}.get(kind, before.held),
    )


def dump(entry: Entry) -> bytes:
    """Bytes of the entry, unlike those of any other writer's: so a writer can tell its own after a lost answer."""
    stands_alone = entry.candidate is None and entry.held is None and entry.embeddings is None
    is_plain = entry.kind == "release" and stands_alone
    values = {**entry.to_dict(), "writer": secrets.token_hex(8)}
    if entry.embeddings is None:
        del values["embeddings"]  # it is what it was before there were any
    return seal(values, f"release {entry.number}", FORMAT if is_plain else NEWEST_FORMAT)


def load(data: bytes, number: int, where: str) -> Entry:
    """Entry in these bytes.

    Raises
    ------
    DamagedError
        Not the bytes that were written, or those of another release.
    FormatError
        A format newer than this reader.
    """
    entry = read(unseal(data, where, NEWEST_FORMAT), Entry, where)
    if entry.number != number:
        raise DamagedError(f"{where} is damaged: it says it is release {entry.number}")
    if (entry.kind == "release") != (entry.live is None) or entry.live == number:
        raise DamagedError(f"{where} is damaged: a {entry.kind} that says release {entry.live} is live")
    return entry
