"""Refusals: beside the log, a note of what guards kept from going live while a release was live.

``refusals/00000042-update-lr.json``: at most one note for each release and job, however often it refuses. Notes are for
people and replaced as they come; no job reads them, and nothing depends on them being there or being exact.
"""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass, replace
from datetime import datetime

from gbdtlr.codec.documents import Document, Time, Whole, read, table
from gbdtlr.errors import DamagedError, FormatError
from gbdtlr.store.backend import Backend, NotFound, each
from gbdtlr.store.manifest import MAX_JSON, seal, unseal

_KEY = re.compile(r"refusals/(\d{8})-([a-z-]{1,40})\.json")


@dataclass(frozen=True)
class Refusal:
    """What one job was refused while one release was live.

    Attributes
    ----------
    release : the release that stayed live; 0 where there was none yet
    job : such as ``update-lr``
    times : how often, as far as overlapping jobs did not overwrite each other's note
    first, last : as_of of the first and of the last time
    reason : the guards' words the last time
    """

    release: int
    job: str
    times: int
    first: datetime
    last: datetime
    reason: str


class _Note(Document, frozen=True):
    times: Whole
    first: Time
    last: Time
    reason: str


def note(backend: Backend, release: int, job: str, as_of: datetime, reason: str) -> None:
    """Write down that ``job`` was refused at ``as_of`` while ``release`` was live."""
    now = Refusal(release, job, 1, as_of, as_of, reason)
    key = f"refusals/{release:08d}-{job}.json"
    before = _read(backend, key)
    if before is not None:
        now = replace(now, times=before.times + 1, first=min(before.first, as_of), last=max(before.last, as_of))
    values = table(_Note(now.times, now.first, now.last, reason))
    backend.put(key, seal(values, f"the note of a refusal of {job}"))


def noted(backend: Backend, since: int) -> list[Refusal]:
    """Notes of releases from number ``since`` on, by release; those that cannot be read are left out."""
    keys = [stat.key for stat in backend.list("refusals")]
    wanted = [key for key in keys if (match := _KEY.fullmatch(key)) and int(match[1]) >= since]
    found = [refusal for refusal in each(backend, lambda key: _read(backend, key), wanted) if refusal is not None]
    return sorted(found, key=lambda refusal: (refusal.release, refusal.first, refusal.job))


def _read(backend: Backend, key: str) -> Refusal | None:
    match = _KEY.fullmatch(key)
    if match is None:
        return None
    with contextlib.suppress(NotFound, DamagedError, FormatError):
        found = read(unseal(backend.get(key, MAX_JSON), key), _Note, key)
        return Refusal(int(match[1]), match[2], found.times, found.first, found.last, found.reason)
    return None
