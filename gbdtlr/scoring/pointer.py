"""The pointer: which release of a store a Scorer follows, the live one or the candidate."""

from __future__ import annotations

from gbdtlr.errors import NoReleaseError
from gbdtlr.release import Release, no_candidate
from gbdtlr.store import Entry, Standing, Store

CANDIDATE = "candidate"


class Pointer:
    """The live release of a store, or its candidate, and where the log stood when it was last looked at.

    Attributes
    ----------
    standing : then; None before the first look
    """

    def __init__(self, to_candidate: bool = False) -> None:
        self._to_candidate = to_candidate
        self.standing: Standing | None = None

    def load(self, store: Store, known: Release | None = None) -> Release:
        """What it points to now; ``known`` itself if that is still it.

        Raises
        ------
        NoReleaseError
            Nothing is published, or no candidate stands.
        GbdtlrError
            As :meth:`Release.live`.
        """

        def find(at_least: int) -> Entry | None:
            self.standing = standing = store.standing(at_least)
            if standing is None or not self._to_candidate:
                return None if standing is None else standing.live
            return None if standing.candidate is None else store.entry(standing.candidate)

        release = Release.follow(store, find, known)
        if release is not None:
            return release
        if self.standing is not None:
            raise no_candidate(store)
        raise NoReleaseError(f"nothing is published in {store.url}; run first: gbdtlr train-trees")
