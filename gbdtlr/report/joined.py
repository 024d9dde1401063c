"""Joined: what of a release's logs found each other, in words and a table."""

from __future__ import annotations

from collections.abc import Mapping

from gbdtlr.report import page
from gbdtlr.report.figures import percent
from gbdtlr.samples import Joined
from gbdtlr.store import Entry


def section(live: Entry) -> list[str]:
    """The section about the join of the live release's samples; nothing where labels stood in the files."""
    told = live.metrics.get("joined")
    if not isinstance(told, Mapping):
        return []
    counts = Joined.from_dict(told)
    rows = [
        _row("impressions whose window was over", counts.impressions, counts.impressions),
        _row("became a 1", counts.positives, counts.impressions),
        _row("repeated another impression, and were left out", counts.repeated, counts.impressions),
        _row("had no key, and were left out", counts.keyless, counts.impressions),
        _row("outcomes", counts.outcomes, counts.outcomes),
        _row("outcomes that repeated another", counts.outcomes_repeated, counts.outcomes),
        _row("outcomes without a key", counts.outcomes_keyless, counts.outcomes),
        _row("outcomes without impression", counts.unmatched, counts.outcomes),
        _row("outcomes after the window of their impression", counts.late, counts.outcomes),
    ]
    note = (
        "What the live release's head was learned from. Outcomes are counted that came in the time of which all "
        "impressions were read."
    )
    return [page.heading("Impressions and outcomes"), page.words(note, "note"), page.table(["", "rows", "share"], rows)]


def _row(name: str, n: int, total: int) -> list[str]:
    return [name, f"{n:,}", percent(n / total) if total else "-"]
