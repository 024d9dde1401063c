"""Guards: when a job keeps the old release rather than publish something insane.

Before learning a job judges what it was given (``Seen``), before publishing what it made (``quality``). A guard says
what it objects to, with numbers and the key that would allow it; the ``Gate`` decides. A refusal is no entry of the
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
from gbdtlr.jobs.guards.columns import Profile
from gbdtlr.jobs.guards.joined import joined
from gbdtlr.jobs.guards.quality import calibration, contest, contradiction, worse
from gbdtlr.jobs.guards.seen import Observer, Seen, profile_of
from gbdtlr.jobs.guards.traffic import Totals, Traffic, unpredicted
from gbdtlr.jobs.result import Reporter
from gbdtlr.release import Release, Slow
from gbdtlr.samples import Samples

__all__ = [
    "Gate",
    "Observer",
    "Profile",
    "Seen",
    "Totals",
    "Traffic",
    "calibration",
    "contest",
    "contradiction",
    "given",
    "given_to_trees",
    "joined",
    "not_finite",
    "profile_of",
    "seen_by",
    "too_few",
    "unpredicted",
    "worse",
]


class Gate:
    """Stops a job at the first objections, or lets it pass and keeps them if it is forced.

    Attributes
    ----------
    reason : the objections that were overruled, for the release; empty if there were none
    """

    def __init__(self, force: bool, say: Reporter, reason: str = "") -> None:
        self._force = force
        self._say = say
        self.reason = reason

    def judge(self, objections: Iterable[str], *, final: bool = False) -> None:
        """Pass if there are no objections.

        Parameters
        ----------
        final : not even force helps, as what would be published could not be loaded

        Raises
        ------
        Refused
            There are, and the job is not forced; the message has all of them.
        """
        found = list(objections)
        for objection in found:
            self._say.say("guard.object", objection=objection, forced=self._force and not final)
        if found and (final or not self._force):
            raise Refused("; ".join(found))
        self.reason = "; ".join(filter(None, [self.reason, *found]))


def too_few(n: int, guard: GuardConfig) -> Iterator[str]:
    """Objection to learning from ``n`` samples."""
    if n < guard.min_samples:
        yield f"only {n} mature samples in the window; [guard] min_samples asks for {guard.min_samples}"


def not_finite(head: Head) -> Iterator[str]:
    """Objection to weights that are not finite: no reader would load them."""
    if not head.is_finite():
        yield "the new head has weights that are not finite"


def given(base: Release, fresh: Seen, until: datetime, guard: GuardConfig) -> list[str]:
    """Objections to what an observer saw of the samples ``base`` has not learned."""
    seen = Seen.of_manifest(base.head_manifest)
    return seen.objections(fresh, _trees_profile(base.trees_manifest), base.head_as_of, until, guard)


def seen_by(base: Release | None, fresh: Seen, guard: GuardConfig) -> Seen:
    """What has been seen by a head made of ``base`` and what an observer saw since."""
    return (Seen() if base is None else Seen.of_manifest(base.head_manifest)).with_fresh(fresh, guard)


def given_to_trees(samples: Samples, totals: Totals, live: Slow, guard: GuardConfig) -> Iterator[str]:
    """Objections to samples for new trees beside those the live ones were grown on."""
    manifest = live.trees_manifest
    if "totals" in manifest:
        before = read(manifest["totals"], Totals, "the document of the trees' totals")
        yield from totals.objections(before, guard)
    known = _trees_profile(manifest)
    if known is not None:
        yield from profile_of(samples, live.trees.schema).objections([known], guard)


def _trees_profile(manifest: Mapping[str, Any]) -> Profile | None:
    profile = manifest.get("profile")
    return None if profile is None else read(profile, Profile, "the profile of the trees' samples")
