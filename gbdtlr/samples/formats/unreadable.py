"""Unreadable: the error of a file that cannot be read, with what whoever has the file, or its table, can do."""

from __future__ import annotations

from gbdtlr.buckets.unanswered import Unanswered
from gbdtlr.errors import SamplesError
from gbdtlr.samples.formats.file import File


def unreadable(file: File, error: Exception, again: str) -> SamplesError:
    """The error of a file whose bytes cannot be had, or say nothing.

    Parameters
    ----------
    error : of Arrow's or of the system's
    again : what can be done about a broken file that is no table's
    """
    is_gone = isinstance(error, FileNotFoundError)
    reason = "it is not there" if is_gone else " ".join(str(error).split()).rstrip(".")
    return SamplesError(f"cannot read {file.subject}: {reason}; {_remedy(file, error, again)}")


def _remedy(file: File, error: Exception, again: str) -> str:
    if isinstance(error, PermissionError):
        return "let this user read it"
    if isinstance(error, Unanswered):
        return "see that the bucket answers, and run the command again"
    if not isinstance(error, FileNotFoundError):
        return again if file.stored is None else file.stored.remedy
    if file.stored is None:
        return "it was there a moment ago; run the command again"
    return (
        "its table lists it all the same: if it was vacuumed or expired, take a newer version; if it was removed by "
        f"hand, {file.stored.remedy}"
    )
