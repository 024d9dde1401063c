"""Every error gbdtlr raises on purpose, and the exit code the command line gives it.

::

    GbdtlrError                  1  something went wrong; the message says what to do
    ├── ConfigError              2  a key, option or value that cannot be right
    ├── SamplesError             1  samples that cannot be read or learned from
    │   ├── SchemaError          1  columns missing or of the wrong type; all are listed
    │   └── NoSamplesError       1  no files, or no mature rows in the window
    ├── TreesError               1  a booster whose leaves cannot be summed into a margin
    ├── StoreError               1  the store cannot do what was asked
    │   ├── NoReleaseError       1  nothing is published yet, or no such release
    │   ├── DamagedError         1  bytes that are not those their manifest promised
    │   ├── FormatError          1  written by a newer gbdtlr than this one
    │   ├── StoreUnavailable     1  network, permission, disk full: try again or mend the store
    │   └── Conflict             1  somebody else wrote that name first
    ├── EngineError              1  the cluster cannot do what was asked, or went away
    ├── StreamError              1  a topic that cannot be read on from where it was learned, or no broker that answers
    ├── MismatchError            1  a loaded release does not reproduce its golden rows
    └── Refused                  4  a guard kept the old release
"""

from __future__ import annotations


class GbdtlrError(Exception):
    """Base of all errors raised on purpose; ``exit_code`` is what the command line returns."""

    exit_code = 1

    def __str__(self) -> str:
        # Names of files may hold bytes that are no text: whoever prints the message must not fail of it.
        return super().__str__().encode("utf-8", "backslashreplace").decode()


class ConfigError(GbdtlrError):
    """A configuration key, option or value that cannot be right."""

    exit_code = 2


class SamplesError(GbdtlrError):
    """Samples that cannot be read or learned from."""


class SchemaError(SamplesError):
    """Columns that are missing or of the wrong type; the message lists all of them."""


class NoSamplesError(SamplesError):
    """No files match, or no mature rows are in the window."""


class TreesError(GbdtlrError):
    """A booster whose leaves cannot be summed into a margin."""


class StoreError(GbdtlrError):
    """The store cannot do what was asked."""


class NoReleaseError(StoreError):
    """Nothing is published yet, or the release asked for does not exist."""


class DamagedError(StoreError):
    """Bytes that are not those their manifest promised, or that cannot be parsed."""


class FormatError(StoreError):
    """Written by a newer gbdtlr than this one."""


class StoreUnavailable(StoreError):
    """The store did not answer: network, permission, disk full."""


class Conflict(StoreError):
    """The name to be written exists already: somebody else was first."""


class EngineError(GbdtlrError):
    """The cluster cannot do what was asked: no room, other versions than here, or it went away."""


class StreamError(GbdtlrError):
    """A topic cannot be read, or not from where it was learned up to: no broker answers, messages or topic are gone."""


class MismatchError(GbdtlrError):
    """A loaded release does not reproduce its golden rows on this machine."""


class Refused(GbdtlrError):
    """A guard kept the old release; the message carries the numbers."""

    exit_code = 4
