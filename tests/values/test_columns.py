"""Columns of any library mean what their values mean one by one."""

from __future__ import annotations

import array as arrays
import decimal
import math
import sys
from collections import UserList, deque
from collections.abc import Callable, Iterator
from decimal import Decimal as D
from enum import Enum
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gbdtlr.errors import SchemaError
from gbdtlr.values import scalars
from gbdtlr.values.categories import text_dictionary, texts, whole_array, written
from gbdtlr.values.numbers import numbers, read_numbers
from gbdtlr.values.truth import truths

NO = "<refused>"
NAN = math.nan


class Kind(Enum):
    A = "a"
    SEVEN = 7


class Wrapper:
    """A column that another library has, of which nothing but Arrow's protocol is known."""

    def __init__(self, column: pa.Array) -> None:
        self._column = column

    def __len__(self) -> int:
        return len(self._column)


class ArrayLike(Wrapper):
    def __arrow_c_array__(self, requested_schema: Any = None) -> Any:
        return self._column.__arrow_c_array__(requested_schema)


class StreamLike(Wrapper):
    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        return pa.chunked_array([self._column]).__arrow_c_stream__(requested_schema)


class Tensor:
    """What torch and JAX have."""

    def __init__(self, values: Any) -> None:
        self._values = np.asarray(values)
        self.ndim, self.shape, self.dtype = self._values.ndim, self._values.shape, "float32 of another library"

    def __len__(self) -> int:
        return len(self._values)

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return self._values


def masked(values: Any, mask: Any, **options: Any) -> Any:
    return np.ma.masked_array(np.array(values, **options), mask)


