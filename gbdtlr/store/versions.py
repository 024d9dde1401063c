"""The version: immutable files named by their content, there from the moment their manifest is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from gbdtlr.errors import Conflict, DamagedError, StoreUnavailable
from gbdtlr.store import manifest as manifests
from gbdtlr.store.backend import Backend, NotFound, each
from gbdtlr.store.manifest import MANIFEST, MAX_JSON, VersionId
from gbdtlr.times import parse_time


@dataclass(frozen=True)
class Version:
    """One version, every byte of which is what its manifest promises.

    Attributes
    ----------
    kind : ``trees``, ``embeddings`` or ``heads``
    name : as_of and the hash of the content, such as ``20130215T000000Z-1a2b3c4d``
    under : for heads, the name of their trees
    manifest : the whole manifest, the caller's keys among the store's own
    files : name to bytes
    """

    kind: str
    name: str
    under: str | None
    manifest: Mapping[str, Any]
    files: Mapping[str, bytes]

    @property
    def id(self) -> VersionId:
        """What the store finds it by."""
        return VersionId(self.kind, self.name, self.under)

    @property
    def own(self) -> dict[str, Any]:
        """The caller's keys of the manifest, as they were given to :func:`write`."""
        return {key: value for key, value in self.manifest.items() if key not in manifests.RESERVED}

    @property
    def as_of(self) -> datetime:
        """The moment its job pretended was now."""
        return parse_time(self.manifest["as_of"])


def made(
    kind: str, files: Mapping[str, bytes], manifest: Mapping[str, object], as_of: datetime, under: str | None = None
) -> Version:
    """The version that :func:`write` would make exist, of no store: named by the same content."""
    version, document = manifests.build(kind, files, manifest, as_of, under)
    return Version(kind, version.name, under, document, dict(files))


def write(
    backend: Backend,
    kind: str,
    files: Mapping[str, bytes],
    manifest: Mapping[str, object],
    as_of: datetime,
    under: str | None,
) -> Version:
    """Make a version exist, whole: files first, then the manifest that makes them one.

    The same content again succeeds and writes the same bytes over themselves: that mends whatever had rotted, and
    makes everything young again in the eyes of a prune that was about to remove an unused version of that name.
    """
    version, document = manifests.build(kind, files, manifest, as_of, under)
    data = manifests.seal(document, f"the manifest of {version}")
    _refuse_other(backend, version, data)
    for name, content in files.items():
        backend.put(f"{version.folder}/{name}", content)
    for name, content in files.items():
        stat = backend.head(f"{version.folder}/{name}")
        if stat is None or stat.size != len(content):
            raise StoreUnavailable(
                f"{backend.url}/{version.folder}/{name} was written with {len(content)} bytes, but has "
                f"{'gone' if stat is None else f'{stat.size} of them'}; run again"
            )
    backend.put(version.manifest, data)
    return Version(kind, version.name, under, document, dict(files))


def read_manifest(backend: Backend, version: VersionId) -> dict[str, Any]:
    """Manifest of a version, checked against its own hash and the one in the version's name."""
    where = f"{backend.url}/{version.manifest}"
    try:
        return manifests.parse(backend.get(version.manifest, MAX_JSON), version, where)
    except NotFound as error:
        raise DamagedError(
            f"{backend.url}/{version} has no {MANIFEST}: it was pruned, deleted by hand, or never finished"
        ) from error


def read(backend: Backend, version: VersionId) -> Version:
    """Whole version; no byte is returned that its manifest does not promise, none read beyond what it promises."""
    document = read_manifest(backend, version)
    names = list(document["files"])
    files = dict(zip(names, each(backend, partial(fetch, backend, version, document), names), strict=True))
    return Version(version.kind, version.name, version.under, document, files)


def fetch(backend: Backend, version: VersionId, document: Mapping[str, Any], name: str) -> bytes:
    """One file of a version, checked against its manifest ``document``."""
    where, promise = f"{backend.url}/{version.folder}/{name}", document["files"][name]
    try:
        data = backend.get(f"{version.folder}/{name}", promise["size"])
    except NotFound as error:
        raise DamagedError(f"{where} is missing, though {MANIFEST} lists it") from error
    if len(data) != promise["size"]:
        raise DamagedError(f"{where} is damaged: it has {len(data)} bytes, {MANIFEST} says {promise['size']}")
    found = manifests.sha256(data)
    if found != promise["sha256"]:
        raise DamagedError(f"{where} is damaged: its sha256 is {found}, {MANIFEST} says {promise['sha256']}")
    return data


def exists(backend: Backend, version: VersionId) -> bool:
    """Whether the version has its manifest, that is, exists."""
    return backend.head(version.manifest) is not None


def ensure_whole(backend: Backend, version: VersionId, renew: bool) -> None:
    """Raise DamagedError unless the version's manifest is right and its files are there, each with its size.

    With ``renew`` its manifest is written over itself first, so that a prune under way sees that it is wanted.
    """
    document = read_manifest(backend, version)
    if renew:
        backend.put(version.manifest, manifests.seal(document, version.manifest))

    def look(name: str) -> None:
        size = document["files"][name]["size"]
        stat = backend.head(f"{version.folder}/{name}")
        if stat is None or stat.size != size:
            raise DamagedError(
                f"{backend.url}/{version.folder}/{name} "
                + ("is missing" if stat is None else f"is damaged: it has {stat.size} bytes, not {size}")
            )

    each(backend, look, document["files"])


def _refuse_other(backend: Backend, version: VersionId, data: bytes) -> None:
    """Names have 32 bits of hash: two contents of one moment may share one, once in four thousand million."""
    try:
        there = backend.get(version.manifest, MAX_JSON)
        if there == data:
            return
        manifests.parse(there, version, version.manifest)
    except (NotFound, DamagedError):
        return  # nothing there, or nothing whole: ours replaces it
    raise Conflict(f"{backend.url}/{version} exists with other content; run again with another as_of")
