"""What the tests of the store share: small publications, and a backend that counts, fails and remembers."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from gbdtlr.errors import StoreUnavailable
from gbdtlr.store import Backend, Entry, Stat, Store

T0 = datetime(2013, 2, 15, tzinfo=UTC)


def put_trees(store: Store, i: int = 0, **files: bytes):
    files = {"booster.txt": b"tree %d\n" % i * 50, "schema.json": b"{}", **files}
    return store.write_version("trees", files, {"config": {"i": i}}, T0 + timedelta(hours=i))


def put_head(store: Store, trees: str, i: int = 0):
    return store.write_version(
        "heads",
        {"weights.npz": b"head %d" % i * 30},
        {"lineage": {"trees": trees}},
        T0 + timedelta(hours=i),
        trees,
    )


def publish(store: Store, i: int = 0, trees: str | None = None, **values) -> Entry:
    """One release, of new trees unless told which, as the next number."""
    trees = trees or put_trees(store, i).name
    head = put_head(store, trees, i)
    live = store.live()
    entry = {
        "as_of": head.as_of,
        "trees": trees,
        "head": head.name,
        "why": "update-lr",
        "metrics": {"ne": 0.5 + i},
    }
    return store.append({**entry, **values}, live.number + 1 if live else 1)


def verified(store: Store, orphans: bool = False) -> Entry | None:
    """Live entry, after every byte of it and of all the store has been checked; ``orphans`` may be damaged."""
    bad = [finding for finding in store.check() if not finding.ok]
    assert orphans or not bad, bad
    live = store.live()
    if live is not None:
        assert store.read_version("trees", live.trees).files
        assert store.read_version("heads", live.head, live.trees).files
        assert [entry.number for entry in store.entries()] == list(range(1, live.number + 1))
    return live


class Watched:
    """Another backend, whose calls are counted and of which call number ``fail_at`` fails in some way.

    ``error``: nothing happens; ``lost``: it happens, but the answer does not come; ``torn``: of a write that
    replaces, half is left behind, as on a disk whose writes are not atomic.
    """

    def __init__(self, inner: Backend, fail_at: int = 0, how: str = "error") -> None:
        self.inner, self.fail_at, self.how = inner, fail_at, how
        self.url, self.concurrency = inner.url, 1
        self.calls: list[tuple[str, str]] = []

    def _call(self, name: str, key: str, *args):
        self.calls.append((name, key))
        failing = len(self.calls) == self.fail_at
        if failing and self.how == "torn" and name == "put":
            self.inner.put(key, args[0][: len(args[0]) // 2])
        if not failing or self.how == "lost":
            result = getattr(self.inner, name)(key, *args)
        if failing:
            raise StoreUnavailable(f"{name} {key} failed on purpose")
        return result

    def get(self, key: str, max_size: int) -> bytes:
        return self._call("get", key, max_size)

    def put(self, key: str, data: bytes) -> None:
        self._call("put", key, data)

    def put_if_absent(self, key: str, data: bytes) -> None:
        self._call("put_if_absent", key, data)

    def head(self, key: str) -> Stat | None:
        return self._call("head", key)

    def list(self, prefix: str) -> Iterator[Stat]:
        yield from self._call("list", prefix)

    def delete(self, key: str) -> None:
        self._call("delete", key)
