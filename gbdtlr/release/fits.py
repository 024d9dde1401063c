"""Fits: what a fitted head is a blend of, and what the next update goes on from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from gbdtlr.codec.documents import encode, parse
from gbdtlr.head import Candidates, Layout, Memory, Record

CANDIDATES = "candidates.npz"
"""File of the fits that the next update goes on from."""
PUBLISHED = "published_candidates.npz"
"""File of the fits that were blended, where these have learned rows on top that are not final."""


@dataclass(frozen=True)
class Fits:
    """What a fitted head is a blend of.

    Attributes
    ----------
    candidates : the fitted heads, of which the release's is a blend
    record : what each of them was worth so far
    memory : the samples they were fitted on as curvature, where they are to be learned on from without those
    state : the fits to these samples alone, where the candidates have learned rows on top that are not final; None
        where they have not
    """

    candidates: Candidates
    record: Record
    memory: Memory | None
    state: Candidates | None = None

    @property
    def final(self) -> Candidates:
        """The fits to final rows, from which the next update goes on."""
        return self.candidates if self.state is None else self.state

    def to_files(self) -> dict[str, bytes]:
        """Files a version keeps them in."""
        files = {CANDIDATES: self.final.to_bytes(), "record.json": encode(self.record)}
        if self.memory is not None:
            files["memory.npz"] = self.memory.to_bytes()
        if self.state is not None:
            files[PUBLISHED] = self.candidates.to_bytes()
        return files

    @classmethod
    def from_files(cls, files: Mapping[str, bytes], layout: Layout) -> Fits:
        """Fits as :meth:`to_files` gave them, of heads of that layout.

        Raises
        ------
        DamagedError, FormatError
            Not such files; written by a newer gbdtlr.
        """
        record = Record.from_dict(parse(files["record.json"], "the blend's record"))
        final = Candidates.from_bytes(files[CANDIDATES], layout)
        published = published_in(files, layout) if PUBLISHED in files else None
        fits = cls(final, record, None) if published is None else cls(published, record, None, final)
        memory = files.get("memory.npz")
        return fits if memory is None else replace(fits, memory=Memory.from_bytes(memory, fits.final))


def published_in(files: Mapping[str, bytes], layout: Layout) -> Candidates | None:
    """The fits that a head was blended of, out of its files; None if it was not. Raises as :meth:`Fits.from_files`."""
    data = files.get(PUBLISHED, files.get(CANDIDATES))
    return None if data is None else Candidates.from_bytes(data, layout)
