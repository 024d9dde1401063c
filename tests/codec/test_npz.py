"""npz files: the bytes an archive of the standard library would have, whatever the threads, read back as they were."""

from __future__ import annotations

import io
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gbdtlr.codec import npz
from gbdtlr.codec.npz import from_npz, to_npz
from gbdtlr.compute import threads

KINDS = st.sampled_from(["f8", "f4", "u4", "u1", "i8", "?", "<U3"])
SHAPES = st.lists(st.integers(0, 4), min_size=1, max_size=3).map(tuple)
ARRAYS = st.dictionaries(st.text("abcé_0", min_size=1, max_size=6), st.tuples(KINDS, SHAPES), max_size=5)


def one_after_the_other(arrays: dict[str, np.ndarray], method: int) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in sorted(arrays):
            array = io.BytesIO()
            np.lib.format.write_array(array, arrays[name], allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), array.getvalue(), method, compresslevel=1)
    return buffer.getvalue()


@settings(deadline=None)
@given(kinds=ARRAYS, compress=st.booleans(), most=st.sampled_from([150, 2**30]), seed=st.integers(0, 99))
def test_bytes_are_those_of_an_archive(
    kinds: dict[str, tuple[str, tuple[int, ...]]], compress: bool, most: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    arrays = {name: rng.integers(0, 9, shape).astype(kind) for name, (kind, shape) in kinds.items()}
    expected = one_after_the_other(arrays, zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(npz, "MOST_AT_ONCE", most)
        for n in (1, 3):
            with threads.limited(n):
                data = to_npz(arrays, compress=compress)
            assert data == expected
    found = from_npz(data)
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)
