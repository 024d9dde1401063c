"""Users' own scores as a production would have them: states that learn while rows are served, under the product's head.

Every day, when there are new trees, vectors of the items are made of what is known and turned onto those before; they
are frozen before the rows that they serve. A row is scored with its user's state as it is then, the score is logged,
and the head learns from what was logged: no score has known its label. A state takes in a row once the row's label is
known, or so much later where states are older. States begin with the first vectors, and take in what was known by then.
"""

from __future__ import annotations

import heapq
import time
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from benchmarks.heads import Blend
from benchmarks.served import Margins, Rows, Stream
from gbdtlr.compute.parts import Parts
from gbdtlr.embeddings import Embeddings, Events, Pairs, keys_of, rotated_onto, shared, train
from gbdtlr.embeddings.content import groups_of
from gbdtlr.head import Codes, DenseColumn, DenseColumns, Head
from gbdtlr.model import Model
from gbdtlr.samples import Samples
from gbdtlr.users import Rule, State, quantised
from gbdtlr.users.packed import values

SCORE = "user_score"
DENSE = DenseColumns((DenseColumn(SCORE, (0.0,), (1.0,), anchor=(1.0,)),))
"""As the product has it: it enters as it is, anchored at 1."""
NO_TAG = b"\0\0\0"


@dataclass
class ItemVectors:
    """Vectors of a stream's items, made when trees are, for all systems; each turned onto the ones before.

    Attributes
    ----------
    seconds : CPU seconds of each time they were made
    """

    seconds: list[float] = field(default_factory=list)
    live: Embeddings | None = None
    _of: Model | None = None

    def at(self, stream: Stream, model: Model, as_of: datetime) -> Embeddings:
        """Those of the day, of what was known when ``model`` was trained."""
        if self.live is None or self._of is not model:
            begin = time.process_time()
            self.live, self._of = self._made(stream, as_of), model
            self.seconds.append(time.process_time() - begin)
        return self.live

    def _made(self, stream: Stream, as_of: datetime) -> Embeddings:
        settings, samples = stream.config.embeddings, stream.config.samples
        rows = stream.samples.take(stream.known(as_of - settings.window, as_of))
        (users, known), (items, there) = (keys_of(rows.table.column(name)) for name in (samples.user, samples.item))
        liked = (rows.label == 1) & known & there
        trained = train(
            Parts([Events(users[liked], items[liked], rows.event_us[liked])]),
            settings.dimensions,
            settings.min_item_count,
        )
        vectors: NDArray[Any] = trained.vectors
        if self.live is not None:
            own, before = shared(trained.keys, self.live.keys)
            vectors = rotated_onto(vectors, vectors[own], self.live.vectors[before])
        pairs = None
        if settings.content:
            group, grouped = groups_of([keys_of(rows.table.column(name)) for name in settings.content], len(rows))
            pairs = Pairs.of(group[grouped & there], items[grouped & there])
        return Embeddings.of(trained.keys, vectors, str(samples.item), settings.content, pairs)


@dataclass
class UserScores(Blend):
    """The product's blend with a user's score as a dense column.

    Attributes
    ----------
    rule : how a state learns
    vectors : of items, shared by systems
    lag : how long after its label is known a row is taken in by its user's state
    states : by user
    scores : of every row as it was served, zero where it was not
    event_s : CPU seconds of scoring and learning by states, and of how many rows
    """

    dense: DenseColumns = DENSE
    rule: Rule = field(default_factory=Rule)
    vectors: ItemVectors = field(default_factory=ItemVectors)
    lag: timedelta = timedelta(0)
    states: dict[int, State] = field(default_factory=dict)
    scores: Margins | None = None
    event_s: float = 0.0
    n_events: int = 0
    weights: list[float] = field(default_factory=list)
    users: NDArray[np.intp] = field(default_factory=lambda: np.empty(0, np.intp))
    _pending: list[tuple[int, int, list[float], float]] = field(default_factory=list)

    def serve(self, stream: Stream, model: Model, as_of: datetime, rows: Rows) -> Margins:
        first = self.scores is None
        if first:
            self.scores = np.zeros(len(stream.samples))
            users, _ = keys_of(stream.samples.table.column(stream.config.samples.user))
            self.users = np.unique(users, return_inverse=True)[1]
        head = self.fit(stream, model, as_of)
        vectors = self.vectors.at(stream, model, as_of)
        weight = float(head.weights[head.layout.linear][0])
        self.weights.append(weight)
        if first:
            past = stream.happened(as_of - stream.config.embeddings.window, as_of)
            self._serve(stream, vectors, past, self._without(stream, model, head, past), logged=False)
        without = self._without(stream, model, head, rows)
        self._serve(stream, vectors, rows, without, logged=True)
        return without + weight * self.scores[rows]

    def codes(self, stream: Stream, model: Model, rows: Rows) -> Codes:
        assert self.scores is not None
        return replace(stream.codes(model, rows), dense=self.scores[rows][None].astype(np.float32))

    def window(self, stream: Stream, rows: Rows) -> Samples:
        assert self.scores is not None
        found = stream.samples.take(rows)
        return replace(found, table=found.table.append_column(SCORE, pa.array(self.scores[rows])))

    def _without(self, stream: Stream, model: Model, head: Head, rows: Rows) -> Margins:
        """Log-odds without the users' scores."""
        return head.margin(replace(stream.codes(model, rows), dense=np.zeros((1, len(rows)), np.float32)))

    def _serve(self, stream: Stream, vectors: Embeddings, rows: Rows, without: Margins, logged: bool) -> None:
        """Score rows in order of time, each with what its user's state has taken in before."""
        begin = time.process_time()
        samples, lag_us = stream.samples, self.lag // timedelta(microseconds=1)
        found, _ = vectors.vectors_of_rows(samples.table.take(rows))
        packed = values(*quantised(found)).tolist()
        event_us, known_us = samples.event_us[rows].tolist(), samples.known_us[rows].tolist()
        for row, at_us, then_us, vector, margin in zip(
            rows.tolist(), event_us, known_us, packed, without.tolist(), strict=True
        ):
            self._learn(samples, at_us)
            if logged:
                self.scores[row] = self._state(row, len(vector)).score(vector)
            heapq.heappush(self._pending, (then_us + lag_us, row, vector, margin))
        self.event_s += time.process_time() - begin
        self.n_events += len(rows)

    def _learn(self, samples: Samples, before_us: int) -> None:
        """Let states take in what is due; rows of one instant know nothing of each other."""
        while self._pending and self._pending[0][0] < before_us:
            _, row, vector, margin = heapq.heappop(self._pending)
            self._state(row, len(vector)).learn(vector, int(samples.label[row]), margin)

    def _state(self, row: int, dimensions: int) -> State:
        user = int(self.users[row])
        if user not in self.states:
            self.states[user] = State.new(self.rule, NO_TAG, dimensions)
        return self.states[user]
