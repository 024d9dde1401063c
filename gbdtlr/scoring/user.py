"""The user: a state on one release, scored, stepped, and written for the next time."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

from gbdtlr.errors import SchemaError
from gbdtlr.scoring.users import Margins, Users
from gbdtlr.users import State

BEGAN = ("known", "new", "damaged", "signature", "foreign", "older")
"""What has become of states that were given; all but the first began as a new user's."""


class User:
    """A user's state with the vectors of one release; not for several threads at once.

    Attributes
    ----------
    state : what is kept of the user
    began : ``known``, or why the state is a new user's: ``new``, none was given; ``damaged``; ``signature``, not signed
        with the key here; ``foreign``, of another method or number of dimensions; ``older``, of embeddings that the
        live ones were not turned onto
    """

    def __init__(self, users: Users, state: State, began: str, key: bytes | None) -> None:
        self.state, self.began = state, began
        self._users, self._key = users, key

    @property
    def release(self) -> int:
        """Number of the release whose vectors and weights it is scored by."""
        return self._users.number

    @property
    def weights(self) -> tuple[float, ...]:
        """The user's vector."""
        return tuple(self.state.weights)

    @property
    def rule(self) -> dict[str, float]:
        """What a client must know to go on: ``alpha``, ``l2``, and the ``weight`` of the score in the margin."""
        return {"alpha": self.state.rule.alpha, "l2": self.state.rule.l2, "weight": self._users.weight}

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of a row that its item's vector is found by; the first is the item."""
        return self._users.vectors.columns

    def score(self, item: Any, content: Mapping[str, Any] | None = None) -> float:
        """Log-odds that the user adds to an item, zero for one without a vector; what is to be logged as served.

        Parameters
        ----------
        content : value of each content column, by which an item without a vector of its own is known
        """
        return self.state.score(self._users.vector_of(item, content))

    def learn(self, item: Any, label: int, margin: float, content: Mapping[str, Any] | None = None) -> None:
        """Take in what came of an item that was shown.

        Parameters
        ----------
        label : 1 if it was clicked, else 0
        margin : its log-odds without the user's score

        Raises
        ------
        SchemaError
            Another label, or log-odds that are not finite.
        """
        try:
            self.state.learn(self._users.vector_of(item, content), label, margin)
        except ValueError as error:
            raise SchemaError(str(error)) from None

    def margins(self, frame: Any) -> Margins:
        """Log-odds of every row of a frame, and what they are made of; raises as :meth:`Scorer.score`."""
        return self._users.margin(frame, self.state)

    def margins_of_rows(self, rows: Sequence[Mapping[str, Any]]) -> Margins:
        """The same of rows that are mappings of names to values."""
        return self._users.margin_of_rows(rows, self.state)

    def to_bytes(self) -> bytes:
        """The state, to be kept by the caller and given with the next request; signed where there is a key."""
        return self.state.to_bytes(self._key)

    def to_text(self) -> str:
        """:meth:`to_bytes` in base64."""
        return self.state.to_text(self._key)


class Began:
    """Counts what has become of states; any thread may."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts = dict.fromkeys(BEGAN, 0)

    def add(self, began: str) -> None:
        """One more."""
        with self._lock:
            self._counts[began] += 1

    def counts(self) -> dict[str, int]:
        """How many of each there were."""
        with self._lock:
            return dict(self._counts)
