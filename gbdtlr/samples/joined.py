"""Joined: what a join of impressions with their outcomes came across, in numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields


@dataclass
class Joined:
    """Counts of one reading.

    Outcomes are counted that came in the time of which all impressions were read, and one that repeats another is
    counted as nothing else.

    Attributes
    ----------
    impressions : that were in the window and mature, repeats and those without a key among them
    keyless, repeated : of these, those without a key, and those whose key an earlier one had; they are no samples
    positives : samples that became a 1
    outcomes : that had come, and landed, all in all
    outcomes_keyless, outcomes_repeated : of these, those without a key, and those whose key an earlier one had
    unmatched : outcomes of a key that no impression before them had
    late : outcomes that came when the window of their impression was over
    """

    impressions: int = 0
    keyless: int = 0
    repeated: int = 0
    positives: int = 0
    outcomes: int = 0
    outcomes_keyless: int = 0
    outcomes_repeated: int = 0
    unmatched: int = 0
    late: int = 0

    def as_dict(self) -> dict[str, int]:
        """All counts by name, for metrics."""
        return asdict(self)

    def remarks(self) -> dict[str, int]:
        """Those that are not zero, for a job's log."""
        return {name: n for name, n in asdict(self).items() if n}

    @classmethod
    def from_dict(cls, counts: Mapping[str, object]) -> Joined:
        """Counts as :meth:`as_dict` gave them; what is missing, or no number, counts as zero."""
        known = {each.name: counts.get(each.name) for each in fields(cls)}
        return cls(**{name: n for name, n in known.items() if isinstance(n, int)})
