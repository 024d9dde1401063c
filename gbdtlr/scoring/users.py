"""Users: a release's margin with a user's own part, worked out from the state that the caller keeps.

The user's score of a row, ``w . v`` of its item's vector, is a dense column that enters as it is. Where the head has
learned what it weighs, that is its weight; else it is the anchor, 1. It is added in double precision, so that a client
which knows margin, vector and weight comes to the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gbdtlr.config import USER_SCORE, UsersConfig
from gbdtlr.errors import ConfigError, SchemaError
from gbdtlr.head import Head, Layout
from gbdtlr.head.dense import DenseColumns
from gbdtlr.model import Model
from gbdtlr.release import Release
from gbdtlr.users import Rule, State, Unusable, quantised, tag_of
from gbdtlr.users.packed import values
from gbdtlr.values.frames import frame_of

WEIGHT = 1.0
"""What the score weighs where no head has learned it: its anchor."""
Packed = tuple[NDArray[np.int8], NDArray[np.float32]]


class Vectors(Protocol):
    """Vectors of items; ``embeddings.Embeddings`` is so."""

    @property
    def dimensions(self) -> int: ...

    @property
    def item(self) -> str: ...

    @property
    def columns(self) -> tuple[str, ...]: ...

    def vectors_of_rows(self, rows: Any) -> tuple[NDArray[np.float32], NDArray[np.bool_]]: ...

    def vector_of(self, item: Any, content: Mapping[str, Any] | None = None) -> NDArray[np.float32] | None: ...


@dataclass(frozen=True)
class Users:
    """What one release knows of users' scores; immutable.

    Attributes
    ----------
    number : of the release
    model : the whole model
    column : dense column that holds the score in samples, None where the release has none
    rule : how states learn
    tags : of the embeddings whose states are understood, the release's own first; empty where it has none
    source : what has the vectors, as ``vectors``; None where the release has none
    """

    number: int
    model: Model
    column: str | None
    rule: Rule
    tags: tuple[bytes, ...]
    source: Any

    @classmethod
    def of(cls, release: Release) -> Users:
        """Those of a release."""
        made = release.head_manifest.get("config")
        table = made if isinstance(made, Mapping) else {}
        samples, users = table.get("samples"), table.get("users")
        name = samples.get("user_score") if isinstance(samples, Mapping) else None
        if isinstance(users, Mapping) and users.get("replay"):
            name = USER_SCORE
        column = name if name in release.head.dense.names else None
        rule = Rule.of(UsersConfig.from_dict(users) if isinstance(users, dict) else UsersConfig())
        embeddings = release.embeddings
        if embeddings is None:
            return cls(release.entry.number, release.model, column, rule, (), None)
        tags = tuple(map(tag_of, embeddings.lineage))
        return cls(release.entry.number, release.model, column, rule, tags, embeddings)

    @cached_property
    def weight(self) -> float:
        """What the head gives to one unit of a user's score."""
        if self.column is None:
            return WEIGHT
        head = self.model.head
        return float(head.weights[head.layout.kinds[f"dense {self.column}"]][0])

    @cached_property
    def without(self) -> Model:
        """The model without the column of the user's score: of everybody, and of whom nothing is known."""
        head = self.model.head
        if self.column is None:
            return self.model
        layout = head.layout
        where = layout.kinds[f"dense {self.column}"]
        dense: DenseColumns = head.dense.chosen([name for name in head.dense.names if name != self.column])
        less: Layout = replace(layout, dense=dense)
        return self.model.with_head(Head(less, np.delete(head.weights, where)))

    @property
    def vectors(self) -> Vectors:
        """Vectors of the items.

        Raises
        ------
        ConfigError
            The release has none.
        """
        if self.source is None:
            raise ConfigError(
                f"release {self.number} has no vectors of items, which a user's score is of; "
                "run first: gbdtlr train-embeddings"
            )
        vectors: Vectors = self.source.vectors
        return vectors

    def model_for(self, names: Any) -> Model:
        """The model that reads rows with these columns: without the user's score where they have none."""
        return self.model if self.column is not None and self.column in names else self.without

    def new(self) -> State:
        """The state of a user of whom nothing is known."""
        return State.new(self.rule, self.tags[0], self.vectors.dimensions)

    def state(self, given: State | bytes | str | None, key: bytes | None) -> tuple[State, str]:
        """The state that was given, and ``known``; or a new user's and why.

        Parameters
        ----------
        given : bytes, their base64, or a state in memory, which is copied as it is
        key : that states are signed with, if they are
        """
        dimensions = self.vectors.dimensions
        try:
            if given is None:
                return self.new(), "new"
            if isinstance(given, str):
                return State.from_text(given, self.rule, dimensions, self.tags, key), "known"
            if isinstance(given, bytes):
                return State.from_bytes(given, self.rule, dimensions, self.tags, key), "known"
            state = State.from_bytes(given.to_bytes(), self.rule, dimensions, self.tags)
        except Unusable as unusable:
            return self.new(), unusable.reason
        state.weights[:], state.squares[:] = given.weights, given.squares  # not rounded
        return state, "known"

    def packed(self, frame: Any) -> Packed:
        """Packed vector of every row's item; zeros where it has none; raises SchemaError where columns are missing."""
        found, known = self.vectors.vectors_of_rows(frame)
        found[~known] = 0
        return quantised(found)

    def margin(self, frame: Any, state: State) -> Margins:
        """Log-odds of every row of a frame for one user.

        Raises
        ------
        SchemaError
            Columns missing or of the wrong type; the message lists them.
        """
        frame = frame_of(frame)
        try:
            without = self.without.margin(frame)
        except SchemaError as error:
            raise _both(error, self.packed, frame) from None
        numbers, scale = self.packed(frame)
        score = np.zeros(len(without))
        for weight, line in zip(state.weights, values(numbers, scale).T, strict=True):
            score += weight * line  # in their order, as one row is
        return Margins(without + self.weight * score, without, score, (numbers, scale))

    def margin_of_rows(self, rows: Sequence[Mapping[str, Any]], state: State) -> Margins:
        """Log-odds of rows for one user, the same to the last bit as :meth:`margin` gives them; raises as it does."""
        without, found = np.empty(len(rows)), np.empty((len(rows), self.vectors.dimensions), np.float32)
        for i, row in enumerate(rows):
            try:
                without[i] = self.without.row_margin(row)
            except SchemaError as error:
                raise _both(error, self._of_row, row) from None
            found[i] = self._of_row(row)
        numbers, scale = quantised(found)
        score = np.array([state.score(vector) for vector in values(numbers, scale).tolist()])
        return Margins(without + self.weight * score, without, score, (numbers, scale))

    def vector_of(self, item: Any, content: Mapping[str, Any] | None) -> list[float]:
        """Vector of one item as clients have it; zeros where it has none."""
        vector: list[float] = values(*quantised(self._found(item, content)[None]))[0].tolist()
        return vector

    def _of_row(self, row: Mapping[str, Any]) -> NDArray[np.float32]:
        item = self.vectors.item
        if item not in row:
            raise SchemaError(f"columns of the embeddings missing: {item}")
        return self._found(row[item], row)

    def _found(self, item: Any, content: Mapping[str, Any] | None) -> NDArray[np.float32]:
        found = self.vectors.vector_of(item, content)
        return np.zeros(self.vectors.dimensions, np.float32) if found is None else found


@dataclass(frozen=True)
class Margins:
    """Log-odds of rows for one user, and what they are made of.

    Attributes
    ----------
    margin : float64 (n,), with the user's part
    without : float64 (n,), without it
    score : float64 (n,), the user's scores
    packed : the vectors of the rows' items
    """

    margin: NDArray[np.float64]
    without: NDArray[np.float64]
    score: NDArray[np.float64]
    packed: Packed


def _both(error: SchemaError, look: Any, rows: Any) -> SchemaError:
    """The model's problems with rows, and those of the vectors: they are mended together."""
    try:
        look(rows)
    except SchemaError as other:
        return SchemaError(f"{error}; {other}")
    return error