COLUMNS: dict[str, tuple[Callable[[], Any], list[Any], list[Any]]] = {
    # name: column, numbers, texts
    "masked integers": (lambda: masked([1, 2, 3], [0, 1, 0]), [1, NAN, 3], ["1", None, "3"]),
    "masked floats": (lambda: masked([1.0, 0.5, np.nan], [0, 1, 0]), [1, NAN, NAN], ["1", None, None]),
    "masked truths": (lambda: masked([True, False], [0, 1]), [1, NAN], ["true", None]),
    "masked texts": (lambda: masked(["a", "b"], [0, 1]), [NO, NAN], ["a", None]),
    "masked objects": (lambda: masked(["a", 7, b"?"], [0, 0, 1], dtype=object), [NO, 7, NAN], ["a", "7", None]),
    "masked everywhere": (lambda: masked([1, 2], True), [NAN, NAN], [None, None]),
    "masked nowhere": (lambda: masked([1, 2], False), [1, 2], ["1", "2"]),
    "masked, bytes turned": (lambda: masked([1, 2], [0, 1], dtype=">i4"), [1, NAN], ["1", None]),
    "masked, a fraction under the mask": (lambda: masked([1.0, 0.5], [0, 1]), [1, NAN], ["1", None]),
    "bytes turned": (lambda: np.array([1, 2**53 + 1], ">i8"), [1, 2**53], ["1", str(2**53 + 1)]),
    "bytes turned, floats": (lambda: np.array([1.0, np.nan], ">f4"), [1, NAN], ["1", None]),
    "strides": (lambda: np.arange(6)[::-2], [5, 3, 1], ["5", "3", "1"]),
    "read-only": (lambda: np.broadcast_to(np.array([7.0]), (2,)), [7, 7], ["7", "7"]),
    "half": (lambda: np.array([1, np.nan], np.float16), [1, NAN], ["1", None]),
    "long double": (lambda: np.array([3, np.nan], np.longdouble), [3, NAN], ["3", None]),
    "unicode": (lambda: np.array(["a", "TRUE", ""]), [NO, NO, NO], ["a", "true", None]),
    "objects": (
        lambda: np.array([1, "a", None, True, D("7.00"), Kind.A], object),
        [1, NO, NAN, 1, 7, NO],
        ["1", "a", None, "true", "7", "a"],
    ),
    "objects, ids beside NaN": (lambda: np.array([2**53 + 1, np.nan], object), [2**53, NAN], [str(2**53 + 1), None]),
    "objects, long ids": (
        lambda: np.array([2**63, -1, 2**70], object),
        [2.0**63, -1, 2.0**70],
        [str(2**63), "-1", str(2**70)],
    ),
    "objects, no value": (lambda: np.array([None, np.nan, pd.NaT], object), [NAN] * 3, [None] * 3),
    "recarray": (lambda: np.rec.fromarrays([[1, 2], ["a", "b"]], names="x,y").x, [1, 2], ["1", "2"]),
    "no time": (lambda: np.array(["NaT", "NaT"], "M8[ns]"), [NAN, NAN], [None, None]),
    "list": (lambda: [1, None, 2.0, True, np.int8(3)], [1, NAN, 2, 1, 3], ["1", None, "2", "true", "3"]),
    "tuple": (lambda: ("a", None), [NO, NAN], ["a", None]),
    "list of enumerations": (lambda: [Kind.A, Kind.SEVEN], [NO, 7], ["a", "7"]),
    "list of masked": (lambda: [np.ma.masked, 1], [NAN, 1], [None, "1"]),
    "list of scalars": (lambda: [np.array(1), pa.scalar(2)], [1, 2], ["1", "2"]),
    "empty list": (list, [], []),
    "range": (lambda: range(2), [0, 1], ["0", "1"]),
    "array": (lambda: arrays.array("d", [1, 2]), [1, 2], ["1", "2"]),
    "deque": (lambda: deque([1, "a"]), [1, NO], ["1", "a"]),
    "list of users": (lambda: UserList([1, "a"]), [1, NO], ["1", "a"]),
    "tensor": (lambda: Tensor([1.0, np.nan]), [1, NAN], ["1", None]),
    "arrow array": (lambda: ArrayLike(pa.array(["a", None])), [NO, NAN], ["a", None]),
    "arrow stream": (lambda: StreamLike(pa.array([1, None])), [1, NAN], ["1", None]),
    "pandas Int64": (lambda: pd.array([2**53 + 1, None], "Int64"), [2**53, NAN], [str(2**53 + 1), None]),
    "pandas UInt64": (lambda: pd.Series([2**64 - 1, None], dtype="UInt64"), [2.0**64, NAN], [str(2**64 - 1), None]),
    "pandas Float64": (lambda: pd.Series([7.0, None], dtype="Float64"), [7, NAN], ["7", None]),
    "pandas boolean": (lambda: pd.Series([True, None], dtype="boolean"), [1, NAN], ["true", None]),
    "pandas string": (lambda: pd.Series(["a", None], dtype="string[python]"), [NO, NAN], ["a", None]),
    "pandas string of arrow": (lambda: pd.Series(["a", None], dtype="string[pyarrow]"), [NO, NAN], ["a", None]),
    "pandas objects": (
        lambda: pd.Series(["a", np.nan, pd.NA, 7.0], dtype=object),
        [NO, NAN, NAN, 7],
        ["a", None, None, "7"],
    ),
    "pandas gaps": (lambda: pd.Series([7, None]), [7, NAN], ["7", None]),
    "pandas index": (lambda: pd.Index([7, 8]), [7, 8], ["7", "8"]),
    "pandas sparse": (lambda: pd.Series(pd.arrays.SparseArray([1, 0, 2])), [1, 0, 2], ["1", "0", "2"]),
    "pandas sparse floats": (lambda: pd.arrays.SparseArray([1.0, np.nan]), [1, NAN], ["1", None]),
    "pandas categories": (
        lambda: pd.Series(["a", None, "TRUE"]).astype("category"),
        [NO, NAN, NO],
        ["a", None, "true"],
    ),
    "pandas ordered": (lambda: pd.Categorical(["a", "b"], ordered=True), [NO, NO], ["a", "b"]),
    "pandas categories of integers": (lambda: pd.Categorical([7, None, 8]), [7, NAN, 8], ["7", None, "8"]),
    "pandas categories of floats": (lambda: pd.Series([7.0, np.nan]).astype("category"), [7, NAN], ["7", None]),
    "pandas categories of truths": (lambda: pd.Series([True, None]).astype("category"), [1, NAN], ["true", None]),
    "pandas mixed categories": (lambda: pd.Categorical([1, "a", None]), [1, NO, NAN], ["1", "a", None]),
    "pandas categories unused": (lambda: pd.Categorical([7.0], categories=[7.0, 0.5]), [7], ["7"]),
    "pandas of arrow": (lambda: pd.Series([1, None], dtype=pd.ArrowDtype(pa.decimal128(5, 2))), [1, NAN], ["1", None]),
    "pandas intervals": (lambda: pd.Series(pd.cut([1, 2], 2)), [NO, NO], [NO, NO]),
    "pandas periods": (lambda: pd.Series(pd.period_range("2024", periods=2, freq="M")), [NO, NO], [NO, NO]),
    "pandas times with a zone": (lambda: pd.Series(pd.date_range("2024", periods=1, tz="UTC")), [NO], [NO]),
    "polars": (lambda: pl.Series([1, None]), [1, NAN], ["1", None]),
    "polars categories": (
        lambda: pl.Series(["a", None, "True"], dtype=pl.Categorical),
        [NO, NAN, NO],
        ["a", None, "true"],
    ),
    "polars enumeration": (lambda: pl.Series(["a"], dtype=pl.Enum(["a", "b"])), [NO], ["a"]),
    "polars decimals": (lambda: pl.Series([D("7.00"), None]), [7, NAN], ["7", None]),
    "polars 128 bits": (lambda: pl.Series([2**100, None], dtype=pl.Int128), [2.0**100, NAN], [str(2**100), None]),
    "polars objects": (lambda: pl.Series([D(3), "x", None], dtype=pl.Object), [3, NO, NAN], ["3", "x", None]),
    "polars nulls": (lambda: pl.Series([None, None]), [NAN, NAN], [None, None]),
    "polars lists": (lambda: pl.Series([[1]]), [NO], [NO]),
    "bytes": (lambda: np.array([b"a"]), [NO], [NO]),
    "times": (lambda: np.array(["2024-01-01", "NaT"], "M8[us]"), [NO, NAN], [NO, None]),
    "durations": (lambda: np.array([1], "m8[s]"), [NO], [NO]),
    "complex": (lambda: np.array([1j]), [NO], [NO]),
    "structures": (lambda: np.array([(1, 2)], "i4,i4"), [NO], [NO]),
    "lists": (lambda: [[1], None], [NO, NAN], [NO, None]),
}


