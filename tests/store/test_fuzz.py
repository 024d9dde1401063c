"""Hostile and rotten bytes: each is refused by the one kind of error, or is harmless; never a wrong version."""

from __future__ import annotations

import json
import uuid

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from store_kit import T0, publish, put_trees

from gbdtlr.errors import DamagedError, FormatError, StoreError
from gbdtlr.store import Store, entry, manifest

N = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
hostile_names = st.sampled_from(
    [
        "../x",
        "/etc/passwd",
        "..",
        ".",
        "",
        "a/b",
        "a\\b",
        "a\0b",
        "manifest.json",
        ".hidden",
        "x" * 101,
        "ä",
        "a\n",
    ]
)


@pytest.fixture(scope="module")
def store():
    store = Store.open(f"memory://{uuid.uuid4().hex}")
    publish(store)
    return store


@pytest.fixture(scope="module")
def trees(store):
    return store.read_version("trees", store.live().trees)


def mutated(data: bytes) -> st.SearchStrategy[bytes]:
    """Truncations, flipped bits, and pieces replaced, doubled or left out."""
    n = len(data)
    at = st.integers(0, n - 1)
    flips = st.lists(st.tuples(at, st.integers(0, 7)), min_size=1, max_size=4)

    def flip(where):
        changed = bytearray(data)
        for i, bit in where:
            changed[i] ^= 1 << bit
        return bytes(changed)

    return st.one_of(
        at.map(lambda i: data[:i]),
        at.map(lambda i: data[i:]),
        flips.map(flip),
        st.tuples(at, at, st.binary(max_size=20)).map(lambda t: data[: t[0]] + t[2] + data[t[1] :]),
        st.binary(max_size=200),
    )


def resealed(document: dict) -> bytes:
    """As an attacker who knows the format would: with a hash that fits."""
    document = {key: value for key, value in document.items() if key != "sha256"}
    body = manifest.canonical(document)
    return manifest.canonical({**document, "sha256": manifest.sha256(body)})


@N
@given(data=st.data())
def test_rotten_manifest(store, trees, data):
    key = trees.id.manifest
    good = store.backend.get(key, manifest.MAX_JSON)
    store.backend.put(key, data.draw(mutated(good)))
    try:
        assert store.read_version("trees", trees.name) == trees
    except (DamagedError, FormatError) as error:
        assert trees.name in str(error)  # noqa: PT017
    finally:
        store.backend.put(key, good)


@N
@given(data=st.data())
def test_rotten_entry(store, data):
    key = entry.key_of(1)
    good = store.backend.get(key, manifest.MAX_JSON)
    expected = store.entry(1)
    store.backend.put(key, data.draw(mutated(good)))
    try:
        assert store.live() == expected
    except (DamagedError, FormatError) as error:
        assert "00000001.json" in str(error)  # noqa: PT017
    finally:
        store.backend.put(key, good)


@N
@given(data=st.data())
def test_rotten_file(store, trees, data):
    key = f"{trees.id.folder}/booster.txt"
    good = trees.files["booster.txt"]
    bad = data.draw(mutated(good))
    store.backend.put(key, bad)
    try:
        assert store.read_version("trees", trees.name) == trees
        assert bad == good
    except DamagedError as error:
        assert key in str(error)  # noqa: PT017
    finally:
        store.backend.put(key, good)


@N
@given(change=st.dictionaries(st.sampled_from(["files", "as_of", "kind", "name", "under", "format", "x"]), json_values))
def test_manifest_changed_by_one_who_knows_the_format(trees, change):
    document = {**trees.manifest, **change}
    try:
        data = resealed(document)
    except ValueError:
        return  # NaN: cannot be sealed at all
    try:
        parsed = manifest.parse(data, trees.id, "here")
    except (DamagedError, FormatError):
        return
    assert parsed == trees.manifest


good_promise = st.just({"sha256": "0" * 64, "size": 0})
bad_promise = json_values | st.one_of(
    st.builds(
        lambda digest: {"sha256": digest, "size": 0},
        json_values | st.text("0123456789abcdefABCDEF\n", min_size=65, max_size=66) | st.just("A" * 64),
    ),
    st.builds(
        lambda size: {"sha256": "0" * 64, "size": size},
        st.sampled_from([-1, True, "1", None, 0.0, manifest.MAX_FILE + 1]) | st.integers(max_value=-1),
    ),
)


