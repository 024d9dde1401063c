"""A release in memory: frozen trees and the head fitted on them, checked to give here what they gave there."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gbdtlr.errors import ConfigError, DamagedError, GbdtlrError, MismatchError, SchemaError
from gbdtlr.head import Candidates, Codes, Head, Layout, Memory, OnlineHead, Record, WideColumns
from gbdtlr.samples import Samples
from gbdtlr.store import Entry, Store
from gbdtlr.times import parse_time
from gbdtlr.trees import FrozenTrees
from gbdtlr.values.arrays import from_numpy, from_values

GOLDEN_ROWS = 8
GOLDEN_TOLERANCE = 1e-9


@dataclass(frozen=True)
class Golden:
    """A few rows with what they gave when the head was made: replayed at load, they show any difference.

    Attributes
    ----------
    rows : column name to value, JSON's types
    leaves : (n_rows, n_trees), leaf of each row in each tree
    margins : (n_rows,), log-odds
    """

    rows: list[dict[str, Any]]
    leaves: list[list[int]]
    margins: list[float]

    @classmethod
    def of(cls, table: pa.Table, trees: FrozenTrees, head: Head) -> Golden:
        """Golden rows spread over ``table``; those with an infinite number, which JSON cannot say, are left out."""
        spread = np.unique(np.linspace(0, len(table) - 1, min(GOLDEN_ROWS, len(table))).astype(np.int64))
        rows = [row for row in table.take(from_numpy(spread)).to_pylist() if _json_can_say(row)]
        if not rows:
            return cls([], [], [])
        chosen = _table_of(rows)
        leaves = trees.encode(chosen)
        margins = head.margin(Codes.unlabelled(leaves, head.wide.buckets(chosen)))
        return cls(rows, leaves.T.tolist(), margins.tolist())

    def replay(self, trees: FrozenTrees, head: Head) -> None:
        """Pass only if trees and head give the same here.

        Raises
        ------
        MismatchError
            They do not; the message says what differs.
        """
        if not self.rows:
            return
        table = _table_of(self.rows)
        try:
            leaves = trees.encode(table)
            margins = head.margin(Codes.unlabelled(leaves, head.wide.buckets(table)))
        except GbdtlrError as error:
            raise MismatchError(f"its golden rows cannot be scored: {error}") from error
        if np.shape(self.leaves) != leaves.T.shape:
            raise MismatchError(
                f"its golden rows tell the leaves of {np.shape(self.leaves)[1]} trees, not {len(leaves)}"
            )
        wrong = np.argwhere(np.array(self.leaves) != leaves.T)
        if len(wrong):
            row, tree = (int(i) for i in wrong[0])
            raise MismatchError(
                f"golden row {row} falls into leaf {leaves[tree, row]} of tree {tree}, not {self.leaves[row][tree]}, "
                f"and {len(wrong)} leaves differ in all; the trees are not what they were"
            )
        off = np.abs(margins - np.array(self.margins))
        worst = int(off.argmax())
        if not off[worst] <= GOLDEN_TOLERANCE:
            raise MismatchError(
                f"golden row {worst} has margin {margins[worst]:.12g}, not {self.margins[worst]:.12g}; "
                "the head is not what it was"
            )

    def to_bytes(self) -> bytes:
        """The golden rows as JSON."""
        table = {"rows": self.rows, "leaves": self.leaves, "margins": self.margins}
        return json.dumps(table, sort_keys=True, allow_nan=False).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> Golden:
        """Golden rows as :meth:`to_bytes` gave them; ``DamagedError`` for anything else."""
        try:
            table = json.loads(data)
            rows, leaves = table["rows"], table["leaves"]
            golden = cls(rows, leaves, [float(margin) for margin in table["margins"]])
            if not all(isinstance(row, dict) and _json_can_say(row) for row in rows) or not isinstance(leaves, list):
                raise ValueError("rows that are no rows")
            if not len(rows) == len(golden.margins) == len(leaves):
                raise ValueError("their lengths differ")
            if rows and (np.array(leaves).ndim != 2 or np.array(leaves).dtype.kind != "i"):
                raise ValueError("leaves that are no numbers")
            _table_of(rows)
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
            raise DamagedError(f"the golden rows are damaged: {error}") from None
        return golden


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


@dataclass(frozen=True)
class Release:
    """One release, loaded, checked and ready to score; immutable.

    Attributes
    ----------
    entry : its place in the log
    trees, head : what scores
    learned : files the next update starts from, by name: those of ``Fits`` or ``online.npz``
    head_as_of : the moment up to which the head knows labels
    trees_as_of : the moment up to which the trees do
    head_manifest, trees_manifest : of the two versions
    """

    entry: Entry
    trees: FrozenTrees
    head: Head
    learned: Mapping[str, bytes]
    head_as_of: datetime
    trees_as_of: datetime
    head_manifest: Mapping[str, Any]
    trees_manifest: Mapping[str, Any]

    @classmethod
    def load(cls, store: Store, entry: Entry, known: Release | None = None) -> Release:
        """The release of ``entry``, every byte checked and its golden rows replayed.

        Parameters
        ----------
        known : a release already in memory, whose trees are kept where they are the same

        Raises
        ------
        DamagedError, FormatError, MismatchError
            It cannot be trusted here; the message names the release.
        """
        try:
            if known is not None and known.entry.trees == entry.trees:
                trees, trees_manifest = known.trees, known.trees_manifest
            else:
                stored = store.read_version("trees", entry.trees)
                trees, trees_manifest = FrozenTrees.from_files(stored.files), stored.manifest
            version = store.read_version("heads", entry.head, under=entry.trees)
            return cls.of(entry, trees, trees_manifest, version.files, version.manifest)
        except GbdtlrError as error:
            raise type(error)(f"release {entry.number} cannot be used: {error}") from error

    @classmethod
    def live(cls, store: Store, known: Release | None = None) -> Release | None:
        """The live release, loaded; ``known`` itself if that is still live; None if nothing is published.

        A release that is overtaken and pruned while it is read is no damage: then the newer one is loaded.

        Raises
        ------
        DamagedError, FormatError, MismatchError
            As :meth:`load`; no older release is taken in its stead.
        """
        seen = known.entry.number if known is not None else 0
        while True:
            entry = store.live(seen)
            if entry is None or (known is not None and entry == known.entry):
                return known if entry is not None else None
            try:
                return cls.load(store, entry, known)
            except DamagedError:
                seen = store.newest()
                if seen <= entry.number:
                    raise

    @classmethod
    def of(
        cls,
        entry: Entry,
        trees: FrozenTrees,
        trees_manifest: Mapping[str, Any],
        files: Mapping[str, bytes],
        manifest: Mapping[str, Any],
    ) -> Release:
        """The release made of these trees and the files of a head version; raises as :meth:`load`."""
        fitted_on = manifest.get("trees")
        if fitted_on != tie(entry.trees, trees_manifest):
            raise MismatchError(f"head {entry.head} was fitted on other trees than {entry.trees}")
        for name in ("head.npz", "golden.json"):
            if name not in files:
                raise DamagedError(f"head {entry.head} has no file {name}")
        head = Head.from_bytes(files["head.npz"], Layout.of(trees))
        try:
            head_as_of, trees_as_of = parse_time(manifest["as_of"]), parse_time(trees_manifest["as_of"])
        except (ValueError, KeyError, TypeError, RecursionError, ConfigError) as error:
            raise DamagedError(f"head {entry.head} is damaged: {error}") from None
        Golden.from_bytes(files["golden.json"]).replay(trees, head)
        learned = {name: data for name, data in files.items() if name not in ("head.npz", "golden.json")}
        return cls(entry, trees, head, learned, head_as_of, trees_as_of, manifest, trees_manifest)

    @cached_property
    def fits(self) -> Fits | None:
        """What the head is a blend of; None if it was not fitted. Read when asked for: a service never does.

        Raises
        ------
        DamagedError
        """
        if not {"candidates.npz", "record.json"} <= self.learned.keys():
            return None
        return Fits.from_files(self.learned, self.head.layout)

    def online(self) -> OnlineHead | None:
        """The head to go on learning with, sample by sample; None if it was not learned so. A new one at each call.

        Raises
        ------
        DamagedError
        """
        data = self.learned.get("online.npz")
        return None if data is None else OnlineHead.from_bytes(data, self.head.layout)

    def check_learned(self) -> None:
        """Pass only if what the next update starts from can be read.

        Raises
        ------
        DamagedError
        """
        self.fits  # noqa: B018 - reading it is the check
        self.online()

    def margin(self, frame: Any) -> NDArray[np.float64]:
        """Log-odds of every row of a DataFrame, Table or dict of arrays; columns are found by name.

        Raises
        ------
        SchemaError
            Columns missing or of the wrong type; the message lists them.
        """
        try:
            out = self.trees.margin(frame, self.head.leaf_weights, self.head.bias)
        except SchemaError as error:
            raise self._all_problems(error, self.head.wide.buckets, frame) from None
        if self.head.wide.names:
            self.head.add_wide(self.head.wide.buckets(frame), out)
        return out

    @cached_property
    def values_margin(self) -> Callable[[NDArray[np.float64]], float]:
        """The trees' part of a row's log-odds, from its values as ``trees.row_values`` gives them."""
        return self.trees.row_scorer(self.head.leaf_weights, self.head.bias)

    def row_margin(self, row: Mapping[str, Any]) -> float:
        """Log-odds of one row, a mapping of column names to values."""
        try:
            margin = self.values_margin(self.trees.schema.row(row))
        except SchemaError as error:
            raise self._all_problems(error, self.head.wide.row_buckets, row) from None
        if self.head.wide.names:
            margin = self.head.add_row_wide(self.head.wide.row_buckets(row), margin)
        return margin

    def _all_problems(self, of_trees: SchemaError, buckets: Callable[[Any], Any], rows: Any) -> SchemaError:
        """The trees' problems with some rows and those of the wide columns: they are mended together."""
        try:
            buckets(rows)
        except SchemaError as of_wide:
            return SchemaError(f"{of_trees}; {of_wide}")
        return of_trees

    def encode(self, samples: Samples) -> Codes:
        """Codes of samples, on these trees and with this head's wide columns."""
        return encode(samples, self.trees, self.head.wide)


def encode(samples: Samples, trees: FrozenTrees, wide: WideColumns) -> Codes:
    """Codes of samples: samples -> trees -> codes."""
    return Codes(
        trees.encode(samples.table),
        wide.buckets(samples.table).reshape(len(wide.names), len(samples)),
        samples.label.astype(np.float32),
        samples.weight,
        samples.event_us,
        samples.known_us,
    )


def tie(trees: str, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """What ties a head to its trees: their version, and the hash of every file of it."""
    try:
        return {"name": trees, "files": {name: file["sha256"] for name, file in manifest["files"].items()}}
    except (KeyError, TypeError, AttributeError):
        raise DamagedError(f"the manifest of trees {trees} lists no files") from None


def _table_of(rows: list[dict[str, Any]]) -> pa.Table:
    names = list(dict.fromkeys(name for row in rows for name in row))
    return pa.table({name: from_values([row.get(name) for row in rows]) for name in names})


def _json_can_say(row: dict[str, Any]) -> bool:
    return all(
        value is None or isinstance(value, str | bool | int) or (isinstance(value, float) and np.isfinite(value))
        for value in row.values()
    )
