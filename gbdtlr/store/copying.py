"""Copying: one release taken out of a store, to where it is the only one."""

from __future__ import annotations

from gbdtlr.store import Entry, Store, versions
from gbdtlr.store.entry import key_of
from gbdtlr.store.log import HINT
from gbdtlr.store.manifest import MAX_JSON, VersionId


def copy_release(source: Store, number: int, target: Store) -> Entry:
    """Copy a release to an empty store, byte for byte, where it is live then under its number.

    Nothing can be published there behind it: to take a release elsewhere, with its past, copy the whole store.

    Raises
    ------
    NoReleaseError
        The source has none of that number.
    DamagedError, FormatError
        What the source has cannot be trusted.
    """
    entry = source.entry(number)
    for version in entry.versions:
        _copy_version(source, version, target)
    target.backend.put(key_of(number), source.backend.get(key_of(number), MAX_JSON))
    target.backend.put(HINT, str(number).encode())
    return entry


def _copy_version(source: Store, version: VersionId, target: Store) -> None:
    whole = versions.read(source.backend, version)
    for name, data in whole.files.items():
        target.backend.put(f"{version.folder}/{name}", data)
    target.backend.put(version.manifest, source.backend.get(version.manifest, MAX_JSON))
