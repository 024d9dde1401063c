"""Samples: reading windows of mature samples out of files, as they were known at a moment."""

from gbdtlr.metrics import MAX_WEIGHT
from gbdtlr.samples.batch import Samples, require_both_classes
from gbdtlr.samples.counts import Count, counts_from_bytes, counts_to_bytes
from gbdtlr.samples.files import File
from gbdtlr.samples.reading import files_of, known_in, read, read_batches
from gbdtlr.samples.window import Tally

__all__ = [
    "MAX_WEIGHT",
    "Count",
    "File",
    "Samples",
    "Tally",
    "counts_from_bytes",
    "counts_to_bytes",
    "files_of",
    "known_in",
    "read",
    "read_batches",
    "require_both_classes",
]