@pytest.mark.parametrize("name", COLUMNS)
@pytest.mark.parametrize("role", ["number", "text"])
def test_a_column_means(name: str, role: str) -> None:
    make, *expected = COLUMNS[name]
    meaning = expected[role == "text"]
    read: Callable[[Any], Any] = numbers if role == "number" else texts
    if NO in meaning:
        with pytest.raises(SchemaError, match="holds "):
            read(make())
        return
    found = read(make())
    if role == "number":
        assert found.dtype == np.float64
        np.testing.assert_array_equal(found, np.array(meaning, np.float64))
    else:
        assert found.type == pa.string()
        assert found.to_pylist() == meaning


@pytest.mark.parametrize(
    ("column", "reason"),
    [
        (np.zeros((2, 2)), "has 2 dimensions"),
        (np.array(1.0), "has 0 dimensions"),
        (pd.DataFrame({"x": [1]}), "has 2 dimensions"),
        (masked([[1]], False), "has 2 dimensions"),
        (7, "is int; an array or a list expected"),
        ("text", "is str; an array"),
        (b"text", "is bytes; an array"),
        ({"a": 1}, "is dict; an array"),
        ({1, 2}, "is set; an array"),
        (None, "is NoneType; an array"),
        (iter([1]), "is list_iterator; an array"),
        ((i for i in "ab"), "is generator; an array"),
    ],
    ids=range(12),
)
def test_what_is_no_column_is_refused_in_words(column: Any, reason: str) -> None:
    for read in (numbers, texts, written, truths):
        with pytest.raises(SchemaError, match=reason):
            read(column)


