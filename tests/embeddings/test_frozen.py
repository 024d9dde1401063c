"""Embeddings as a version keeps them: what is written is what is looked up, mapped, and refused if it is not that."""

from __future__ import annotations

import json
import mmap
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gbdtlr.embeddings import Embeddings, Pairs, frozen, keys_of
from gbdtlr.embeddings.content import CHUNK, groups_of
from gbdtlr.errors import DamagedError, FormatError, SchemaError

N, D = 60, 5


def made(n: int = N, content: bool = True) -> Embeddings:
    """Items ``i0``, ``i1``, ... of which three in a row share a shop, and of which every fifth has no vector."""
    names = [f"i{i}" for i in range(n)]
    keys, _ = keys_of(names)
    shops = keys_of([f"s{i // 3}" for i in range(n)])
    group, _ = groups_of([shops], n)
    order = np.argsort(keys)
    order = order[np.array([i % 5 > 0 for i in order])]
    vectors = np.random.default_rng(0).normal(size=(n, D))
    if not content:
        return Embeddings.of(keys[order], vectors[order], "item")
    return Embeddings.of(keys[order], vectors[order], "item", ("shop",), Pairs.of(group, keys))


def written(embeddings: Embeddings, folder: Path) -> dict[str, Path]:
    for name, data in embeddings.to_files().items():
        (folder / name).write_bytes(data)
    return {name: folder / name for name in embeddings.to_files()}


def vector(i: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(N, D))[i].astype(np.float16).astype(np.float32)


@pytest.fixture
def opened(tmp_path: Path) -> Embeddings:
    return Embeddings.open(written(made(), tmp_path))


