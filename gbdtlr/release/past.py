"""Past: releases of the log by number, of which those used last stay in memory."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace

from gbdtlr.release.release import Release
from gbdtlr.store import Store

KEPT_BYTES = 256 << 20
"""Of heads that are kept in memory, lest those that score again and again are loaded each time."""


class Past:
    """Releases of a store to score with, not to learn on from; those on the same trees share them."""

    def __init__(self, store: Store, kept_bytes: int = KEPT_BYTES) -> None:
        self._store = store
        self._kept_bytes = kept_bytes
        self._releases: OrderedDict[int, Release] = OrderedDict()

    def release(self, number: int) -> Release:
        """The release of that number; raises as :meth:`Release.load`."""
        if number not in self._releases:
            entry = self._store.entry(number)
            releases = self._releases.values()
            same = (each for each in releases if each.entry.slow == entry.slow)
            same_trees = (each for each in releases if each.entry.trees == entry.trees)
            release = Release.load(self._store, entry, next(same, None) or next(same_trees, None))
            self._releases[number] = replace(release, learned={})  # the largest part, and no score needs it
            while len(self._releases) > 1 and sum(map(size_of, self._releases.values())) > self._kept_bytes:
                self._releases.popitem(last=False)
        self._releases.move_to_end(number)
        return self._releases[number]


def size_of(release: Release) -> int:
    """Bytes of a release that it does not share with others on its trees."""
    head = release.head
    return head.weights.nbytes + sum(index.nbytes for index in head.layout.buckets)