@N
@given(files=st.dictionaries(hostile_names, good_promise, min_size=1) | st.fixed_dictionaries({"a": bad_promise}))
def test_manifest_made_to_escape(trees, files):
    # Even with a name that fits its content: what a forger who may choose the version's name can do.
    content = {key: value for key, value in trees.manifest.items() if key != "name"}
    content["files"] = files
    try:
        version = manifest.VersionId("trees", manifest._name(T0, content))
    except ValueError:
        return  # NaN or infinity
    with pytest.raises(DamagedError, match="is damaged"):
        manifest.parse(resealed({**content, "name": version.name}), version, "here")


@N
@given(change=st.dictionaries(st.sampled_from([*entry.Entry.__dataclass_fields__, "format"]), json_values, min_size=1))
def test_entry_changed_by_one_who_knows_the_format(store, change):
    data = store.backend.get(entry.key_of(1), manifest.MAX_JSON)
    try:
        changed = resealed({**json.loads(data), **change})
    except ValueError:
        return
    try:
        loaded = entry.load(changed, 1, "here")
    except (DamagedError, FormatError):
        return
    assert loaded.number == 1
    assert manifest.is_name(loaded.trees)
    assert manifest.is_name(loaded.head)
    written = {"embeddings": None, **json.loads(changed)}
    assert {name: value for name, value in loaded.to_dict().items() if name != "as_of"} == {
        name: value for name, value in written.items() if name in loaded.to_dict() and name != "as_of"
    }


@pytest.mark.parametrize(
    "data",
    [
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"9" * 100_000,
        b'{"format":' + b"9" * 5000 + b"}",
        b'{"format":NaN}',
        b'{"format":1e999}',
        b'{"format":true}',
        b'{"format":0}',
        b'{"format":"1"}',
        b"null",
        b"[]",
        b"",
        b"\xff\xfe",
        b'{"format":1,"sha256":["a"]}',
        b'{"format":1,"x":"\\ud800"}',
        b'{"format":1,"x":-Infinity}',
    ],
)
def test_hostile_json(data):
    with pytest.raises(DamagedError, match="here is damaged"):
        manifest.unseal(data, "here")


@pytest.mark.parametrize("what", ["trees", "releases"])
def test_newer_formats_are_refused_by_name(what):
    store = Store.open(f"memory://{uuid.uuid4().hex}")
    live = publish(store)
    key = live.trees_id.manifest if what == "trees" else entry.key_of(1)
    newest = 1 if what == "trees" else entry.NEWEST_FORMAT
    store.backend.put(key, b'{"format": %d, "whatever": "follows"}' % (newest + 1))
    told = rf"has format {newest + 1}, newer than the {newest} .* upgrade gbdtlr"
    with pytest.raises(FormatError, match=told) as error:
        store.live() if what == "releases" else store.read_version("trees", live.trees)
    assert key in str(error.value)


@N
@given(value=json_values)
def test_what_is_written_is_what_is_read(value):
    store = Store.open("memory://fuzz-round-trip")
    try:
        written = store.write_version("trees", {"a": b"1"}, {"value": value}, T0)
    except StoreError as error:
        assert "cannot be written as JSON" in str(error)  # noqa: PT017, NaN and infinities
        return
    assert store.read_version("trees", written.name) == written


@given(name=st.text(max_size=30) | hostile_names | st.from_regex(r"[0-9]{8}T[0-9]{6}Z-[0-9a-f]{8}\n?", fullmatch=True))
def test_only_names_of_versions_reach_a_path(store, name):
    for ask in (
        lambda: store.read_version("trees", name),
        lambda: store.read_manifest("heads", "20130215T000000Z-1a2b3c4d", name),
    ):
        with pytest.raises(DamagedError):
            ask()


@pytest.mark.parametrize("name", ["../x", "/x", "a/b", "", ".x", "manifest.json", "a\0", "x" * 101])
def test_only_plain_file_names_are_written(name):
    store = Store.open(f"memory://{uuid.uuid4().hex}")
    with pytest.raises(StoreError, match="is not a plain file name"):
        store.write_version("trees", {name: b""}, {}, T0)


def test_a_store_that_promises_too_much_is_not_read(store, trees, monkeypatch):
    monkeypatch.setattr(manifest, "MAX_FILE", 100)
    with pytest.raises(DamagedError, match="the size of booster"):
        store.read_version("trees", trees.name)
    with pytest.raises(StoreError, match="more than the 100 allowed"):
        put_trees(store, 3)


def test_a_file_larger_than_promised_is_not_read(store, trees):
    key = f"{trees.id.folder}/schema.json"
    store.backend.put(key, bytes(1 << 20))
    with pytest.raises(DamagedError, match="more than the 2 expected"):
        store.read_version("trees", trees.name)
    store.backend.put(key, trees.files["schema.json"])
    assert store.read_version("trees", trees.name) == trees