@pytest.mark.filterwarnings("ignore:the matrix subclass:PendingDeprecationWarning")
def test_a_matrix_is_no_column() -> None:
    with pytest.raises(SchemaError, match="has 2 dimensions"):
        numbers(np.matrix([[1, 2]]))


def test_a_float_that_may_have_been_another_id_is_refused_whatever_holds_it() -> None:
    rounded = pd.Series([2**53 + 1, None])  # float64, as pandas has whole numbers with a gap
    for column in (
        rounded,
        rounded.to_numpy(),
        rounded.tolist(),
        rounded.astype(str),
        pa.array(rounded),
        pl.Series(rounded),
    ):
        with pytest.raises(SchemaError, match="too large for a float to tell whole numbers apart"):
            texts(column)
    assert numbers(rounded)[0] == 2.0**53


def test_texts_that_are_no_utf_8_are_refused() -> None:
    broken = pa.StringArray.from_buffers(2, pa.py_buffer(np.array([0, 1, 3], np.int32)), pa.py_buffer(b"a\xff\xfe"))
    for column in (broken, pa.chunked_array([broken]), broken.dictionary_encode(), ["a", "\udcff"]):
        with pytest.raises(SchemaError, match="UTF-8"):
            texts(column)
    assert texts(broken.slice(0, 1)).to_pylist() == ["a"]
    assert truths(broken).wrong.tolist() == [True, True]


near_floats = st.from_regex(r"-?[0-9]{1,3}(\.[0-9]{0,3})?([eE][+-]?[0-9]{1,3})?", fullmatch=True)
words = st.sampled_from(
    ["true", "True", "TRUE", "false", "fAlSe", "", "e", "1.0", "10.0", "1e+05", "7.00", "-0.0", "trué"]
)
any_text = st.text(st.characters(codec="utf-8"), max_size=8) | near_floats | words


@given(st.lists(st.none() | any_text, max_size=12), st.integers(0, 3), st.booleans())
def test_texts_are_spelled_in_arrays_as_they_are_one_by_one(
    values: list[str | None], skip: int, dictionary: bool
) -> None:
    array = pa.array([*["1.0"] * skip, *values], pa.string()).slice(skip)
    column = array.dictionary_encode() if dictionary else array
    try:
        expected = [scalars.text(value) for value in values]
    except SchemaError:
        with pytest.raises(SchemaError):
            texts(column)
        return
    assert texts(column).to_pylist() == expected
    assert written(column).to_pylist() == values
    encoded = text_dictionary(column)
    assert encoded.to_pylist() == expected
    assert encoded.type == pa.dictionary(pa.int32(), pa.string())
    assert encoded.dictionary.null_count == 0


@given(st.data())
def test_decimals_are_the_floats_nearest_to_their_texts(data: st.DataObject) -> None:
    bits = data.draw(st.sampled_from([128, 256]))
    precision = data.draw(st.integers(1, 38 if bits == 128 else 76))
    scale = data.draw(st.integers(-5, precision))
    unscaled = data.draw(st.lists(st.none() | st.integers(-(10**precision) + 1, 10**precision - 1), max_size=5))
    with exactly():
        values = [None if value is None else D(value).scaleb(-scale) for value in unscaled]
        column = pa.array(values, (pa.decimal128 if bits == 128 else pa.decimal256)(precision, scale))
    np.testing.assert_array_equal(numbers(column), [NAN if value is None else float(value) for value in values])
    if all(value is None or value == value.to_integral_value() for value in values):
        assert texts(column).to_pylist() == [None if value is None else str(int(value)) for value in values]


def exactly() -> Any:
    return decimal.localcontext(decimal.Context(prec=100))


@given(st.lists(st.none() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.booleans()))
def test_numbers_of_a_list_are_those_of_its_values(values: list[Any]) -> None:
    np.testing.assert_array_equal(numbers(values), np.array([scalars.number(value) for value in values], np.float64))


