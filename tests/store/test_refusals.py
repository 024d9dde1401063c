"""Notes of refusals: one for each release and job, whatever happens to them; they never stand in anybody's way."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from store_kit import T0, publish, verified

from gbdtlr.store import Refusal, Store
from gbdtlr.store.manifest import FORMAT, canonical, sha256

HOUR = timedelta(hours=1)


def test_one_note_for_each_release_and_job_says_how_often_and_why_last(store):
    assert store.refusals() == []
    for hours, reason in ((1, "too few"), (3, "too many"), (2, "ü → ∞")):
        store.note_refusal(7, "update-lr", T0 + hours * HOUR, reason)
    store.note_refusal(7, "train-trees", T0, "no")
    store.note_refusal(0, "train-trees", T0, "nothing yet")
    one = Refusal(7, "update-lr", 3, T0 + HOUR, T0 + 3 * HOUR, "ü → ∞")
    assert store.refusals() == [
        Refusal(0, "train-trees", 1, T0, T0, "nothing yet"),
        Refusal(7, "train-trees", 1, T0, T0, "no"),
        one,
    ]
    assert store.refusals(since=7)[-1] == one
    assert store.refusals(since=8) == []
    assert len(list(store.backend.list(""))) == 3


def test_notes_are_no_part_of_versions_or_log(store):
    live = publish(store)
    store.note_refusal(1, "update-lr", T0, "no")
    assert verified(store) == live
    report = store.prune(1, HOUR, datetime(2099, 1, 1, tzinfo=UTC))
    assert (report.versions, report.unfinished, report.temporary) == ((), (), ())
    assert len(store.refusals()) == 1


def test_what_cannot_be_read_is_left_out_and_written_over(tmp_path):
    store = Store.open(str(tmp_path))
    store.note_refusal(1, "update-lr", T0, "no")
    key = "refusals/00000001-update-lr.json"
    good = store.backend.get(key, 10_000)
    newer = canonical({"format": FORMAT + 1, "times": 1})
    sealed = canonical({"format": FORMAT})
    unlike = sealed[:-1] + b',"sha256":"' + sha256(sealed).encode() + b'"}'
    for bad in (b"", good[:-5], good.replace(b"no", b"on"), newer, unlike, b"[1]", b"\xff"):
        store.backend.put(key, bad)
        assert store.refusals() == []
        store.note_refusal(1, "update-lr", T0 + HOUR, "again")
        assert store.refusals() == [Refusal(1, "update-lr", 1, T0 + HOUR, T0 + HOUR, "again")]
    store.backend.put("refusals/readme.txt", b"hello")
    store.backend.put("refusals/00000002-.json", good)
    assert len(store.refusals()) == 1
