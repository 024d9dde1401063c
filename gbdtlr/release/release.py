"""A release in memory: its entry, its model, checked to give here what it gave there, and what updates go on from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

from gbdtlr.errors import DamagedError, GbdtlrError, NoReleaseError
from gbdtlr.head import Head, OnlineHead
from gbdtlr.model import Golden, Model
from gbdtlr.release.embedded import Embedded
from gbdtlr.release.fits import CANDIDATES, Fits
from gbdtlr.release.slow import GOLDEN, HEAD, Slow, as_of_of
from gbdtlr.samples import Count, counts_from_bytes
from gbdtlr.store import Entry, Store, Version
from gbdtlr.trees import FrozenTrees

COUNTS = "counts.npz"
"""File of a head that keeps what each file of samples held; see ``jobs.ledger``."""


@dataclass(frozen=True)
class Release:
    """One release, loaded, checked and ready to score; immutable.

    Attributes
    ----------
    entry : its place in the log
    slow : the slow artifacts with their versions' names and manifests
    model : what scores
    learned : files the next update starts from, by name: those of ``Fits`` or ``online.npz``, and ``COUNTS``
    head_manifest : of the head's version
    head_as_of : the moment up to which the head knows labels
    golden_json : the golden rows of the head's version
    """

    entry: Entry
    slow: Slow
    model: Model
    learned: Mapping[str, bytes]
    head_manifest: Mapping[str, Any]
    head_as_of: datetime
    golden_json: bytes

    @classmethod
    def load(cls, store: Store, entry: Entry, known: Release | None = None) -> Release:
        """The release of ``entry``, every byte checked and its golden rows replayed.

        Parameters
        ----------
        known : a release already in memory, whose slow artifacts are kept where they are the same

        Raises
        ------
        DamagedError, FormatError, MismatchError
            It cannot be trusted here; the message names the release.
        """
        try:
            slow = Slow.load(store, *entry.slow, known=None if known is None else known.slow)
            return cls.of(entry, slow, store.read_version("heads", entry.head, under=entry.trees))
        except GbdtlrError as error:
            raise type(error)(f"release {entry.number} cannot be used: {error}") from error

    @classmethod
    def live(cls, store: Store, known: Release | None = None) -> Release | None:
        """The live release, loaded; ``known`` itself if that is still live; None if nothing is published.

        A release that is overtaken and pruned while it is read is no damage: then the newer one is loaded.

        Raises
        ------
        DamagedError, FormatError, MismatchError
            As :meth:`load`; no older release is taken in its stead.
        """
        return cls.follow(store, store.live, known)

    @classmethod
    def candidate(cls, store: Store, known: Release | None = None) -> Release | None:
        """The candidate, loaded, or None if none stands; otherwise as :meth:`live`."""
        return cls.follow(store, store.candidate, known)

    @classmethod
    def follow(cls, store: Store, find: Callable[[int], Entry | None], known: Release | None = None) -> Release | None:
        """The release whose entry ``find``, given a number that is in the log, finds; otherwise as :meth:`live`."""
        seen = known.entry.number if known is not None else 0
        entry = find(seen)
        while entry is not None:
            if known is not None and entry == known.entry:
                return known
            try:
                return cls.load(store, entry, known)
            except DamagedError:
                overtaken, entry = entry, find(entry.number)
                if entry == overtaken:
                    raise
        return None

    @classmethod
    def of(cls, entry: Entry, slow: Slow, head: Version, model: Model | None = None) -> Release:
        """The release of ``entry``, made of what is in memory; raises as :meth:`load`.

        Parameters
        ----------
        model : that of ``slow`` and ``head``, where it is known already
        """
        model = slow.model(head) if model is None else model
        learned = {name: data for name, data in head.files.items() if name not in (HEAD, GOLDEN)}
        return cls(entry, slow, model, learned, head.manifest, as_of_of(head), head.files[GOLDEN])

    @property
    def trees(self) -> FrozenTrees:
        """The model's trees."""
        return self.model.trees

    @property
    def head(self) -> Head:
        """The model's head."""
        return self.model.head

    @property
    def embeddings(self) -> Embedded | None:
        """The embeddings that go with the trees, if any."""
        return self.slow.embeddings

    @property
    def trees_manifest(self) -> Mapping[str, Any]:
        """Manifest of the trees' version."""
        return self.slow.trees_manifest

    @property
    def trees_as_of(self) -> datetime:
        """The moment up to which the trees know labels."""
        return self.slow.trees_as_of

    @cached_property
    def golden(self) -> Golden:
        """A few rows with what they gave when the head was made; raises as :meth:`load`."""
        return Golden.from_bytes(self.golden_json)

    @cached_property
    def fits(self) -> Fits | None:
        """What the head is a blend of; None if it was not fitted. Read when asked for: a service never does.

        Raises
        ------
        DamagedError
        """
        if not {CANDIDATES, "record.json"} <= self.learned.keys():
            return None
        return Fits.from_files(self.learned, self.head.layout)

    def online(self) -> OnlineHead | None:
        """The head to go on learning with, sample by sample; None if it was not learned so. A new one at each call.

        Raises
        ------
        DamagedError
        """
        data = self.learned.get("online.npz")
        if data is None:
            return None
        head = OnlineHead.from_bytes(data, self.head.layout)
        if head.wide != self.head.wide or head.dense != self.head.dense:
            raise DamagedError(
                "the online head has other wide columns or dense columns than the weights it is stored with"
            )
        return head

    @cached_property
    def counts(self) -> dict[str, Count] | None:
        """What each file of samples held by its path; None if the head kept no counts, or in its manifest.

        Raises
        ------
        DamagedError, FormatError
        """
        data = self.learned.get(COUNTS)
        return None if data is None else counts_from_bytes(data)

    def check_learned(self) -> None:
        """Pass only if what the next update starts from can be read.

        Raises
        ------
        DamagedError
        """
        self.fits, self.counts  # noqa: B018 - reading them is the check
        self.online()


def no_candidate(store: Store) -> NoReleaseError:
    """What to raise where a candidate is asked for and none stands."""
    return NoReleaseError(
        f"no candidate stands in {store.url}; gbdtlr train-trees and gbdtlr update-lr publish one with --candidate"
    )
