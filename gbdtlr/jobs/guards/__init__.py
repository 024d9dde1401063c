"""Guards: when a job keeps the old release rather than publish something insane.

Before learning a job judges what it was given (``Seen``), before publishing what it made (``quality``). A guard gives
checks: what it measured beside its bounds, and what it objects to, with numbers and the key that would allow it; the
``Gate`` decides. A refusal is no entry of the
log, which holds what readers may load: the store keeps one small note for each release that stayed live, so a job that
refuses every five minutes does not fill it. It is told by the job's exit code, result and ``guard.object`` events, and
by ``gbdtlr report``; ``status --max-head-age`` notices that nothing new came.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

from gbdtlr.codec.documents import read
from gbdtlr.config import GuardConfig
from gbdtlr.errors import Refused
from gbdtlr.head import Head
from gbdtlr.jobs.guards.ages import ages
from gbdtlr.jobs.guards.check import Check, nearest, objections, told
from gbdtlr.jobs.guards.columns import Profile
from gbdtlr.jobs.guards.early import early
from gbdtlr.jobs.guards.joined import joined, late
from gbdtlr.jobs.guards.leaks import leaks
from gbdtlr.jobs.guards.quality import Judged, calibration, contest, contests, contradiction, worse
from gbdtlr.jobs.guards.seen import Observer, Seen, logged, profile_of
from gbdtlr.jobs.guards.traffic import Totals, Traffic, unpredicted
from gbdtlr.jobs.result import Reporter
from gbdtlr.release import Release, Slow
from gbdtlr.samples import Samples

__all__ = [
    "Check",
    "Gate",
    "Judged",
    "Observer",
    "Profile",
    "Seen",
    "Totals",
    "Traffic",
    "ages",
    "calibration",
    "contest",
    "contests",
    "contradiction",
    "early",
    "given",
    "given_to_trees",
    "joined",
    "late",
    "leaks",
    "logged",
    "not_finite",
    "objections",
    "profile_of",
    "seen_by",
    "told",
    "too_few",
    "unpredicted",
    "worse",
]


class Gate:
    """Stops a job at the first objections, or lets it pass and keeps them if it is forced.

    Attributes
    ----------
    reason : the objections that were overruled, for the release; empty if there were none
    checks : of each guard that has measured anything the newest, which may have been kept by gates before
    """

    def __init__(self, force: bool, say: Reporter, reason: str = "", checks: dict[str, Check] | None = None) -> None:
        self._force = force
        self._say = say
        self.reason = reason
        self.checks = {} if checks is None else checks

    def judge(self, checks: Iterable[Check], *, final: bool = False) -> None:
        """Pass if there are no objections.

        Parameters
        ----------
        final : not even force helps, as what would be published could not be loaded

        Raises
        ------
        Refused
            There are, and the job is not forced; the message has all of them.
        """
        checks = list(checks)
        self.checks.update(nearest(checks))
        found = objections(checks)
        for objection in found:
            self._say.say("guard.object", objection=objection, forced=self._force and not final)
        if found and (final or not self._force):
            raise Refused("; ".join(found))
        self.reason = "; ".join(filter(None, [self.reason, *found]))


def too_few(n: int, guard: GuardConfig) -> Iterator[Check]:
    """Check of learning from ``n`` samples."""
    few = f"only {n} mature samples in the window; [guard] min_samples asks for {guard.min_samples}"
    yield Check("min_samples", n, low=guard.min_samples, objection=few if n < guard.min_samples else "")


def not_finite(head: Head) -> Iterator[Check]:
    """Objection to weights that are not finite: no reader would load them."""
    if not head.is_finite():
        yield Check("finite", 0.0, low=1.0, objection="the new head has weights that are not finite")


def given(base: Release, fresh: Seen, until: datetime, guard: GuardConfig) -> list[Check]:
    """Checks of what an observer saw of the samples ``base`` has not learned."""
    seen = Seen.of_manifest(base.head_manifest)
    return seen.checks(fresh, _trees_profile(base.trees_manifest), base.head_as_of, until, guard)


def seen_by(base: Release | None, fresh: Seen, guard: GuardConfig) -> Seen:
    """What has been seen by a head made of ``base`` and what an observer saw since."""
    return (Seen() if base is None else Seen.of_manifest(base.head_manifest)).with_fresh(fresh, guard)


def given_to_trees(samples: Samples, totals: Totals, live: Slow, guard: GuardConfig) -> Iterator[Check]:
    """Checks of samples for new trees beside those the live ones were grown on."""
    manifest = live.trees_manifest
    if "totals" in manifest:
        before = read(manifest["totals"], Totals, "the document of the trees' totals")
        yield from totals.checks(before, guard)
    known = _trees_profile(manifest)
    names = {*samples.table.schema.names}
    known_dense = live.dense.chosen([name for name in live.dense.names if name in names])
    if known is not None:
        yield from profile_of(samples, live.trees.schema, known_dense).checks([known], guard)


def _trees_profile(manifest: Mapping[str, Any]) -> Profile | None:
    profile = manifest.get("profile")
    return None if profile is None else read(profile, Profile, "the profile of the trees' samples")
