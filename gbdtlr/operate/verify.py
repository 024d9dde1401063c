"""Verify: whether everything in a store is what was written, and gives what it gave."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gbdtlr.errors import GbdtlrError, StoreUnavailable
from gbdtlr.operate.opened import AnyStore, empty, opened
from gbdtlr.release import Embedded, Slow
from gbdtlr.store import Finding, Store, VersionId


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
    """Check every hash in the store, replay the golden rows of every head, and look at the vectors of embeddings.

    Parameters
    ----------
    on_finding : told each finding as it is made

    Raises
    ------
    NoReleaseError
        The store is empty, or its name is mistyped: nothing was checked.
    """
    store = opened(store)
    versions = {version.folder: version for version in store.list_versions()}
    slow: list[Slow] = []
    findings = []
    for finding in store.check():
        version = versions.get(finding.what)
        if finding.ok and not finding.problem and version is not None and version.kind != "trees":
            finding = (_replayed if version.kind == "heads" else _looked_up)(store, version, slow)
        findings.append(finding)
        if on_finding is not None:
            on_finding(finding)
    if not findings:
        raise empty(store)
    return VerifyReport(tuple(findings))


def _replayed(store: Store, version: VersionId, slow: list[Slow]) -> Finding:
    """The finding on a head whose bytes are as written: whether it still gives what it gave.

    Parameters
    ----------
    slow : the artifacts of the head before, if any: heads come by their name, and few change these
    """
    name = str(version.under)
    try:
        head = store.read_version("heads", version.name, under=name)
        tied = head.manifest.get("embeddings")
        embeddings = str(tied.get("name")) if isinstance(tied, dict) else None
        slow[:] = [Slow.load(store, name, embeddings, slow[0] if slow else None)]
        slow[0].model(head)
    except GbdtlrError as error:
        if not store.has_version("heads", version.name, name):
            return Finding(version.folder, True, "removed meanwhile, by gbdtlr prune or by hand")
        return Finding(version.folder, False, f"its golden rows cannot be replayed: {error}")
    return Finding(version.folder, True)


def _looked_up(store: Store, version: VersionId, slow: list[Slow]) -> Finding:  # noqa: ARG001 - called as _replayed
    """The finding on embeddings whose bytes are as written: whether items can be looked up in them."""
    try:
        Embedded.load(store, version.name).vectors.check()
    except StoreUnavailable:
        raise
    except GbdtlrError as error:
        if not store.has_version(version.kind, version.name):
            return Finding(version.folder, True, "removed meanwhile, by gbdtlr prune or by hand")
        return Finding(version.folder, False, str(error))
    return Finding(version.folder, True)
