"""The release: an entry of the log, the model it names, and what the next update starts from."""

from gbdtlr.release.embedded import Embedded
from gbdtlr.release.fits import Fits
from gbdtlr.release.past import Past
from gbdtlr.release.release import COUNTS, Release, no_candidate
from gbdtlr.release.slow import Slow

__all__ = ["COUNTS", "Embedded", "Fits", "Past", "Release", "Slow", "no_candidate"]
