"""Samples: reading windows of mature samples out of files, as they were known at a moment."""

from gbdtlr.samples.batch import Samples, require_both_classes
from gbdtlr.samples.reading import read, read_batches
from gbdtlr.samples.window import Tally

__all__ = ["Samples", "Tally", "read", "read_batches", "require_both_classes"]
