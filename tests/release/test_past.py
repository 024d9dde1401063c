"""Past releases are those of the log, share what they have in common, and do not fill the memory."""

from __future__ import annotations

import pytest

from gbdtlr.config import Config
from gbdtlr.errors import NoReleaseError
from gbdtlr.release import Past, Release
from gbdtlr.release.past import size_of
from gbdtlr.store import Store


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Numbers of the releases that were loaded, in turn."""
    numbers: list[int] = []
    load = Release.load

    def noted(store: Store, entry: object, known: Release | None = None) -> Release:
        release = load(store, entry, known)  # type: ignore[arg-type]  # the store's own
        numbers.append(release.entry.number)
        return release

    monkeypatch.setattr(Release, "load", noted)
    return numbers


def test_releases_are_loaded_once_and_share_their_trees(filled: Config, loads: list[int]) -> None:
    store = Store.open(filled.store)
    past = Past(store)
    for number in (3, 1, 5, 3, 1):
        assert past.release(number).entry == store.entry(number)
    assert loads == [3, 1, 5]
    assert past.release(1).slow is past.release(3).slow
    assert past.release(1).slow is not past.release(5).slow
    assert past.release(3).learned == {}
    with pytest.raises(NoReleaseError):
        past.release(6)


def test_those_used_last_stay_within_the_bytes_allowed(filled: Config, loads: list[int]) -> None:
    store = Store.open(filled.store)
    alone = Past(store, kept_bytes=0)
    for number in (1, 1, 2, 1):
        alone.release(number)
    assert loads == [1, 2, 1]
    sizes = [size_of(Release.load(store, store.entry(number))) for number in (1, 2, 3)]
    loads.clear()
    two = Past(store, kept_bytes=sum(sizes) - 1)
    for number in (1, 2, 1, 3, 1, 2):
        two.release(number)
    assert loads == [1, 2, 3, 2]
