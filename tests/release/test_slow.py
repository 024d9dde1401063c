"""A head is tied to its slow artifacts: by name, by every byte of them, and by what they give together."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gbdtlr.config import Config
from gbdtlr.errors import DamagedError, MismatchError
from gbdtlr.release import Release, Slow
from gbdtlr.store import Store


def test_a_head_makes_a_model_with_its_own_slow_artifacts_alone(filled: Config) -> None:
    store = Store.open(filled.store)
    first, last = store.entry(1), store.entry(5)
    wide = Release.load(store, first).head.wide
    slow, other = Slow.load(store, first.trees), Slow.load(store, last.trees)
    head = store.read_version("heads", first.head, first.trees)
    assert slow.model(head).head.to_bytes() == Release.load(store, first).head.to_bytes()
    with pytest.raises(MismatchError, match=f"head {first.head} was fitted on other trees than {last.trees}"):
        other.model(head)
    with pytest.raises(MismatchError, match="golden row"):
        slow.model(replace(head, files={**head.files, "head.npz": slow.bare(wide).head.to_bytes()}))
    changed = {**slow.trees_manifest, "files": {**slow.trees_manifest["files"], "booster.txt": {"sha256": "0" * 64}}}
    with pytest.raises(MismatchError, match="fitted on other trees"):
        replace(slow, trees_manifest=changed).model(head)
    for name in ("head.npz", "golden.json"):
        with pytest.raises(DamagedError, match=f"has no file {name}"):
            slow.model(replace(head, files={key: data for key, data in head.files.items() if key != name}))
    with pytest.raises(DamagedError, match="lists no files"):
        replace(slow, trees_manifest={}).model(head)


def test_a_version_that_does_not_say_when_it_was_made_is_damaged(filled: Config) -> None:
    store = Store.open(filled.store)
    version = store.read_version("trees", store.entry(1).trees)
    assert Slow.of(version).trees_as_of == version.as_of
    for as_of in (None, "yesterday"):
        with pytest.raises(DamagedError, match="manifest of trees/"):
            Slow.of(replace(version, manifest={**version.manifest, "as_of": as_of}))


def test_the_model_of_slow_artifacts_alone_is_bare(filled: Config) -> None:
    store = Store.open(filled.store)
    release = Release.load(store, store.entry(1))
    model = release.slow.bare(release.head.wide)
    assert model.trees is release.trees
    assert model.head.to_bytes() == release.model.bare().head.to_bytes()
