"""The check of a whole store: every entry of the log and every byte of every version."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from gbdtlr.errors import DamagedError, FormatError, NoReleaseError
from gbdtlr.store import versions
from gbdtlr.store.backend import Backend
from gbdtlr.store.entry import PAIRS, Entry, key_of, number_of
from gbdtlr.store.log import ReleaseLog
from gbdtlr.store.manifest import KINDS, VersionId, version_of


@dataclass(frozen=True)
class Finding:
    """What was looked at, whether it is as it was written, and what is wrong or worth saying of it.

    Attributes
    ----------
    what : folder of a version such as ``trees/20130215T000000Z-1a2b3c4d``, or key of an entry
    ok : False if it is damaged, missing, or written by a newer gbdtlr
    problem : what is wrong; where ``ok``, a remark or empty
    """

    what: str
    ok: bool
    problem: str = ""


def check_store(backend: Backend, log: ReleaseLog) -> Iterator[Finding]:
    """Every version, then every entry of the log, one at a time; see :meth:`Store.check`.

    It may take long, and jobs go on meanwhile: what was published or pruned since the first look is no damage.
    """
    newest_then, standing_then = log.newest(), _standing(log)
    whole: dict[VersionId, bool] = {}
    for kind in KINDS:
        for stat in backend.list(kind):
            version = version_of(stat.key)
            if version is not None:
                whole[version] = whole.get(version, False) or stat.key == version.manifest
    for version, finished in sorted(whole.items(), key=lambda item: (KINDS.index(item[0].kind), item[0])):
        if finished:
            yield _version(backend, version)
        else:
            yield Finding(
                version.folder, True, "not finished: a job is at it, or was killed and left it to gbdtlr prune"
            )
    found = {number for stat in backend.list("releases") if (number := number_of(stat.key))}
    newest = max(found, default=0)
    listed = {version for version, finished in whole.items() if finished}
    for number in range(1, newest + 1):
        if number not in found:
            yield Finding(key_of(number), False, f"missing, though the log goes on to {newest}; restore it")
        elif number < newest_then and number not in standing_then:
            yield _entry(log, number, listed.__contains__)
        else:
            yield _entry(log, number, partial(versions.exists, backend), _standing(log).get(number, ""))


def _version(backend: Backend, version: VersionId) -> Finding:
    try:
        versions.read(backend, version)
    except (DamagedError, FormatError) as error:
        if not versions.exists(backend, version):
            return Finding(version.folder, True, "removed meanwhile, by gbdtlr prune or by hand")
        return Finding(version.folder, False, str(error))
    return Finding(version.folder, True)


def _standing(log: ReleaseLog) -> dict[int, str]:
    """Releases that readers may ask for at any moment, by number, and what they are."""
    try:
        standing = log.standing()
    except (DamagedError, FormatError, NoReleaseError):  # which the entry's own finding says
        return {log.newest(): "live"}
    if standing is None:
        return {}
    candidate = {} if standing.candidate is None else {standing.candidate: "the candidate"}
    return {**candidate, standing.live.number: "live"}


def _entry(log: ReleaseLog, number: int, is_there: Callable[[VersionId], bool], role: str = "") -> Finding:
    try:
        entry: Entry = log.entry(number)
    except (DamagedError, FormatError, NoReleaseError) as error:
        return Finding(key_of(number), False, str(error))
    needed = entry.versions if entry.kind in PAIRS else ()
    gone = [str(version) for version in needed if not is_there(version)]
    if gone:
        lost = f"{' and '.join(gone)} {'are' if len(gone) > 1 else 'is'} no longer in the store"
        return Finding(key_of(number), not role, lost + (f", though this release is {role}" if role else ""))
    return Finding(key_of(number), True)
