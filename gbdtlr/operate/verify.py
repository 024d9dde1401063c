"""Verify: whether everything in a store is what was written, and gives what it gave."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gbdtlr.errors import GbdtlrError
from gbdtlr.operate.opened import AnyStore, empty, opened
from gbdtlr.release import Slow
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
    """Check every hash in the store, and replay the golden rows of every head on its trees.

    Parameters
    ----------
    on_finding : told each finding as it is made

    Raises
    ------
    NoReleaseError
        The store is empty, or its name is mistyped: nothing was checked.
    """
    store = opened(store)
    heads = {version.folder: version for version in store.list_versions() if version.kind == "heads"}
    slow: dict[str, Slow] = {}
    findings = []
    for finding in store.check():
        if finding.ok and not finding.problem and finding.what in heads:
            finding = _replayed(store, heads[finding.what], slow)
        findings.append(finding)
        if on_finding is not None:
            on_finding(finding)
    if not findings:
        raise empty(store)
    return VerifyReport(tuple(findings))


def _replayed(store: Store, version: VersionId, slow: dict[str, Slow]) -> Finding:
    """The finding on a head whose bytes are as written: whether it still gives what it gave."""
    name = str(version.under)
    try:
        if name not in slow:
            slow.clear()  # heads come sorted by their name, not by trees; one set of trees at a time in memory
            slow[name] = Slow.load(store, name)
        slow[name].model(store.read_version("heads", version.name, under=name))
    except GbdtlrError as error:
        if not store.has_version("heads", version.name, name):
            return Finding(version.folder, True, "removed meanwhile, by gbdtlr prune or by hand")
        return Finding(version.folder, False, f"its golden rows cannot be replayed: {error}")
    return Finding(version.folder, True)
