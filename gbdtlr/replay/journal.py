"""The journal: a folder of finished work, so that a replay can be stopped at any moment and continued."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from gbdtlr.codec.npz import from_npz, to_npz
from gbdtlr.errors import ConfigError, DamagedError

Arrays = dict[str, NDArray[Any]]


class Journal:
    """Finished work of one replay. What a killed replay was writing is not there, or is there whole."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def open(self, plan: Mapping[str, Any]) -> None:
        """Begin, or go on with what is there.

        Raises
        ------
        ConfigError
            The folder holds a replay of something else, or cannot be made.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"cannot make the folder {self.folder}: {error.strerror}; give --out another") from None
        file = self.folder / "plan.json"
        text = json.dumps(plan, sort_keys=True)
        if not file.exists():
            if any(self.folder.iterdir()):
                raise ConfigError(f"{self.folder} holds other files; give --out a new folder")
            _write(file, text.encode())
        elif (there := file.read_text()) != text:
            differing = ", ".join(_differing(there, plan)) or "the plan"
            raise ConfigError(
                f"{self.folder} holds a replay with another {differing}; give --out a new folder, or remove that one"
            )

    def part(self, name: str, plan: Mapping[str, Any]) -> Journal:
        """The journal of one part of the work, opened; raises as :meth:`open`."""
        part = Journal(self.folder / name)
        part.open(plan)
        return part

    def has(self, name: str) -> bool:
        """Whether arrays are saved as ``name``."""
        return (self.folder / f"{name}.npz").exists()

    def load(self, name: str) -> Arrays | None:
        """Arrays saved as ``name``, or None."""
        if not self.has(name):
            return None
        file = self.folder / f"{name}.npz"
        try:
            return from_npz(file.read_bytes())
        except DamagedError as error:
            raise DamagedError(f"{file}: {error}; remove it and the replay does that part again") from None

    def save(self, name: str, arrays: Arrays) -> None:
        """Save arrays, all or nothing."""
        _write(self.folder / f"{name}.npz", to_npz(arrays))

    def lines(self) -> list[dict[str, Any]]:
        """Records appended so far; a last one that was cut short does not count."""
        file = self.folder / "steps.jsonl"
        if not file.exists():
            return []
        whole, _, cut = file.read_bytes().rpartition(b"\n")
        if cut:
            _write(file, whole + b"\n" if whole else b"")
        return [json.loads(line) for line in whole.splitlines()]

    def append(self, record: Mapping[str, Any]) -> None:
        """Append one record."""
        with open(self.folder / "steps.jsonl", "ab") as out:
            out.write(json.dumps(record).encode() + b"\n")


def segment_name(i: int) -> str:
    """What the arrays of segment ``i`` are saved as."""
    return f"segment-{i:05d}"


def _write(file: Path, data: bytes) -> None:
    temporary = file.with_suffix(".tmp")
    temporary.write_bytes(data)
    os.replace(temporary, file)


def _differing(there: str, plan: Mapping[str, Any]) -> list[str]:
    try:
        old = json.loads(there)
    except ValueError:
        return []
    if not isinstance(old, dict):
        return []
    return sorted(key for key in {*old, *plan} if old.get(key) != plan.get(key))
