"""Samples: reading windows of mature samples out of files, as they were known at a moment."""

from gbdtlr.metrics import MAX_WEIGHT
from gbdtlr.samples.batch import Samples, check_both_classes, require_both_classes
from gbdtlr.samples.counts import Count, counts_from_bytes, counts_to_bytes
from gbdtlr.samples.dealing import Share, deal
from gbdtlr.samples.delays import Delays, share_of, windows_of
from gbdtlr.samples.formats.file import File
from gbdtlr.samples.found import Found
from gbdtlr.samples.join.blocks import read_blocks
from gbdtlr.samples.join.joining import joined_batches
from gbdtlr.samples.join.outcome_files import outcome_files, outcomes_in
from gbdtlr.samples.join.outcomes import Outcomes
from gbdtlr.samples.join.spread import Plan
from gbdtlr.samples.joined import Joined
from gbdtlr.samples.lakes.names import at_snapshots
from gbdtlr.samples.reading import (
    Known,
    files_of,
    first_events,
    known_in,
    nothing_read,
    reach_of,
    read,
    read_batches,
    read_unfinal,
)
from gbdtlr.samples.shares import read_shares
from gbdtlr.samples.thinning import chances
from gbdtlr.samples.window import Tally, Window

__all__ = [
    "MAX_WEIGHT",
    "Count",
    "Delays",
    "File",
    "Found",
    "Joined",
    "Known",
    "Outcomes",
    "Plan",
    "Samples",
    "Share",
    "Tally",
    "Window",
    "at_snapshots",
    "chances",
    "check_both_classes",
    "counts_from_bytes",
    "counts_to_bytes",
    "deal",
    "files_of",
    "first_events",
    "joined_batches",
    "known_in",
    "nothing_read",
    "outcome_files",
    "outcomes_in",
    "reach_of",
    "read",
    "read_batches",
    "read_blocks",
    "read_shares",
    "read_unfinal",
    "require_both_classes",
    "share_of",
    "windows_of",
]
