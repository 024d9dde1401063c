"""The entry: one line of the release log, saying which head goes live on which trees, and why."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any

from gbdtlr.errors import ConfigError, DamagedError, StoreError
from gbdtlr.store.manifest import VersionId, plain, seal, unseal
from gbdtlr.times import format_time, parse_time

MAX_NUMBER = 99_999_999


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

    number: int
    as_of: datetime
    trees: str
    head: str
    why: str
    reason: str = ""
    forced: bool = False
    base: int | None = None
    rolled_back_to: int | None = None
    metrics: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        problem = _problem(self)
        if problem:
            raise DamagedError(f"release {str(self.number)[:20]}: {problem}")

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
        return {
            **{each.name: getattr(self, each.name) for each in fields(self)},
            "as_of": format_time(self.as_of),
            "metrics": dict(self.metrics),
        }


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
        if isinstance(given.get("as_of"), str):
            given["as_of"] = parse_time(given["as_of"])
        given["metrics"] = plain(given.get("metrics", {}), f"the metrics of release {number}")
        return Entry(**{**given, "number": number})
    except (TypeError, DamagedError, ConfigError) as error:
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
    document = unseal(data, where)
    if document.get("number") != number:
        raise DamagedError(f"{where} is damaged: it says it is release {str(document.get('number'))[:20]}")
    try:
        values = {each.name: document[each.name] for each in fields(Entry)}
        values["as_of"] = parse_time(values["as_of"])
        return Entry(**values)
    except (KeyError, TypeError, ValueError, ConfigError, DamagedError) as error:
        raise DamagedError(f"{where} is damaged: {str(error)[:200]}") from error


def _problem(entry: Entry) -> str:
    """What is wrong with the values of an entry, whose types JSON does not check; empty if nothing."""
    for name in ("trees", "head", "why", "reason"):
        if not isinstance(getattr(entry, name), str):
            return f"{name} must be text"
    for name in ("number", "base", "rolled_back_to"):
        value = getattr(entry, name)
        if value is None and name != "number":
            continue
        if type(value) is not int or not 1 <= value <= MAX_NUMBER:
            return f"{name} must be a whole number from 1 to {MAX_NUMBER}, not {str(value)[:20]}"
    if type(entry.forced) is not bool:
        return "forced must be true or false"
    if not isinstance(entry.metrics, Mapping):
        return "metrics must be a mapping"
    as_of: object = entry.as_of
    if not isinstance(as_of, datetime) or as_of.tzinfo is None:
        return "as_of must be a time with its time zone"
    if not entry.why:
        return "why must say what made it"
    try:
        VersionId("heads", entry.head, entry.trees)
    except DamagedError as error:
        return str(error)
    return ""
