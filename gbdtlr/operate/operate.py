"""What an operator asks of a store between the jobs: its state, its history, the way back, its health."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from gbdtlr.errors import Conflict, DamagedError, FormatError, GbdtlrError, NoReleaseError, StoreError
from gbdtlr.jobs.publishing import as_of_version
from gbdtlr.jobs.result import JobResult
from gbdtlr.release import Release
from gbdtlr.store import Entry, Finding, PruneReport, Store, VersionId
from gbdtlr.store.backend import each
from gbdtlr.times import format_duration
from gbdtlr.trees import FrozenTrees

AnyStore = str | os.PathLike[str] | Store
LOOK_BACK = 20
"""Releases ``status`` looks through for a progressive quality: forced runs and rollbacks measure none."""
SKEW = timedelta(minutes=5)
"""How far this machine's clock may be ahead of the store's when it prunes."""

_UNREADABLE: dict[str, Any] = {
    **{each.name: None for each in fields(Entry)},
    "why": "damaged",
    "forced": False,
    "metrics": {},
    "pruned": False,
}


def status(store: AnyStore, now: datetime) -> dict[str, Any]:
    """The live entry, the ages of its trees and head, and the newest progressive quality on record.

    It costs a few requests and reads no version.

    Parameters
    ----------
    now : the moment ages are taken at

    Returns
    -------
    status : the entry in JSON's types; ``trees_age_s`` and ``head_age_s``, seconds since the moment up to which each
        knows labels; ``progressive``, the quality last measured on labels not yet learned, with the ``release`` it
        was recorded in, or None

    Raises
    ------
    NoReleaseError
        Nothing is published.
    """
    store = _opened(store)
    live = _live(store)
    return {
        **live.to_dict(),
        "trees_age_s": _age_s(live.trees, now),
        "head_age_s": _age_s(live.head, now),
        "progressive": _progressive(store, live),
    }


def releases(store: AnyStore, last: int | None = None) -> list[dict[str, Any]]:
    """The newest ``last`` entries of the log, or all, newest last, in JSON's types.

    ``pruned`` tells those whose trees or head are no longer in the store, so that they cannot be rolled back to. Of
    an entry that cannot be read, ``why`` is ``damaged``, ``reason`` says what is wrong, and the rest is None.

    Raises
    ------
    NoReleaseError
        The store is empty, or its name is mistyped.
    """
    store = _opened(store)
    newest = store.newest()
    if not newest:
        _check_not_empty(store)
    numbers = range(1 if last is None else max(1, newest - last + 1), newest + 1)
    found = each(store.backend, partial(_readable, store), numbers)
    entries = [entry for entry in found if isinstance(entry, Entry)]
    needed = sorted({version for entry in entries for version in (entry.trees_id, entry.head_id)}, key=str)
    if last is None:
        there = set(store.list_versions())
    else:  # a listing goes through all versions, these may be few
        exists = each(store.backend, lambda it: store.has_version(it.kind, it.name, it.under), needed)
        there = {version for version, exist in zip(needed, exists, strict=True) if exist}
    return [
        {**entry.to_dict(), "pruned": not {entry.trees_id, entry.head_id} <= there}
        if isinstance(entry, Entry)
        else {**_UNREADABLE, "number": number, "reason": entry}
        for number, entry in zip(numbers, found, strict=True)
    ]


def rollback(store: AnyStore, number: int | None, as_of: datetime, reason: str = "") -> JobResult:
    """Bring back the trees and head of an earlier release as a new one, once they have proved whole here.

    Later updates build on what was brought back: a job that was under way ends ``superseded``, and only trees trained
    after the rollback take the place of these.

    Parameters
    ----------
    number : release to bring back; None for the newest before the live one that has another pair. Where the live
        one is itself a rollback, before the release that it brought back, so that each goes one step further. With
        a number, a newest entry that cannot be read is no hindrance
    as_of : the moment of the rollback
    reason : why, for people

    Returns
    -------
    result : ``published``, or ``unchanged`` if that pair is live already

    Raises
    ------
    NoReleaseError
        No such release, or none before.
    DamagedError, FormatError, MismatchError
        It cannot be trusted here, or was pruned; nothing was published.
    """
    store = _opened(store)
    target = store.entry(number) if number is not None else _before(store, _live(store))
    newest, live = _newest(store)
    Release.load(store, target)
    values = {
        "as_of": as_of,
        "trees": target.trees,
        "head": target.head,
        "why": "rollback",
        "reason": reason,
        "rolled_back_to": target.number,
    }
    while True:
        if live is not None and _pair(live) == _pair(target):
            told = f"release {live.number} has the trees and head of release {target.number} already"
            return _result("unchanged", live, as_of, told)
        try:
            entry = store.append({**values, "base": newest}, newest + 1)
        except Conflict:
            # Whatever was published meanwhile, the operator wants the target: only the number is another.
            newest, live = _newest(store)
            continue
        return _result("published", entry, as_of, reason)


@dataclass(frozen=True)
class VerifyReport:
    """What a check of a whole store found.

    Attributes
    ----------
    findings : one for every version and every entry of the log
    """

    findings: tuple[Finding, ...]

    @property
    def damaged(self) -> tuple[str, ...]:
        """Folders of versions and keys of entries that cannot be trusted."""
        return tuple(finding.what for finding in self.findings if not finding.ok)

    @property
    def ok(self) -> bool:
        """Whether nothing is damaged."""
        return not self.damaged

    def as_dict(self) -> dict[str, Any]:
        """The report in JSON's types."""
        findings = [{"what": each.what, "ok": each.ok, "problem": each.problem} for each in self.findings]
        return {"ok": self.ok, "checked": len(findings), "damaged": len(self.damaged), "findings": findings}


