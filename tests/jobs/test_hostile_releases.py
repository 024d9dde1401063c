"""Files made by one who knows every format and seals them again: one kind of error, or a release that scores.

Bytes that merely rotted never come so far: their hash is another. Here the hash fits, and each parser is on its own.
"""

from __future__ import annotations

import io
import json
import shutil
import zipfile
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from golden_store import METHODS, ROWS
from hypothesis import given, settings
from hypothesis import strategies as st
from jobs_kit import at, config_of

from gbdtlr.codec import npz
from gbdtlr.codec.npz import from_npz, to_npz
from gbdtlr.config import GuardConfig
from gbdtlr.errors import DamagedError, GbdtlrError, StoreError
from gbdtlr.jobs import guards
from gbdtlr.jobs.ledger import Ledger
from gbdtlr.jobs.update_lr import settings_changed
from gbdtlr.release import Release, Slow
from gbdtlr.samples import Samples
from gbdtlr.scoring import Scorer
from gbdtlr.store import Store

GOLDEN = Path(__file__).parent / "golden"
KEPT = [*(f"format1/{method}" for method in METHODS), "format1-counted/ftrl", "format1-counts/ftrl"]
FUZZ = settings(max_examples=100, deadline=None)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=6,
)


@cache
def parts(method):
    """Entry, and both versions, of the second release."""
    store = Store.open(str(GOLDEN / method))
    entry = store.entry(2)
    return entry, store.read_version("trees", entry.trees), store.read_version("heads", entry.head, entry.trees)


def survives(method, changed):
    """The release with other files, every promise about them renewed: refused, or it scores and can be learned on."""
    entry, trees, head = parts(method)
    files = {**trees.files, **head.files, **changed}
    try:
        slow = Slow.of(replace(trees, files={name: files[name] for name in trees.files}))
        head_files = {name: files[name] for name in head.files}
        manifest = {**head.manifest, "trees": slow.tie()}
        release = Release.of(entry, slow, replace(head, files=head_files, manifest=manifest))
        release.check_learned()
    except GbdtlrError:
        return
    assert np.isfinite([release.model.row_margin(row) for row in ROWS]).all()
    release.fits, release.online()


def edited(data):
    """Strategy: the bytes cut short, with bits flipped, and with pieces replaced, doubled or left out."""
    at_ = st.integers(0, max(len(data) - 1, 0))
    splice = st.tuples(at_, at_, st.binary(max_size=12)).map(lambda t: data[: t[0]] + t[2] + data[t[1] :])

    def flip(where):
        changed = bytearray(data)
        for i, bit in where:
            changed[i] ^= 1 << bit
        return bytes(changed)

    return at_.map(lambda i: data[:i]) | splice | st.lists(st.tuples(at_, st.integers(0, 7)), max_size=3).map(flip)


@pytest.mark.parametrize("method", KEPT)
@FUZZ
@given(data=st.data())
def test_bytes_changed_and_sealed_again(method, data):
    _, trees, head = parts(method)
    files = {**trees.files, **head.files}
    name = data.draw(st.sampled_from(sorted(files)))
    survives(method, {name: data.draw(edited(files[name]))})


ODD = [0, 1, -1, 2**31, 2**32 - 1, 2**62, -(2**62), np.nan, np.inf, -np.inf, 1e308, 5e-324]


