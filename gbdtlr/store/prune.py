"""Pruning: removing the versions no kept release needs, and what killed jobs left behind.

Jobs publish while it runs. A version is let go in three steps, so that one that is wanted again in the meantime,
by a rollback or by a job making the same content, comes back whole: its manifest goes; then the log is read again,
and the manifest of whatever a new release names is put back; then the files go, unless any has become young.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

from gbdtlr.errors import ConfigError
from gbdtlr.store.backend import Backend, NotFound, Stat, each, is_temporary
from gbdtlr.store.entry import Entry
from gbdtlr.store.log import ReleaseLog
from gbdtlr.store.manifest import KINDS, MAX_JSON, VersionId, version_of

PREFIXES = (*KINDS, "releases", "refusals")
"""All that a store holds is below these."""

_PAGE = 64


@dataclass(frozen=True)
class PruneReport:
    """What a prune removed, or with ``dry_run`` would remove.

    Attributes
    ----------
    versions : whole versions, heads before what they stand on
    unfinished : versions without a manifest, left by jobs that were killed
    temporary : keys of temporary files, left by writes that were killed
    n_bytes : size of all that
    n_kept : how many versions stay
    n_needed : those of them that a kept release needs
    n_young : those that no kept release needs, but were written too recently to be removed, or are the trees of such
        heads
    dry_run : whether nothing was removed
    """

    versions: tuple[VersionId, ...]
    unfinished: tuple[VersionId, ...]
    temporary: tuple[str, ...]
    n_bytes: int
    n_kept: int
    n_needed: int
    n_young: int
    dry_run: bool


def prune_store(
    backend: Backend,
    log: ReleaseLog,
    keep: int,
    min_age: timedelta,
    now: datetime,
    keep_after: datetime | None,
    dry_run: bool,
) -> PruneReport:
    """Remove what no kept release needs and what is older than ``min_age``; see :meth:`Store.prune`."""
    if keep < 1 or min_age < timedelta():
        raise ConfigError(f"prune must keep at least 1 release and no negative age, not {keep} and {min_age}")
    cutoff = now - min_age
    # Listed before the log is read: whatever is published between the two is then among the kept entries.
    objects: dict[VersionId, list[Stat]] = defaultdict(list)
    temporary = []
    for prefix in PREFIXES:
        for stat in backend.list(prefix):
            version = version_of(stat.key)
            if is_temporary(stat.key):
                if stat.modified < cutoff:
                    temporary.append(stat)
                elif version:
                    objects[version].append(stat)
            elif version:
                objects[version].append(stat)
    entries = _kept(log, keep, keep_after)
    # An empty log may be a lost log; removing every version would make that final.
    needed = _named_by(entries)
    young = {version for version, stats in objects.items() if max(s.modified for s in stats) >= cutoff}
    young |= {VersionId("trees", version.under) for version in young if version.under}
    wanted = needed | young if entries else set(objects)
    unwanted = sorted(set(objects) - wanted, key=lambda version: (version.kind != "heads", version))
    whole = {version for version in unwanted if any(s.key == version.manifest for s in objects[version])}
    if not dry_run:
        removed = _remove(backend, log, unwanted, objects, entries[-1].number if entries else 0, cutoff)
        each(backend, backend.delete, [stat.key for stat in temporary])
        unwanted = [version for version in unwanted if version in removed]
    sizes = [stat.size for version in unwanted for stat in objects[version]] + [stat.size for stat in temporary]
    return PruneReport(
        versions=tuple(version for version in unwanted if version in whole),
        unfinished=tuple(version for version in unwanted if version not in whole),
        temporary=tuple(stat.key for stat in temporary),
        n_bytes=sum(sizes),
        n_kept=len(objects) - len(unwanted),
        n_needed=len(needed & set(objects)),
        n_young=len(young & set(objects) - needed),
        dry_run=dry_run,
    )


def _remove(
    backend: Backend,
    log: ReleaseLog,
    versions: Sequence[VersionId],
    objects: Mapping[VersionId, list[Stat]],
    read_up_to: int,
    cutoff: datetime,
) -> set[VersionId]:
    """Remove those versions that nobody wants again meanwhile, and return them."""
    removed: set[VersionId] = set()
    manifests: dict[VersionId, bytes] = {}

    def let_go(version: VersionId) -> None:
        if _is_young(backend, version.manifest, cutoff):
            return
        with suppress(NotFound):
            manifests[version] = backend.get(version.manifest, MAX_JSON)
        backend.delete(version.manifest)

    def remove_files(version: VersionId) -> None:
        if backend.head(version.manifest) is not None:
            return
        for stat in objects[version]:
            if stat.key != version.manifest:
                if _is_young(backend, stat.key, cutoff):
                    return
                backend.delete(stat.key)
        removed.add(version)

    for start in range(0, len(versions), _PAGE):
        batch = versions[start : start + _PAGE]
        manifests.clear()
        try:
            each(backend, let_go, batch)
        finally:  # whatever stopped us, what is wanted again is put back
            new = [log.entry(number) for number in range(read_up_to + 1, log.newest() + 1)]
            wanted = _named_by(new)
            for version in wanted & set(manifests):
                backend.put(version.manifest, manifests[version])
        each(backend, remove_files, [version for version in batch if version not in wanted])
    return removed


def _is_young(backend: Backend, key: str, cutoff: datetime) -> bool:
    stat = backend.head(key)
    return stat is not None and stat.modified >= cutoff


def _kept(log: ReleaseLog, keep: int, keep_after: datetime | None) -> list[Entry]:
    """Entries whose versions are needed, by number: those asked for, and what the newest says is live or tried."""
    entries = log.entries(keep)
    while entries and (first := entries[0].number) > 1:
        is_enough = sum(entry.kind == "release" for entry in entries) >= keep
        if is_enough and not keep_after:
            break
        page = [log.entry(number) for number in range(max(1, first - _PAGE), first)]
        entries = page + entries
        if is_enough and keep_after and all(entry.as_of < keep_after for entry in page):
            break
    numbers = [entry.number for entry in entries if entry.kind == "release"]
    oldest = numbers[-keep] if len(numbers) >= keep else 1
    kept = [e for e in entries if e.number >= oldest or (keep_after and e.as_of >= keep_after)]
    if entries and (candidate := entries[-1].candidate) is not None and candidate < kept[0].number:
        kept.insert(0, log.entry(candidate))
    return kept


def _named_by(entries: Iterable[Entry]) -> set[VersionId]:
    return {version for entry in entries for version in entry.versions}