def verify(store: AnyStore, on_finding: Callable[[Finding], object] | None = None) -> VerifyReport:
    """Check every hash in the store, and replay the golden rows of every head on its trees.

    Parameters
    ----------
    on_finding : told each finding as it is made

    Raises
    ------
    NoReleaseError
        The store is empty, or its name is mistyped: nothing was checked.
    """
    store = _opened(store)
    heads = {version.folder: version for version in store.list_versions() if version.kind == "heads"}
    trees: dict[str, tuple[FrozenTrees, Any]] = {}
    findings = []
    for finding in store.check():
        if finding.ok and not finding.problem and finding.what in heads:
            finding = _replayed(store, heads[finding.what], trees)
        findings.append(finding)
        if on_finding is not None:
            on_finding(finding)
    if not findings:
        raise _empty(store)
    return VerifyReport(tuple(findings))


def prune(
    store: AnyStore,
    now: datetime,
    keep: int,
    min_age: timedelta,
    keep_after: datetime | None = None,
    dry_run: bool = False,
) -> PruneReport:
    """Remove what no kept release needs; see :meth:`Store.prune`.

    Raises
    ------
    NoReleaseError
        The store is empty, or its name is mistyped.
    StoreError
        ``now`` is ahead of the store's own clock, so that what was just written would look old; nothing was removed.
    """
    store = _opened(store)
    _check_not_empty(store)
    if not dry_run and (ahead := now - store.clock()) > SKEW:
        raise StoreError(
            f"the clock of this machine is {format_duration(timedelta(seconds=round(ahead.total_seconds())))} ahead of "
            "that of the store: what a job is writing now would be taken for old; set the clock right"
        )
    return store.prune(keep, min_age, now, keep_after, dry_run)


def _opened(store: AnyStore) -> Store:
    return store if isinstance(store, Store) else Store.open(os.fspath(store))


def _check_not_empty(store: Store) -> None:
    if store.is_empty():
        raise _empty(store)


def _empty(store: Store) -> NoReleaseError:
    return NoReleaseError(f"{store.url} is empty; check its name, or run first: gbdtlr train-trees")


def _live(store: Store, at_least: int = 0) -> Entry:
    live = store.live(at_least)
    if live is None:
        raise NoReleaseError(f"nothing is published in {store.url} yet; run first: gbdtlr train-trees")
    return live


def _newest(store: Store) -> tuple[int, Entry | None]:
    """Number of the newest entry, and the entry itself unless it is damaged."""
    newest = store.newest()
    try:
        live = _live(store, newest)
    except (DamagedError, FormatError):
        return store.newest(), None
    return live.number, live


def _age_s(version: str, now: datetime) -> float:
    try:
        as_of = datetime.strptime(as_of_version(version), "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        raise DamagedError(f"the live release names {version}, which is of no day there is") from None
    return (now - as_of).total_seconds()


def _progressive(store: Store, live: Entry) -> dict[str, Any] | None:
    if "progressive" in live.metrics:
        return {**live.metrics["progressive"], "release": live.number}
    before = range(live.number - 1, max(0, live.number - LOOK_BACK), -1)
    for entry in each(store.backend, partial(_readable, store), before):
        if isinstance(entry, Entry) and "progressive" in entry.metrics:
            return {**entry.metrics["progressive"], "release": entry.number}
    return None


def _readable(store: Store, number: int) -> Entry | str:
    """An entry, or what is wrong with it."""
    try:
        return store.entry(number)
    except (DamagedError, FormatError, NoReleaseError) as error:
        return str(error)


def _pair(entry: Entry) -> tuple[str, str]:
    return entry.trees, entry.head


def _before(store: Store, live: Entry) -> Entry:
    """Newest release before the live one with another pair."""
    origin = live
    while origin.rolled_back_to is not None:
        origin = store.entry(origin.rolled_back_to)
    for number in range(origin.number - 1, 0, -1):
        entry = store.entry(number)
        if _pair(entry) != _pair(live):
            return entry
    raise NoReleaseError(f"no release before {origin.number} has other trees or another head; nothing to go back to")


def _replayed(store: Store, version: VersionId, trees: dict[str, tuple[FrozenTrees, Any]]) -> Finding:
    """The finding on a head whose bytes are as written: whether it still gives what it gave."""
    name = str(version.under)
    try:
        if name not in trees:
            trees.clear()  # heads come sorted by their name, not by trees; one set of trees at a time in memory
            stored = store.read_version("trees", name)
            trees[name] = FrozenTrees.from_files(stored.files), stored.manifest
        head = store.read_version("heads", version.name, under=name)
        entry = Entry(1, head.as_of, name, version.name, "verify")
        Release.of(entry, *trees[name], head.files, head.manifest)
    except GbdtlrError as error:
        if not store.has_version("heads", version.name, name):
            return Finding(version.folder, True, "removed meanwhile, by gbdtlr prune or by hand")
        return Finding(version.folder, False, f"its golden rows cannot be replayed: {error}")
    return Finding(version.folder, True)


def _result(status: str, live: Entry, as_of: datetime, reason: str) -> JobResult:
    return JobResult(status, live.number, live.trees, live.head, as_of, 0, {}, reason)
