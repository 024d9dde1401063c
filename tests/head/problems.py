"""Coded samples made up for the tests of the head: correlated trees, drift between anchor and labels."""

from __future__ import annotations

import itertools
import pickle
from datetime import UTC, datetime

import numpy as np

from gbdtlr.compute.parts import Parts
from gbdtlr.head import Codes, DenseColumn, DenseColumns, Layout, WideColumns
from gbdtlr.times import to_us

AS_OF = datetime(2024, 5, 1, tzinfo=UTC)


class Elsewhere(Parts):
    """Parts that another process might have: functions, values and results go there and back as bytes."""

    def __iter__(self):
        raise AssertionError("parts stay where they are")

    def derive(self, function, *broadcast, each=None):
        return Elsewhere(self.map(function, *broadcast, each=each))

    def _call(self, p, function, broadcast, each):
        sent = pickle.dumps((function, () if each is None else (each[p],), broadcast))
        function, own, broadcast = pickle.loads(sent)
        return pickle.loads(pickle.dumps(function(self._parts[p], *own, *broadcast)))


class Problem:
    """Random codes whose labels follow weights somewhat off the anchor."""

    def __init__(self, n=700, n_trees=6, n_leaves=7, n_wide=0, seed=0, parts=2, dtype=np.uint8, days=3.0, n_dense=0):
        rng = np.random.default_rng(seed)
        sizes = rng.integers(1, n_leaves + 1, n_trees) if n_trees > 1 else np.array([n_leaves])
        self.offsets = np.concatenate([[0], np.cumsum(sizes)])
        self.anchor = rng.normal(0, 0.4, self.offsets[-1])
        hidden = rng.random(n)
        leaves = np.stack([np.clip(hidden * size + rng.normal(0, 0.7, n), 0, size - 1) for size in sizes]).astype(dtype)
        buckets = rng.integers(0, 40, (n_wide, n)).astype(np.uint32) ** 2
        true = self.anchor + rng.normal(0, 0.3, len(self.anchor))
        margin = true[self.offsets[:-1, None] + leaves].sum(axis=0) + 0.05 * (buckets % 7).sum(axis=0)
        values, dense = dense_values(n, n_dense, seed)
        margin += values.T @ np.linspace(-0.3, 0.3, n_dense)
        label = (rng.random(n) < 1 / (1 + np.exp(-margin))).astype(np.float32)
        event = np.sort(to_us(AS_OF) - (rng.random(n) * days * 86400e6).astype(np.int64))
        known = event + 3_600_000_000
        self.codes = Codes(leaves, buckets, label, rng.random(n) + 0.5, event, known, dense=values)
        cuts = np.linspace(0, n, parts + 1).astype(int)
        self.window = Parts([self.codes.take(np.arange(a, b)) for a, b in itertools.pairwise(cuts)])
        wide = WideColumns(tuple(f"w{j}" for j in range(n_wide)), 20_000)
        self.layout = Layout(self.offsets, self.anchor, wide, dense=dense)

    def dense(self, wide_index=()):
        """The design matrix, one-hot but for dense columns, bias last: the naive twin's."""
        codes = self.codes
        columns = [
            codes.leaves[t][:, None] == np.arange(b - a) for t, (a, b) in enumerate(itertools.pairwise(self.offsets))
        ]
        columns += [codes.buckets[j][:, None] == index for j, index in enumerate(wide_index)]
        return np.concatenate([*columns, codes.dense.T, np.ones((len(codes), 1))], axis=1).astype(float)

    def naive(self, setting, delta, wide_index=(), l2=None):
        """Value and gradient of the anchored objective, straight from its definition."""
        x = self.dense(wide_index)
        full_anchor = np.zeros(x.shape[1])
        full_anchor[: len(self.anchor)] = self.anchor
        linear = slice(len(full_anchor) - 1 - len(self.codes.dense), -1)
        full_anchor[linear] = self.layout.dense.anchor
        if l2 is None:
            l2 = np.full(len(full_anchor), setting.l2)
            l2[linear] = self.layout.dense.l2
        age = (to_us(AS_OF) - self.codes.event_us) / 1e6 / setting.half_life.total_seconds()
        s = self.codes.weight * 2.0**-age
        z = x @ (full_anchor + delta)
        y = self.codes.label.astype(float)
        value = s @ (np.logaddexp(0, z) - y * z) + l2 / 2 @ delta**2
        return value, x.T @ (s * (1 / (1 + np.exp(-z)) - y)) + l2 * delta


def dense_values(n, n_dense, seed):
    """Values of one number, and one list where there are more, centred and scaled, and what they are called."""
    rng = np.random.default_rng([seed, n_dense])
    common = rng.normal(size=n)
    values = np.array([0.7 * common + rng.normal(size=n) for _ in range(n_dense)], np.float32).reshape(n_dense, n)
    columns = [DenseColumn("score", (0.5,), (2.0,), anchor=(0.1,))][:n_dense]
    if n_dense > 1:
        rest = n_dense - 1
        columns.append(DenseColumn("hidden", (0.0,) * rest, tuple(np.linspace(0.5, 3, rest).tolist()), is_list=True))
    return values, DenseColumns(tuple(columns), 4.0)
