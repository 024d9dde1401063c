"""Fits: what a fitted head is a blend of, and what the next update goes on from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gbdtlr.codec.documents import encode, parse
from gbdtlr.head import Candidates, Layout, Memory, Record


@dataclass(frozen=True)
class Fits:
    """What a fitted head is a blend of.

    Attributes
    ----------
    candidates : the fitted heads
    record : what each of them was worth so far
    memory : the samples they were fitted on as curvature, where they are to be learned on from without those
    """

    candidates: Candidates
    record: Record
    memory: Memory | None

    def to_files(self) -> dict[str, bytes]:
        """Files a version keeps them in."""
        files = {"candidates.npz": self.candidates.to_bytes(), "record.json": encode(self.record)}
        if self.memory is not None:
            files["memory.npz"] = self.memory.to_bytes()
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
        candidates = Candidates.from_bytes(files["candidates.npz"], layout)
        memory = files.get("memory.npz")
        return cls(candidates, record, None if memory is None else Memory.from_bytes(memory, candidates))
