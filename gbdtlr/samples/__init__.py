"""Samples: reading windows of mature samples out of files, as they were known at a moment."""

from gbdtlr.metrics import MAX_WEIGHT
from gbdtlr.samples.batch import Samples, require_both_classes
from gbdtlr.samples.counts import Count, counts_from_bytes, counts_to_bytes
from gbdtlr.samples.delays import Delays, share_of, windows_of
from gbdtlr.samples.files import File
from gbdtlr.samples.joined import Joined
from gbdtlr.samples.lakes import at_snapshots
from gbdtlr.samples.outcome_files import outcome_files, outcomes_in
from gbdtlr.samples.outcomes import Outcomes
from gbdtlr.samples.reading import files_of, first_events, known_in, reach_of, read, read_batches, read_unfinal
from gbdtlr.samples.window import Tally

__all__ = [
    "MAX_WEIGHT",
    "Count",
    "Delays",
    "File",
    "Joined",
    "Outcomes",
    "Samples",
    "Tally",
    "at_snapshots",
    "counts_from_bytes",
    "counts_to_bytes",
    "files_of",
    "first_events",
    "known_in",
    "outcome_files",
    "outcomes_in",
    "reach_of",
    "read",
    "read_batches",
    "read_unfinal",
    "require_both_classes",
    "share_of",
    "windows_of",
]
