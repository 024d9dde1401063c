"""Fits: what a fitted head is a blend of, and what the next update goes on from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from gbdtlr.errors import DamagedError
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
        record = json.dumps(self.record.to_dict(), sort_keys=True, allow_nan=False).encode()
        files = {"candidates.npz": self.candidates.to_bytes(), "record.json": record}
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
        try:
            record = Record.from_dict(json.loads(files["record.json"]))
        except (ValueError, TypeError, RecursionError) as error:
            raise DamagedError(f"the blend's record is damaged: {error}") from None
        candidates = Candidates.from_bytes(files["candidates.npz"], layout)
        memory = files.get("memory.npz")
        return cls(candidates, record, None if memory is None else Memory.from_bytes(memory, candidates))
