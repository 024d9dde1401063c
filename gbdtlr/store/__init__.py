"""The store: versions of trees, embeddings and heads, and the log of releases, on a local disk or in a bucket.

It knows bytes and hashes, no models. ``Store.open(url)`` is the way in.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from gbdtlr.errors import StoreUnavailable
from gbdtlr.store.backend import Backend, Stat
from gbdtlr.store.check import Finding, check_store
from gbdtlr.store.entry import Entry
from gbdtlr.store.exclusive import ensure_put_if_absent
from gbdtlr.store.log import ReleaseLog, Standing
from gbdtlr.store.manifest import KINDS, VersionId, version_of
from gbdtlr.store.places import places
from gbdtlr.store.prune import PREFIXES, PruneReport, prune_store
from gbdtlr.store.refusals import Refusal, note, noted
from gbdtlr.store.versions import Version, exists, read, read_manifest, write

__all__ = [
    "Backend",
    "Entry",
    "Finding",
    "PruneReport",
    "Refusal",
    "Standing",
    "Stat",
    "Store",
    "Version",
    "VersionId",
]


class Store:
    """Versions and the release log in one place; every byte that leaves it is the byte that was written.

    All methods raise only errors of the ``StoreError`` tree: ``StoreUnavailable`` where the backend failed,
    ``DamagedError`` and ``FormatError`` where bytes cannot be trusted or understood.
    """

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self._log = ReleaseLog(backend)

    @classmethod
    def open(cls, url: str) -> Store:
        """Store at a path or URL: a local folder, ``file://``, ``memory://``, ``s3://``, ``gs://`` or ``az://``.

        Nothing is written, and no request made, before it is used.

        Raises
        ------
        ConfigError
            Not such a URL, or credentials that cannot be right.
        """
        from gbdtlr.store.urls import open_backend

        return cls(open_backend(url))

    @property
    def url(self) -> str:
        """Where it is, as people write it."""
        return self.backend.url

    def write_version(
        self,
        kind: str,
        files: Mapping[str, bytes],
        manifest: Mapping[str, object],
        as_of: datetime,
        under: str | None = None,
    ) -> Version:
        """Store a version, named by its content; when this has returned it is durable and whole.

        Parameters
        ----------
        kind : ``trees``, ``embeddings`` or ``heads``
        files : plain file name to bytes
        manifest : the caller's keys (config, lineage, metrics, library versions), anything JSON can say
        as_of : the moment the job pretends is now
        under : for heads, the name of their trees

        Raises
        ------
        StoreError
            Something JSON cannot say, a file name that is not plain, or too much of anything.
        """
        return write(self.backend, kind, files, manifest, as_of, under)

    def read_version(self, kind: str, name: str, under: str | None = None) -> Version:
        """Whole version, every byte checked against the hashes in its manifest before it is returned.

        Raises
        ------
        DamagedError
            Bytes missing, changed, or more than promised; the message names version and file.
        FormatError
            Written by a newer gbdtlr.
        """
        return read(self.backend, VersionId(kind, name, under))

    def read_manifest(self, kind: str, name: str, under: str | None = None) -> dict[str, Any]:
        """Manifest of a version, checked, without its files; raises as :meth:`read_version`."""
        return read_manifest(self.backend, VersionId(kind, name, under))

    def places(self, kind: str, name: str, under: str | None = None) -> dict[str, Path]:
        """Paths of a version's files on this machine, to be mapped into memory; see :mod:`gbdtlr.store.places`.

        Raises
        ------
        DamagedError, FormatError, StoreUnavailable
        """
        version = VersionId(kind, name, under)
        return places(self.backend, version, read_manifest(self.backend, version))

    def has_version(self, kind: str, name: str, under: str | None = None) -> bool:
        """Whether the version exists, that is, has its manifest."""
        return exists(self.backend, VersionId(kind, name, under))

    def list_versions(self) -> list[VersionId]:
        """All versions that exist, trees and embeddings before heads, oldest as_of first."""
        found = (
            version
            for kind in KINDS
            for stat in self.backend.list(kind)
            if (version := version_of(stat.key)) is not None and stat.key == version.manifest
        )
        return sorted(found, key=lambda version: (KINDS.index(version.kind), version.name, version.under or ""))

    def is_empty(self) -> bool:
        """Whether nothing is here: no job has ever written to it, or its name is mistyped."""
        return not any(True for prefix in PREFIXES for _ in self.backend.list(prefix))

    def standing(self, at_least: int = 0) -> Standing | None:
        """Where the log stands, or None if nothing is published; see :meth:`ReleaseLog.standing`."""
        return self._log.standing(at_least)

    def live(self, at_least: int = 0) -> Entry | None:
        """The live release, or None if nothing is published; see :meth:`ReleaseLog.standing`."""
        standing = self._log.standing(at_least)
        return None if standing is None else standing.live

    def candidate(self, at_least: int = 0) -> Entry | None:
        """The candidate, or None if none stands; as :meth:`live`."""
        standing = self._log.standing(at_least)
        number = None if standing is None else standing.candidate
        return None if number is None else self._log.entry(number)

    def newest(self) -> int:
        """Number of the newest entry, whether it can be read or not; 0 if there is none."""
        return self._log.newest()

    def entry(self, number: int) -> Entry:
        """Entry of that number; ``NoReleaseError`` says which is the newest."""
        return self._log.entry(number)

    def entries(self, last: int | None = None) -> list[Entry]:
        """The newest ``last`` entries of the log, or all, newest last."""
        return self._log.entries(last)

    def ensure_put_if_absent(self) -> None:
        """Pass only if the log can be relied on here: a job that is to publish asks before it trains anything.

        Raises
        ------
        StoreUnavailable
            What is there can be written over, so that two jobs could both publish one release.
        """
        ensure_put_if_absent(self.backend)

    def append(self, entry: Entry | Mapping[str, Any], number: int) -> Entry:
        """Publish a release as that number, or raise ``Conflict`` if somebody else has; see
        :meth:`ReleaseLog.append`."""
        return self._log.append(entry, number)

    def note_refusal(self, release: int, job: str, as_of: datetime, reason: str) -> None:
        """Write down for people that a guard refused ``job`` at ``as_of``, so that ``release``, 0 for none, stayed."""
        note(self.backend, release, job, as_of, reason)

    def refusals(self, since: int = 0) -> list[Refusal]:
        """What was refused while releases from number ``since`` on were live, one for each release and job."""
        return noted(self.backend, since)

    def prune(
        self,
        keep: int,
        min_age: timedelta,
        now: datetime,
        keep_after: datetime | None = None,
        dry_run: bool = False,
    ) -> PruneReport:
        """Remove the versions that no kept release needs, and what killed jobs left; never a log entry.

        Parameters
        ----------
        keep : how many of the newest releases, the live one among them, keep their versions; at least 1. Candidates
            among them do, too, and the one that stands always does
        min_age : nothing written in this time before ``now`` is removed; a job may be about to publish it, so it
            must be longer than any job runs
        now : the time of the clock, by which the backend dates what is written
        keep_after : releases with this as_of or a later one keep their versions as well
        dry_run : remove nothing, only say what would be

        Raises
        ------
        DamagedError, FormatError
            An entry to be kept cannot be read, so what it needs is not known; nothing was removed.
        """
        return prune_store(self.backend, self._log, keep, min_age, now, keep_after, dry_run)

    def clock(self) -> datetime:
        """The time by which the backend dates what is written, UTC: that of a temporary object written for this."""
        key = f"releases/.clock.{secrets.token_hex(8)}.tmp"
        self.backend.put(key, b"")
        stat = self.backend.head(key)
        self.backend.delete(key)
        if stat is None:
            raise StoreUnavailable(f"{self.url}/{key} was written, but is not there; run again")
        return stat.modified

    def check(self) -> Iterator[Finding]:
        """Read every version and every entry, and say of each whether it is what was written.

        Pruned versions of releases that are not live, and versions that were never finished, are no damage.
        """
        return check_store(self.backend, self._log)
