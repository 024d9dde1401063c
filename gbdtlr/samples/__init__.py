"""Samples: reading windows of mature samples out of files, as they were known at a moment."""

from gbdtlr.metrics import MAX_WEIGHT
from gbdtlr.samples.batch import Samples, require_both_classes
from gbdtlr.samples.counts import Count, counts_from_bytes, counts_to_bytes
from gbdtlr.samples.dealing import Share, deal
from gbdtlr.samples.files import File
from gbdtlr.samples.reading import Found, files_of, known_in, nothing_read, read, read_batches
from gbdtlr.samples.shares import read_shares
from gbdtlr.samples.thinning import chances
from gbdtlr.samples.window import Tally, Window

__all__ = [
    "MAX_WEIGHT",
    "Count",
    "File",
    "Found",
    "Samples",
    "Share",
    "Tally",
    "Window",
    "chances",
    "counts_from_bytes",
    "counts_to_bytes",
    "deal",
    "files_of",
    "known_in",
    "nothing_read",
    "read",
    "read_batches",
    "read_shares",
    "require_both_classes",
]
