"""One of many processes that publish at once: ``python race_child.py URL NAME N`` publishes N releases.

Every other one brings trees of its own; the rest are heads on whatever trees are live. Waits for a line on stdin,
so that all begin together, and prints the numbers it published, and how often somebody else was first, as JSON.
"""

from __future__ import annotations

import json
import sys

from store_kit import put_head, put_trees

from gbdtlr.errors import Conflict
from gbdtlr.store import Store


def main(url: str, name: str, n: int) -> None:
    store = Store.open(url)
    store.live()
    print("ready", flush=True)
    sys.stdin.readline()
    numbers, n_lost, known = [], 0, 0
    for i in range(n):
        new = put_trees(store, i, writer=name.encode()).name if i % 2 == 0 else None
        while True:
            live = store.live(at_least=known)
            trees = new or (live.trees if live else put_trees(store, i, writer=name.encode()).name)
            head = put_head(store, trees, i)
            entry = {
                "as_of": head.as_of,
                "trees": trees,
                "head": head.name,
                "why": "race",
                "reason": f"{name} {i}",
            }
            try:
                numbers.append(store.append(entry, live.number + 1 if live else 1).number)
                known = numbers[-1]
                break
            except Conflict:
                n_lost += 1
    print(json.dumps({"numbers": numbers, "lost": n_lost}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
