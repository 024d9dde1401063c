"""The manifest: what a version promises about its bytes.

It and the log's entries are sealed JSON: canonical (sorted keys, ASCII, no NaN), with a format number and the
sha256 of all the rest, so that a changed bit in it is noticed like one in any other file.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

from gbdtlr.codec.documents import Document, Meta, Time, Whole, check_format, read
from gbdtlr.codec.documents import parse as parse_json
from gbdtlr.errors import DamagedError, StoreError
from gbdtlr.times import format_time

FORMAT = 1
KINDS = ("trees", "embeddings", "heads")
"""What versions there are, in the order they depend on one another."""
MANIFEST = "manifest.json"
MAX_JSON = 4 << 20  # bytes of a manifest or log entry
MAX_FILE = 1 << 30  # bytes of one file of a version
MAX_FILES = 64

_NAME = re.compile(r"[0-9]{8}T[0-9]{6}Z-[0-9a-f]{8}")
_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
RESERVED = ("as_of", "files", "format", "kind", "name", "sha256", "under")


@dataclass(frozen=True, order=True)
class VersionId:
    """Which version: its kind, its name and, for heads, the trees it is ``under``; checked, so safe in paths.

    Raises
    ------
    DamagedError
        Not such a name; it came from bytes that are not what was written.
    """

    kind: str
    name: str
    under: str | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS or (self.kind == "heads") != (self.under is not None):
            raise ValueError(f"no such kind of version: {self.kind!r} under {self.under!r}")
        for name in (self.name,) if self.under is None else (self.name, self.under):
            if not is_name(name):
                raise DamagedError(
                    f"{str(name)[:80]!r} is not the name of a version, such as 20130215T000000Z-1a2b3c4d"
                )

    @property
    def folder(self) -> str:
        """Key of the version's folder."""
        return "/".join((self.kind, *([self.under] if self.under else ()), self.name))

    @property
    def manifest(self) -> str:
        """Key of the version's manifest."""
        return f"{self.folder}/{MANIFEST}"

    def __str__(self) -> str:
        return self.folder


class _File(Document, frozen=True):
    sha256: Annotated[str, Meta(pattern=r"\A[0-9a-f]{64}\Z")]
    size: Whole


class _Promises(Document, frozen=True):
    """What the store itself keeps in a manifest; the other keys are those of whoever wrote the version."""

    as_of: Time
    files: Annotated[dict[str, _File], Meta(min_length=1, max_length=MAX_FILES)]


def version_of(key: str) -> VersionId | None:
    """Version whose folder holds the object, or None if the key lies in no version's folder."""
    parts = key.split("/")
    if len(parts) == 3 and parts[0] in KINDS and parts[0] != "heads" and is_name(parts[1]):
        return VersionId(parts[0], parts[1])
    if len(parts) == 4 and parts[0] == "heads" and is_name(parts[1]) and is_name(parts[2]):
        return VersionId("heads", parts[2], parts[1])
    return None


def is_name(name: object) -> bool:
    """Whether this is a version's name: as_of in UTC and eight hexadecimal digits."""
    return isinstance(name, str) and _NAME.fullmatch(name) is not None


def sha256(data: bytes) -> str:
    """sha256 in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def canonical(value: object) -> bytes:
    """The one way to write a value as JSON: sorted keys, ASCII, no spaces, no NaN."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=True)
    return text.encode("ascii")


def plain(value: Mapping[str, object], what: str) -> dict[str, Any]:
    """The value as JSON would give it back, so that its hash is the same before and after."""
    try:
        result = json.loads(canonical(dict(value)))
        canonical(result)
    except (TypeError, ValueError, RecursionError) as error:
        raise StoreError(f"{what} cannot be written as JSON: {error}") from error
    assert isinstance(result, dict)
    return result


def seal(payload: Mapping[str, object], what: str, number: int = FORMAT) -> bytes:
    """Bytes in format ``number`` that :func:`unseal` reads back and whose every change it notices."""
    document = plain({**payload, "format": number}, what)
    data = canonical({**document, "sha256": sha256(canonical(document))}) + b"\n"
    if len(data) > MAX_JSON:
        raise StoreError(f"{what} would be {len(data)} bytes, more than the {MAX_JSON} allowed; record less in it")
    return data