@pytest.mark.parametrize("method", KEPT)
@FUZZ
@given(data=st.data())
def test_arrays_changed_and_sealed_again(method, data):
    head = parts(method)[2]
    name = data.draw(st.sampled_from(sorted(name for name in head.files if name.endswith(".npz"))))
    arrays = dict(from_npz(head.files[name]))
    key = data.draw(st.sampled_from(sorted(arrays)))
    array = arrays[key].copy()
    match data.draw(st.sampled_from(["value", "type", "shorter", "longer", "shape", "order", "gone", "none"])):
        case "value" if array.size:
            with np.errstate(all="ignore"):
                value = np.array(data.draw(st.sampled_from(ODD))).astype(array.dtype)
            array.flat[data.draw(st.integers(0, array.size - 1))] = value
        case "type":
            with np.errstate(all="ignore"):
                array = array.astype(data.draw(st.sampled_from(["u1", "u4", "u8", "i4", "i8", "f4", "f8", ">f8", "?"])))
        case "shorter":
            array = array[: len(array) // 2]
        case "longer":
            array = np.concatenate([array, array])
        case "shape":
            array = array.reshape(1, *array.shape)
        case "order":
            array = array[::-1]
        case "none":
            array = array[:0]
    arrays[key] = array
    if data.draw(st.integers(0, 9)) == 0:
        del arrays[key]
    survives(method, {name: to_npz(arrays)})


@pytest.mark.parametrize("method", KEPT)
@FUZZ
@given(data=st.data())
def test_documents_changed_and_sealed_again(method, data):
    _, trees, head = parts(method)
    files = {**trees.files, **head.files}
    name = data.draw(st.sampled_from(sorted(name for name in files if name.endswith(".json"))))
    survives(method, {name: json.dumps(replaced(data, json.loads(files[name]))).encode()})


def replaced(data, value):
    """The JSON value with one value somewhere inside it replaced, or left out."""
    if isinstance(value, dict) and value and data.draw(st.integers(0, 5)):
        key = data.draw(st.sampled_from(sorted(value)))
        if not data.draw(st.integers(0, 7)):
            return {name: each for name, each in value.items() if name != key}
        return {**value, key: replaced(data, value[key])}
    if isinstance(value, list) and value and data.draw(st.integers(0, 5)):
        i = data.draw(st.integers(0, len(value) - 1))
        return [*value[:i], replaced(data, value[i]), *value[i + 1 :]]
    return data.draw(json_values)


@pytest.mark.parametrize("method", KEPT)
@FUZZ
@given(data=st.data())
def test_what_jobs_read_of_manifests_changed_and_sealed_again(method, data):
    """A job that builds on such a release ends with an error of ours, not with a fault."""
    base = loaded(method)
    head = {**base.head_manifest}
    trees = {**base.trees_manifest}
    for manifest, keys in ((head, ("seen", "ledger", "config")), (trees, ("profile", "totals"))):
        key = data.draw(st.sampled_from(keys))
        manifest[key] = replaced(data, manifest[key])
    base = replace(base, head_manifest=head, slow=replace(base.slow, trees_manifest=trees))
    config, guard = config_of(Path("nowhere"), method=Path(method).name), GuardConfig()
    totals = guards.Totals(1000, 1000.0, 300.0, 96.0)
    fresh = guards.Seen.of_manifest(loaded(method).head_manifest)
    fresh = replace(fresh, gathering=fresh.judged)
    samples = Samples(pa.table({name: [row[name] for row in ROWS] for name in ROWS[0]}), *ARRAYS)
    for ask in (
        lambda: Ledger.of(base, config),
        lambda: settings_changed(config, base),
        lambda: json.dumps(guards.seen_by(base, fresh, guard).to_dict(), allow_nan=False),
        lambda: guards.given(base, fresh, at(5, 12), guard),
        lambda: list(guards.given_to_trees(samples, totals, base.slow, guard)),
    ):
        try:
            ask()
        except GbdtlrError:
            continue


ARRAYS = (
    np.ones(len(ROWS), np.int8),
    np.ones(len(ROWS)),
    *(np.arange(len(ROWS), dtype=np.int64) for _ in range(2)),
)


@cache
def loaded(method):
    return Release.load(Store.open(str(GOLDEN / method)), parts(method)[0])


def test_arrays_that_claim_too_much_take_no_memory(monkeypatch):
    """A megabyte of zeros is a kilobyte in an npz: what all arrays together may take is known before any is read."""
    good, one, many = ({name: np.zeros(n) for name in names} for names, n in (("ab", 400), ("a", 1300), ("abcd", 400)))
    sealed = [to_npz(arrays) for arrays in (one, many)]
    monkeypatch.setattr(npz, "MAX_BYTES", 10_000)
    assert len(from_npz(to_npz(good))) == 2
    for data in sealed:
        assert len(data) < 2000
        with pytest.raises(DamagedError, match=r"claim \d+ bytes, more than the 10000"):
            from_npz(data)


def test_a_length_that_is_a_lie_gives_no_other_array():
    array = np.arange(8.0)
    data = to_npz({"a": array})
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        (info,) = archive.infolist()
    true, n_refused = info.file_size.to_bytes(4, "little"), 0
    for lie in (0, 1, info.file_size - 1, info.file_size + 1, 2**31, 2**32 - 1):
        try:
            np.testing.assert_array_equal(from_npz(data.replace(true, lie.to_bytes(4, "little")))["a"], array)
        except DamagedError:
            n_refused += 1
    assert n_refused >= 3


def test_objects_and_pickles_are_refused():
    for array in (np.array([{}], object), np.zeros(2, [("a", "f8")])):
        buffer = io.BytesIO()
        np.savez(buffer, a=array, allow_pickle=True)
        with pytest.raises(DamagedError):
            from_npz(buffer.getvalue())


def test_what_would_not_be_read_is_not_written(monkeypatch):
    monkeypatch.setattr(npz, "MAX_BYTES", 1000)
    with pytest.raises(StoreError, match="more than the 1000"):
        to_npz({"a": np.zeros(1000)})


@pytest.mark.parametrize("method", KEPT)
def test_one_bit_of_any_file_is_enough(method, tmp_path):
    """As it rots: in each file of the live release one bit flips, and nothing of it is served."""
    store = Path(shutil.copytree(GOLDEN / method, tmp_path / "store"))
    entry = parts(method)[0]
    files = [
        *(store / entry.trees_id.folder).iterdir(),
        *(store / entry.head_id.folder).iterdir(),
        store / "releases/00000002.json",
    ]
    assert len(files) > 7
    for file in files:
        whole = file.read_bytes()
        for place in (0, len(whole) // 2, len(whole) - 2):
            file.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
            with pytest.raises(DamagedError):
                Scorer.open(str(store), 2)
        file.write_bytes(whole)
    assert Scorer.open(str(store), 2).release == 2
