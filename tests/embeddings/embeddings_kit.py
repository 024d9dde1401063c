"""What the tests of the embeddings share: a small world of users with tastes, and twins that are slow and plain."""

from __future__ import annotations

import math
from collections import Counter
from itertools import combinations

import numpy as np

from gbdtlr.embeddings import Events
from gbdtlr.embeddings.pmi import NEXT, PRIOR


def events(n: int = 400, n_users: int = 40, n_items: int = 30, seed: int = 0) -> Events:
    """Users of two tastes, who take items of their own half more often."""
    rng = np.random.default_rng(seed)
    user = rng.integers(0, n_users, n)
    half = np.where(rng.random(n) < 0.85, user % 2, 1 - user % 2)
    item = half * (n_items // 2) + np.minimum(rng.geometric(0.15, n) - 1, n_items // 2 - 1)
    return Events(user.astype(np.uint64) * 7919, item.astype(np.uint64) * 104729 + 1, rng.integers(0, 500, n))


def pmi_of(these: Events, min_item_count: int) -> tuple[list[int], np.ndarray]:
    """The items and the whole matrix, pair by pair."""
    often = Counter(these.item.tolist())
    items = sorted(item for item, n in often.items() if n >= min_item_count)
    pairs: Counter[tuple[int, int]] = Counter()
    for user in set(these.user.tolist()):
        first: dict[int, int] = {}
        for at, item in sorted(zip(these.at_us[these.user == user], these.item[these.user == user], strict=True)):
            if int(item) in items:
                first.setdefault(int(item), int(at))
        order = sorted(first, key=lambda item: (first[item], item))
        places = {item: i for i, item in enumerate(order)}
        pairs.update(
            tuple(sorted(pair)) for pair in combinations(order, 2) if abs(places[pair[0]] - places[pair[1]]) <= NEXT
        )
    times: Counter[int] = Counter()
    for (a, b), n in pairs.items():
        times[a] += n
        times[b] += n
    total = sum(times.values())
    found = np.zeros((len(items), len(items)))
    for (a, b), n in pairs.items():
        i, j = items.index(a), items.index(b)
        found[i, j] = found[j, i] = max(0.0, math.log((n + PRIOR) / (times[a] * times[b] / total + PRIOR)))
    return items, found