def unseal(data: bytes, what: str, newest: int = FORMAT) -> dict[str, Any]:
    """What was sealed, format number included.

    Parameters
    ----------
    newest : number of the newest format that is understood

    Raises
    ------
    DamagedError
        Not JSON, or not the bytes that were written.
    FormatError
        A format newer than this reader.
    """
    document: dict[str, Any] = parse_json(data, what)
    check_format(document, what, newest)
    expected = document.pop("sha256", None)
    try:
        found = sha256(canonical(document))
    except (ValueError, RecursionError) as error:
        raise DamagedError(f"{what} is damaged: {str(error)[:120]}") from error
    if expected != found:
        raise DamagedError(f"{what} is damaged: its sha256 is {found}, it says {str(expected)[:64]}")
    return document


def build(
    kind: str, files: Mapping[str, bytes], manifest: Mapping[str, object], as_of: datetime, under: str | None
) -> tuple[VersionId, dict[str, Any]]:
    """Name and manifest of a version with these files: the same content always gives the same.

    Raises
    ------
    StoreError
        Keys that are the store's own, values that are not JSON, file names that are not plain, or too much of any.
    """
    if as_of.tzinfo is None:
        raise ValueError("as_of must carry its time zone")
    taken = sorted(set(RESERVED) & set(manifest))
    if taken:
        raise StoreError(f"a manifest's keys {', '.join(taken)} are the store's own; name yours otherwise")
    if not 1 <= len(files) <= MAX_FILES:
        raise StoreError(f"a version has 1 to {MAX_FILES} files, not {len(files)}")
    for name, data in files.items():
        if not _is_file_name(name):
            raise StoreError(f"{name!r} is not a plain file name")
        if len(data) > MAX_FILE:
            raise StoreError(f"{name} is {len(data)} bytes, more than the {MAX_FILE} allowed")
    content = plain(
        {
            **manifest,
            "format": FORMAT,
            "kind": kind,
            "under": under,
            "as_of": format_time(as_of),
            "files": {name: {"sha256": sha256(data), "size": len(data)} for name, data in files.items()},
        },
        f"the manifest of the {kind}",
    )
    name = _name(as_of, content)
    return VersionId(kind, name, under), {**content, "name": name}


def parse(data: bytes, version: VersionId, where: str) -> dict[str, Any]:
    """Manifest of a version, with every promise in it well-formed and its hash that in the version's name.

    Raises
    ------
    DamagedError, FormatError
        As :func:`unseal`; also another version's manifest, or file names that could leave the version's folder.
    """
    document = unseal(data, where)
    for key, expected in (("kind", version.kind), ("name", version.name), ("under", version.under)):
        if document.get(key) != expected:
            raise DamagedError(f"{where} is damaged: {key} is {str(document.get(key))[:80]!r}, expected {expected!r}")
    promises = read(document, _Promises, where)
    name = _name(promises.as_of, {key: value for key, value in document.items() if key != "name"})
    if name != version.name:
        raise DamagedError(f"{where} is damaged: its content is that of {name}")
    for file, promise in promises.files.items():
        if not _is_file_name(file):
            raise DamagedError(f"{where} is damaged: {file[:80]!r} is not a plain file name")
        if promise.size > MAX_FILE:
            raise DamagedError(f"{where} is damaged: the size of {file} is {promise.size}")
    return document


def _name(as_of: datetime, content: Mapping[str, object]) -> str:
    moment = as_of.astimezone(UTC)
    stamp = f"{moment.year:04d}{moment:%m%dT%H%M%SZ}"  # %Y does not pad years before 1000 everywhere
    return f"{stamp}-{sha256(canonical(content))[:8]}"


def _is_file_name(name: object) -> bool:
    return isinstance(name, str) and name != MANIFEST and _FILE.fullmatch(name) is not None