@given(st.floats(), st.sampled_from(["{}", " {} ", "+{}", "{:e}", "{:.20g}"]))
def test_numbers_of_a_text_file_are_the_nearest_floats(value: float, form: str) -> None:
    text = form.format(value).replace("+-", "-").replace("+nan", "nan")
    found, wrong = read_numbers(pa.array([text]))
    np.testing.assert_array_equal(found, [float(text)])
    assert not wrong.any()


@pytest.mark.parametrize(
    ("text", "number"),
    [
        *((text, 1000.0) for text in ("1e3", "1E3", "1000", " 1000\t", "1000.", "+1000", "1e+03")),
        *((text, 1.0) for text in ("true", "True", "TRUE", "1")),
        *((text, 0.0) for text in ("false", "False", "0", "-0", ".0")),
        *((text, math.inf) for text in ("inf", "Infinity", "INF", "1e400")),
        *((text, NAN) for text in ("", " ", "NA", "nan", "NaN", "null", "NULL", "N/A", None)),
        *(
            (text, NO)
            for text in (
                "0x10",
                "1_000",
                "1,000",
                "1 000",
                "1d3",
                "٣",
                "yes",
                "t",
                "--1",
                "e3",
                ".",
                "1e",
                "0b1",
                "None",
            )
        ),
    ],
    ids=repr,
)
def test_what_stands_for_a_number_in_a_text_file(text: str | None, number: Any) -> None:
    for others in ([], ["1"], ["x", "True"]):
        found, wrong = read_numbers(pa.array([text, *others], pa.string()))
        assert wrong[0] == (number is NO)
        np.testing.assert_array_equal(found[0], NAN if number is NO else number)


def test_outcomes_of_any_column() -> None:
    columns: Iterator[Any] = iter(
        (
            pa.array([1, 0, None, 2]),
            pa.array([1.0, -0.0, None, 0.5]),
            pa.array(["TRUE", "0", " ", "yes"]),
            pa.array(["TRUE", "0", " ", "yes"]).dictionary_encode(),
            pa.chunked_array([["1.0", "false"], [None, "t"]]),
            pa.array([D("1.00"), D("0.00"), None, D("0.01")]),
            pd.Series([True, False, None, "no"], dtype=object),
            masked([1, 0, 1, 2], [0, 0, 1, 0]),
            [True, 0.0, None, [1]],
        )
    )
    for column in columns:
        found = truths(column)
        assert found.true.tolist() == [True, False, False, False]
        assert found.missing.tolist() == [False, False, True, False]
        assert found.wrong.tolist() == [False, False, False, True]
    assert truths(pa.array([[1], None])).wrong.tolist() == [True, False]


def test_whole_numbers_that_are_ids_too_stay_exact() -> None:
    assert whole_array([1, None, 2.0, D(3)]).type == pa.int64()
    long = whole_array(pa.array([2**64 - 1, 1], pa.uint64()))
    assert (long.type, long.to_pylist()) == (pa.decimal128(38, 0), [2**64 - 1, 1])
    for column, reason in (
        (["a"], "numbers expected"),
        ([0.5], "no whole number"),
        ([True, 1], "truth values among"),
        ([10**40], "38 digits"),
    ):
        with pytest.raises(SchemaError, match=reason):
            whole_array(column)


plain_values = st.one_of(
    st.lists(st.none() | st.sampled_from([NAN, pd.NA, pd.NaT]) | any_text),
    st.lists(st.none() | st.sampled_from([NAN, pd.NA]) | st.integers(-(2**64), 2**64)),
    st.lists(st.none() | st.sampled_from([NAN, pd.NaT]) | st.booleans()),
    st.lists(st.none() | st.sampled_from([pd.NA]) | st.integers(-(2**53), 2**53).map(float)),
)


@given(plain_values)
def test_values_mean_the_same_whether_or_not_pandas_is_there(values: list[Any]) -> None:
    def meaning() -> Any:
        try:
            return texts(values).to_pylist()
        except SchemaError as error:
            return str(error)

    with_pandas = meaning()
    with pytest.MonkeyPatch.context() as patch:
        patch.delitem(sys.modules, "pandas")
        assert meaning() == with_pandas
    if isinstance(with_pandas, list):
        assert with_pandas == [scalars.text(value) for value in values]
