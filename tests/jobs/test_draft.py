"""A draft writes what releases have always been written as, and nobody sees it before it is published."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from golden_store import METHODS, ROWS
from jobs_kit import at, config_of, whole

from gbdtlr.codec.npz import from_npz
from gbdtlr.compute.parts import Parts
from gbdtlr.errors import MismatchError, Refused
from gbdtlr.head import Head
from gbdtlr.jobs.coding import CodedWindow
from gbdtlr.jobs.draft import Draft
from gbdtlr.jobs.guards import Check, Seen
from gbdtlr.jobs.ledger import Ledger
from gbdtlr.jobs.methods import Fitted
from gbdtlr.jobs.run import running
from gbdtlr.release import Release
from gbdtlr.samples import Samples
from gbdtlr.store import Store

FORMAT1 = Path(__file__).parent / "golden" / "format1"
N = len(ROWS)


def moved(head, by):
    """The head with so much more for every row."""
    weights = head.weights.copy()
    weights[head.layout.bias] += by
    return Head(head.layout, weights)


@pytest.fixture
def draft_of(stream, tmp_path):
    """``draft_of(method)``: the second release of a store of format 1 as a draft, to be made once more."""

    def draft_of(method="refit", force=False, **changes):
        store = str(shutil.copytree(FORMAT1 / method, tmp_path / method))
        config = config_of(stream, store, method=method)
        live = Store.open(store).entry(2)
        release = Release.load(Store.open(store), live)
        rows = json.loads(Store.open(store).read_version("heads", live.head, live.trees).files["golden.json"])["rows"]
        model = changes.pop("model", release.model)
        table = pa.table({name: [row[name] for row in ROWS] for name in ROWS[0]})
        label, known = np.arange(N) % 2, np.full(N, 1_709_700_000_000_000)
        window = CodedWindow(
            Parts([release.model.encode(Samples(table, label.astype(np.int8), np.ones(N), known, known))]),
            pa.table({name: [row[name] for row in rows] for name in rows[0]}),
        )
        with running("update-lr", config, live.as_of, force=force) as run:
            ledger, seen = Ledger.of(release, config), Seen.of_manifest(release.head_manifest)
            fitted = Fitted(model.head, dict(release.learned), {"passes": 3})
            live = run.store.live()
            draft = Draft(run, run.gate(), release.slow, fitted, window, ledger, seen, release.head_as_of, live)
        return dataclasses.replace(draft, **changes), release

    return draft_of


@pytest.mark.parametrize("method", METHODS)
def test_what_is_written_is_what_format_1_wrote(draft_of, method):
    draft, release = draft_of(method)
    before = Store.open(draft.run.config.store).read_version("heads", release.entry.head, release.entry.trees)
    written = draft.write().head
    assert written.files.keys() >= before.files.keys()
    for name, data in before.files.items():
        if name.endswith(".json"):
            assert json.loads(written.files[name]) == json.loads(data)
        else:
            arrays = from_npz(written.files[name])
            for key, array in from_npz(data).items():
                np.testing.assert_array_equal(arrays[key], array, strict=True)
    assert written.as_of == before.as_of
    assert written.manifest.keys() >= before.manifest.keys()
    for key in ("trees", "seen", "format", "kind", "under"):
        assert written.manifest[key] == before.manifest[key]
    assert written.manifest["config"] == draft.run.config.as_dict()
    assert (written.manifest["samples"], written.manifest["base"]) == (N, 3)


def test_the_same_draft_has_the_same_bytes_and_another_moment_another_name(draft_of):
    draft, _ = draft_of()
    written = draft.write()
    assert draft.write().head == written.head
    later = dataclasses.replace(draft, as_of=at(6)).write()
    assert later.head.name != written.head.name
    assert later.head.files == written.head.files


def test_nobody_sees_a_draft_before_it_is_published(draft_of):
    draft, _ = draft_of(as_of=at(6), metrics={"fresh": 7})
    store = draft.run.store
    live = store.live()
    draft.judge()
    written = draft.write()
    assert store.live() == live
    published = written.publish()
    assert (published.entry.number, published.superseded) == (4, False)
    assert whole(store) == published.entry
    assert (published.entry.why, published.entry.as_of) == ("update-lr", at(6))
    assert list(draft.metrics) == ["fresh", "fit", "passes"]
    assert published.entry.metrics == {**draft.metrics, "guards": {}}
    assert draft.metrics["fit"] == draft.model.judge(draft.window.parts).as_dict()
    made, loaded = written.released(published.entry), Release.load(store, published.entry)
    assert (made.entry, made.learned, made.head_as_of) == (loaded.entry, loaded.learned, loaded.head_as_of)
    assert made.head_manifest == loaded.head_manifest
    assert [made.model.row_margin(row) for row in ROWS] == [loaded.model.row_margin(row) for row in ROWS]


def test_a_pair_takes_the_place_behind_the_release_it_was_judged_beside_or_none(draft_of):
    draft, _ = draft_of(as_of=at(6))
    assert draft.write().publish_with_trees().number == 4
    assert draft.write().publish_with_trees() is None
    assert dataclasses.replace(draft, live=None).write().publish_with_trees() is None


def test_a_head_alone_is_not_the_first_release(draft_of):
    draft, _ = draft_of(live=None)
    with pytest.raises(ValueError, match="live trees"):
        draft.write().publish()


def test_what_was_overruled_stands_in_the_release(draft_of):
    draft, _ = draft_of(force=True, as_of=at(6))
    draft.gate.judge(
        [Check("auc", 0.3, 0.4, None, "one"), Check("volume", 1.0, 0.1, 10.0), Check("worse", 1, objection="two")]
    )
    entry = draft.write().publish().entry
    assert (entry.forced, entry.reason) == (True, "one; two")
    assert {name: each["objects"] for name, each in entry.metrics["guards"].items()} == {
        "auc": True,
        "volume": False,
        "worse": True,
    }


def test_weights_that_are_not_finite_are_refused_even_if_forced(draft_of):
    draft, release = draft_of(force=True)
    spoilt = dataclasses.replace(draft, fitted=Fitted(moved(release.head, np.nan), {}))
    with pytest.raises(Refused, match="not finite"):
        spoilt.judge()
    assert spoilt.metrics == {}


def test_guards_compare_it_with_a_rival_on_the_same_rows(draft_of):
    draft, release = draft_of()
    parts = Parts([*draft.window.parts] * 20)
    (check,) = draft.worse(release.head, parts, "told")
    assert (check.guard, check.value, check.objection) == ("worse", pytest.approx(0.0), "")
    worse = dataclasses.replace(draft, fitted=Fitted(moved(release.head, 50.0), {}))
    (check,) = worse.worse(release.head, parts, "it is worse")
    assert check.objection.startswith("it is worse: log loss")
    assert check.value > check.high


def test_a_draft_no_reader_would_take_is_an_error_when_it_is_written(draft_of, monkeypatch):
    draft, release = draft_of()
    data = moved(release.head, 1.0).to_bytes()
    monkeypatch.setattr(Head, "to_bytes", lambda *_: data)
    with pytest.raises(MismatchError, match="golden row"):
        draft.write()
