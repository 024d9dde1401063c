"""The columns a release reads, and what is wrong with those of a client, by column."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import pyarrow as pa

from gbdtlr.errors import SchemaError
from gbdtlr.head import DenseColumns, WideColumns
from gbdtlr.release import Release
from gbdtlr.scoring.users import Users
from gbdtlr.serving.json_rows import JsonRows
from gbdtlr.trees.schema import Feature, Schema

MAX_TOLD = 100
"""Columns with a problem that an answer tells of; a client may send thousands that nobody knows."""

UNREADABLE = (SchemaError, pa.ArrowException, OverflowError, UnicodeError)
"""What is raised where values cannot be read; Arrow's own errors for types that are no column's."""

BESIDE = frozenset({"user", "events", "vectors"})
"""Names beside rows or columns in a request for a user."""

Problems = dict[str, str]


class Columns:
    """The columns of one release.

    Attributes
    ----------
    release : the release
    features : those of the trees, in their order
    ids : those that are only hashed into the head
    dense : the dense columns, by name, but those that are numbers of the trees too, and the user's score
    names : all of them
    json_rows : what reads rows of them that are plain, None where they cannot be
    """

    def __init__(self, release: Release) -> None:
        self.release = release
        self.number = release.entry.number
        self.features: tuple[Feature, ...] = release.trees.schema.features
        parts = release.head.wide.columns
        of_trees = {feature.name for feature in self.features}
        self.ids = tuple(part for part in parts if part not in of_trees)
        user = Users.of(release).column  # worked out from the user's state
        dense = (each for each in release.head.dense.columns if each.name not in of_trees and each.name != user)
        self.dense = {each.name: each for each in dense}
        self.names = frozenset((*of_trees, *self.ids, *self.dense))
        numbers = (name for name, column in self.dense.items() if not column.is_list)
        of_features = (feature.name for feature in self.features if feature.vocabulary is None)
        self.numeric = frozenset((*of_features, *numbers))
        self._wide = frozenset(parts)
        self.json_rows = JsonRows.of(release.model)

    def ordered(self) -> tuple[str, ...]:
        """The names as people expect them: the trees' features, then the ids, then the dense columns."""
        return (*(feature.name for feature in self.features), *self.ids, *self.dense)

    def lists(self) -> dict[str, int]:
        """How many numbers the lists of each dense column have that holds lists."""
        return {name: column.size for name, column in self.dense.items() if column.is_list}

    def missing(self, present: Collection[str]) -> Problems:
        """A problem for every column that is not there."""
        return {name: "is missing" for name in self.ordered() if name not in present}

    def unknown(self, present: Collection[str]) -> Problems:
        """A problem for every column that the release does not read."""
        others = sorted({str(name) for name in present} - self.names)
        return {name: self._not_known(name) for name in others[:MAX_TOLD]}

    def of_row(self, row: Mapping[str, Any]) -> Problems:
        """What is wrong with the values of one row."""
        return {**self.missing(row), **dict(self._wrong(row, single=True))}

    def of_frame(self, frame: Mapping[str, Any]) -> Problems:
        """What is wrong with whole columns."""
        return {**self.missing(frame), **dict(self._wrong(frame, single=False))}

    def _wrong(self, values: Mapping[str, Any], single: bool) -> Iterator[tuple[str, str]]:
        """Each column that cannot be read even alone; asked one by one, since an error speaks of all at once."""
        for feature in self.features:
            if feature.name in values:
                alone, column = Schema((feature,)), {feature.name: values[feature.name]}
                try:
                    if single:
                        alone.row(column)
                    else:
                        alone.fills(column)
                except UNREADABLE as error:
                    yield feature.name, _told(error, feature.name)
        for name in sorted(self._wide & values.keys()):
            try:
                alone_wide = WideColumns((name,), 2)
                if single:
                    alone_wide.row_buckets({name: values[name]})
                else:
                    alone_wide.buckets({name: values[name]})
            except UNREADABLE as error:
                yield name, _told(error, name)

        for name in sorted(self.dense.keys() & values.keys()):
            try:
                alone_dense = DenseColumns((self.dense[name],))
                if single:
                    alone_dense.row_values({name: values[name]})
                else:
                    alone_dense.values({name: values[name]})
            except UNREADABLE as error:
                yield name, _told(error, name)

    def _not_known(self, name: str) -> str:
        near = difflib.get_close_matches(name[:100], self.names, n=1) if len(self.names) < 1000 else []
        hint = f"; did you mean {near[0]}?" if near else ""
        if name in BESIDE:
            hint = "; it stands beside rows or columns, for a user"
        return f"is no column of release {self.number}{hint}"


def _told(error: Exception, name: str) -> str:
    """The error without the column it begins with, which is told beside it."""
    message = " ".join(str(error).split())[:300]
    return message.removeprefix("column ").removeprefix(f"{name} ")