def test_each_item_has_its_vector_and_the_others_their_groups(opened: Embeddings) -> None:
    items, shops = [f"i{i}" for i in range(N)], [f"s{i // 3}" for i in range(N)]
    vectors, known = opened.vectors_of([*items, None, "i99"], {"shop": [*shops, None, "s99"]})
    assert vectors.dtype == np.float32
    assert known.tolist() == [True] * N + [False, False]
    for i in range(N):
        mates = [j for j in range(i // 3 * 3, i // 3 * 3 + 3) if j % 5]
        expected = vector(i) if i % 5 else np.mean([vector(j) for j in mates], axis=0)
        np.testing.assert_allclose(vectors[i], expected, atol=2e-3 if i % 5 == 0 else 0)
    assert not vectors[N:].any()
    own, known = opened.vectors_of(items)
    assert known.tolist() == [i % 5 > 0 for i in range(N)] == opened.has(items).tolist()
    assert not own[::5].any()


@given(st.lists(st.sampled_from(["i0", "i1", "i5", "i7", "i99", "", None, 7, True]), max_size=6))
@settings(max_examples=40, deadline=None)
def test_one_item_is_as_many(items: list[object]) -> None:
    embeddings = made()
    shops = ["s0", None, "s2", "s99", "s1", "s1"][: len(items)]
    vectors, known = embeddings.vectors_of(items, {"shop": shops})
    for i, item in enumerate(items):
        one = embeddings.vector_of(item, {"shop": shops[i]})
        assert (one is not None) == known[i]
        assert one is None or one.tolist() == vectors[i].tolist()
        bare = embeddings.vector_of(item)
        assert (bare is not None) == embeddings.has([item])[0]


def test_an_item_is_the_same_in_every_type() -> None:
    keys, _ = keys_of([str(i) for i in range(9)])
    for column in (range(9), np.arange(9), pa.array(range(9)), pd.Series(range(9)), np.arange(9.0)):
        found, there = keys_of(list(column) if isinstance(column, range) else column)
        assert found.tolist() == keys.tolist()
        assert there.all()
    dictionary = pa.array(["a", None, "b", "a", ""]).dictionary_encode()
    found, there = keys_of(pa.chunked_array([dictionary, dictionary.slice(2, 1)]))
    assert there.tolist() == [True, False, True, True, False, True]
    assert found[0] == found[3] == keys_of(["a"])[0][0] != found[2]


def test_rows_of_a_frame(opened: Embeddings) -> None:
    frame = pd.DataFrame({"item": ["i1", "i0", "i0"], "shop": ["s9", "s0", None], "x": 1.0})
    vectors, known = opened.vectors_of_rows(frame)
    assert known.tolist() == [True, True, False]
    assert opened.columns == ("item", "shop")
    with pytest.raises(SchemaError, match="columns of the embeddings missing: item, shop"):
        opened.vectors_of_rows(frame[["x"]])
    assert made(content=False).vectors_of_rows(frame[["item"]])[1].tolist() == [True, False, False]
    assert vectors.shape == (3, D)


def test_nothing_is_read_of_ten_million_items(tmp_path: Path) -> None:
    """Files as large as theirs, of holes that the disk does not keep: whoever read them would take long to do it."""
    n, d = 10_000_000, 16
    paths = written(made(content=False), tmp_path)
    about = json.loads(paths[frozen.ABOUT].read_bytes())
    paths[frozen.ABOUT].write_text(json.dumps({**about, "items": n, "dimensions": d}))
    for name, kind, shape in (
        (frozen.KEYS, "<u8", (n,)),
        (frozen.VECTORS, "<f2", (n, d)),
        (frozen.MEANS, "<f2", (0, d)),
    ):
        with open(paths[name], "wb") as file:
            header = {"descr": kind, "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, header)
            file.truncate(file.tell() + int(np.prod(shape)) * np.dtype(kind).itemsize)
    embeddings = Embeddings.open(paths)
    assert (len(embeddings), embeddings.dimensions) == (n, d)
    for array in (embeddings.keys, embeddings.vectors):
        base = array
        while isinstance(base.base, np.ndarray):
            base = base.base
        assert isinstance(base.base, mmap.mmap)
        assert not array.flags.writeable


def test_equal_vectors_give_equal_bytes() -> None:
    assert made().to_files() == made().to_files()
    files = made().to_files()
    assert set(files) == set(frozen.FILES)


def test_items_can_be_taken_out(tmp_path: Path) -> None:
    gone = [f"i{i}" for i in (1, 2, 4, 31)] + ["i0", "nobody"]
    rest = made().without(keys_of(gone)[0])
    rest = Embeddings.open(written(rest, tmp_path))
    rest.check()
    assert len(rest) == len(made()) - 4
    assert not rest.has(gone).any()
    kept = [f"i{i}" for i in range(N) if i % 5 and f"i{i}" not in gone]
    np.testing.assert_array_equal(rest.vectors_of(kept)[0], made().vectors_of(kept)[0])
    assert rest.vector_of("new", {"shop": "s0"}) is None  # all that had a vector are gone
    np.testing.assert_array_equal(rest.vector_of("new", {"shop": "s1"}), vector(3))  # of 3, 4 and 5, which had none
    np.testing.assert_allclose(rest.vector_of("new", {"shop": "s10"}), vector(32), atol=2e-3)


def test_groups_of_many_items_are_summed_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    assert CHUNK > N
    whole = made()
    monkeypatch.setattr("gbdtlr.embeddings.content.CHUNK", 1)
    np.testing.assert_array_equal(made().groups.means, whole.groups.means)
    np.testing.assert_array_equal(made().groups.starts, whole.groups.starts)


def test_what_is_not_finite_or_not_sorted_is_found() -> None:
    embeddings = made()
    embeddings.check()
    for spoil in (np.nan, 1e9):
        vectors = embeddings.vectors.astype(np.float64)
        vectors[3, 2] = spoil
        bad = Embeddings.of(embeddings.keys, vectors, "item")
        assert not bad.is_finite
        with pytest.raises(DamagedError, match="not finite"):
            bad.check()
    with pytest.raises(DamagedError, match="do not rise"):
        Embeddings.of(embeddings.keys[::-1], embeddings.vectors, "item").check()


def test_a_newer_format_is_refused_by_name(tmp_path: Path) -> None:
    paths = written(made(), tmp_path)
    about = json.loads(paths[frozen.ABOUT].read_bytes())
    paths[frozen.ABOUT].write_text(json.dumps({**about, "format": 2}))
    with pytest.raises(FormatError, match=r"embeddings\.json has format 2, newer than the 1 this gbdtlr reads"):
        Embeddings.open(paths)
    paths[frozen.ABOUT].write_text(json.dumps({**about, "hash": "md5"}))
    with pytest.raises(FormatError, match="hashed by 'md5', which this gbdtlr does not know"):
        Embeddings.open(paths)


@pytest.mark.parametrize("name", [name for name in frozen.FILES if name != frozen.ABOUT])
@pytest.mark.parametrize("how", ["cut", "longer", "other", "empty", "gone"])
def test_other_files_are_refused(tmp_path: Path, name: str, how: str) -> None:
    paths = written(made(), tmp_path)
    data = paths[name].read_bytes()
    spoilt = {"cut": data[:-1], "longer": data + b"0", "other": b"PK" + data[2:], "empty": b""}
    if how == "gone":
        paths[name].unlink()
    else:
        paths[name].write_bytes(spoilt[how])
    with pytest.raises(DamagedError, match=f"{name} is damaged"):
        Embeddings.open(paths)
    del paths[name]
    with pytest.raises(DamagedError, match=f"have no {name}"):
        Embeddings.open(paths)


def test_no_item_is_not_the_item_whose_key_is_0() -> None:
    embeddings = Embeddings.of(np.array([0, 5], np.uint64), np.ones((2, 3)), "item")
    assert embeddings.vectors_of([None, ""])[1].tolist() == [False, False]
    assert embeddings.has([None]).tolist() == [False]
    assert embeddings.vector_of(None) is None
