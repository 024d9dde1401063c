"""Coded samples made up for the tests of the head: correlated trees, drift between anchor and labels."""

from __future__ import annotations

import itertools
import pickle
from datetime import UTC, datetime

import numpy as np

from gbdtlr.compute.parts import Parts
from gbdtlr.head import Codes, Layout, WideColumns
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

    def __init__(self, n=700, n_trees=6, n_leaves=7, n_wide=0, seed=0, parts=2, dtype=np.uint8, days=3.0):
        rng = np.random.default_rng(seed)
        sizes = rng.integers(1, n_leaves + 1, n_trees) if n_trees > 1 else np.array([n_leaves])
        self.offsets = np.concatenate([[0], np.cumsum(sizes)])
        self.anchor = rng.normal(0, 0.4, self.offsets[-1])
        hidden = rng.random(n)
        leaves = np.stack([np.clip(hidden * size + rng.normal(0, 0.7, n), 0, size - 1) for size in sizes]).astype(dtype)
        buckets = rng.integers(0, 40, (n_wide, n)).astype(np.uint32) ** 2
        true = self.anchor + rng.normal(0, 0.3, len(self.anchor))
        margin = true[self.offsets[:-1, None] + leaves].sum(axis=0) + 0.05 * (buckets % 7).sum(axis=0)
        label = (rng.random(n) < 1 / (1 + np.exp(-margin))).astype(np.float32)
        event = np.sort(to_us(AS_OF) - (rng.random(n) * days * 86400e6).astype(np.int64))
        known = event + 3_600_000_000
        self.codes = Codes(leaves, buckets, label, rng.random(n) + 0.5, event, known)
        cuts = np.linspace(0, n, parts + 1).astype(int)
        self.window = Parts([self.codes.take(np.arange(a, b)) for a, b in itertools.pairwise(cuts)])
        self.layout = Layout(self.offsets, self.anchor, WideColumns(tuple(f"w{j}" for j in range(n_wide)), 20_000))

    def dense(self, wide_index=()):
        """The design matrix, one-hot, bias last: the naive twin's."""
        codes = self.codes
        columns = [
            codes.leaves[t][:, None] == np.arange(b - a) for t, (a, b) in enumerate(itertools.pairwise(self.offsets))
        ]
        columns += [codes.buckets[j][:, None] == index for j, index in enumerate(wide_index)]
        return np.concatenate([*columns, np.ones((len(codes), 1))], axis=1).astype(float)

    def naive(self, setting, delta, wide_index=()):
        """Value and gradient of the anchored objective, straight from its definition."""
        x = self.dense(wide_index)
        full_anchor = np.zeros(x.shape[1])
        full_anchor[: len(self.anchor)] = self.anchor
        age = (to_us(AS_OF) - self.codes.event_us) / 1e6 / setting.half_life.total_seconds()
        s = self.codes.weight * 2.0**-age
        z = x @ (full_anchor + delta)
        y = self.codes.label.astype(float)
        value = s @ (np.logaddexp(0, z) - y * z) + setting.l2 / 2 * delta @ delta
        return value, x.T @ (s * (1 / (1 + np.exp(-z)) - y)) + setting.l2 * delta
