"""CSV: files of every shape, read or told what is wrong with them and in which line."""

from __future__ import annotations

import csv
import gzip
import io
import re

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from samples_kit import DAY, FOREVER, config, rows, write

import gbdtlr.samples.formats.csv
import gbdtlr.samples.formats.texts
from gbdtlr.errors import NoSamplesError, SamplesError, SchemaError
from gbdtlr.samples import Samples, Tally, read
from gbdtlr.samples.formats.csv_records import csv_header, csv_records
from gbdtlr.samples.formats.file import File
from gbdtlr.samples.tables import read_tables
from gbdtlr.values.categories import texts
from gbdtlr.values.numbers import read_numbers

HEADER = ["at", "known_at", "label", "price", "count", "shop", "user"]
NAMES = ",".join(HEADER)
ROW = ["2024-03-01", "2024-03-02", "1", "1.5", "2", "s", "u"]
HERE = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(gbdtlr.samples.formats.csv, "_BLOCK", 300)


def row(**values):
    return [str(values.get(name, value)) for name, value in zip(HEADER, ROW, strict=True)]


def text_of(*records, end="\n", quoting=csv.QUOTE_MINIMAL):
    out = io.StringIO()
    csv.writer(out, lineterminator=end, quoting=quoting).writerows([HEADER, *records])
    return out.getvalue()


def samples_of(folder, text, name="x.csv", **changes) -> Samples:
    data = text if isinstance(text, bytes) else text.encode()
    (folder / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return read(config(folder / name, **changes), DAY, FOREVER, FOREVER)


def message(kind, folder, text, **changes) -> str:
    with pytest.raises(kind) as caught:
        samples_of(folder, text, **changes)
    found = str(caught.value)
    assert "\n" not in found
    assert found.startswith(f"{folder}/x.csv: "), found
    return found.removeprefix(f"{folder}/x.csv: ")


numbers = st.sampled_from(
    ["1", "-2.5", " 3 ", "1e3", "", "NA", "null", "True", "false", "TRUE", "inf", ".5", "+7", "1e400", "NaN"]
)


@HERE
@given(values=st.lists(numbers, min_size=1, max_size=60))
@example(["1"] * 50 + ["True"])
@example(["True"] * 50 + ["1"])
def test_numbers_and_truth_words_are_numbers_wherever_they_stand(tmp_path, values):
    samples = samples_of(tmp_path, text_of(*(row(price=v, count=i) for i, v in enumerate(values))))
    expected, wrong = read_numbers(pa.array(values))
    assert not wrong.any()
    found = samples.table["price"].cast(pa.float64()).to_pylist()
    assert [str(v) for v in found] == [str(None if v != v else v) for v in expected.tolist()]
    assert samples.table["count"].to_pylist() == list(range(len(values)))


@pytest.mark.parametrize("big", [2**53 + 1, 2**63 - 1, 2**64 - 1, -(2**63)])
@pytest.mark.parametrize("other", ["5", "", "True", "7.0", " 8 ", "NA"])
def test_a_number_that_is_an_id_too_is_exact(tmp_path, big, other):
    columns = {"numeric": ("user",), "categorical": (), "wide": ("user",)}
    if other == "7.0":  # these are floats to whoever wrote them
        big = 2**52 + 1
    if other == "True":
        with pytest.raises(SchemaError) if abs(big) > 2**53 else pytest.MonkeyPatch.context():
            samples_of(tmp_path, text_of(row(user=big), row(user=other)), **columns)
        return
    samples = samples_of(tmp_path, text_of(row(user=big), row(user=other)), **columns)
    last = {"": None, "NA": None, "7.0": "7", " 8 ": "8"}.get(other, other)
    assert texts(samples.table["user"]).to_pylist() == [str(big), last]


def test_truth_values_that_are_ids_too_are_what_they_are_in_other_files(tmp_path):
    columns = {"numeric": ("user",), "categorical": (), "wide": ("user",)}
    samples = samples_of(tmp_path, text_of(row(user="True"), row(user="FALSE"), row(user="")), **columns)
    assert texts(samples.table["user"]).to_pylist() == ["true", "false", None]


@pytest.mark.parametrize(
    "text",
    ["", "\n", "\r\n\n", "\ufeff", "\ufeff\n", NAMES, NAMES + "\n", f"\ufeff{NAMES}\n", f"\n{NAMES}\n\n", "a,b\n", "a"],
)
@pytest.mark.parametrize("name", ["x.csv", "x.csv.gz"])
def test_a_file_without_rows_is_no_fault(tmp_path, text, name):
    with pytest.raises(NoSamplesError, match="1 files with no rows at all"):
        samples_of(tmp_path, text, name)
    write(rows(), tmp_path / "y.parquet")
    assert len(read(config(tmp_path), DAY, FOREVER, FOREVER)) == 8
    (table,) = read_tables(str(tmp_path / name))
    assert len(table) == 0


def test_a_byte_order_mark_is_no_part_of_a_name(tmp_path):
    assert len(samples_of(tmp_path, "\ufeff" + text_of(ROW))) == 1
    assert csv_header(File(str(tmp_path / "x.csv"))) == HEADER


@pytest.mark.parametrize(("delimiter", "word"), [(";", "semicolons"), ("\t", "tabs"), ("|", "bars")])
@pytest.mark.parametrize("quote", ["", '"'])
def test_another_delimiter_is_named(tmp_path, delimiter, word, quote):
    lines = [delimiter.join(f"{quote}{field}{quote}" for field in record) for record in (HEADER, ROW)]
    words = message(SchemaError, tmp_path, "\n".join([*lines, ""]))
    assert words == f"the columns are separated by {word} ({delimiter!r}), expected commas; write it again"


def test_a_name_with_a_blank_in_front_is_another_name(tmp_path):
    text = text_of(ROW).replace("count,", " count,")
    words = message(SchemaError, tmp_path, text)
    assert words.startswith("count is missing (there is  count), expected a number")


@pytest.mark.parametrize("before", [[], ["", " x\ny "], ['a "quoted"\n\nvalue', "", ""], ["\r\n"]])
@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ("1,2,3", "has 3 columns, expected 7 as in the header; mend or remove it"),
        (",".join([*ROW, ""]), "has 8 columns, expected 7 as in the header; mend or remove it"),
        ("x", "has 1 column, expected 7 as in the header; mend or remove it"),
    ],
)
@pytest.mark.parametrize("n_after", [1, 40])
def test_rows_of_another_length_are_told_by_their_line(tmp_path, before, bad, words, n_after):
    head = text_of(*(row(shop=shop) for shop in before))
    if before:
        head += "\n\n"
    text = head + bad + "\n" + text_of(*[ROW] * n_after).partition("\n")[2]
    line = len(re.findall("\r\n|\r|\n", head)) + 1
    assert message(SamplesError, tmp_path, text) == f"line {line} {words}"


@pytest.mark.parametrize("at", [0, 1, 30])
def test_values_that_are_no_numbers_are_told_by_line_and_counted(tmp_path, at):
    records = [row(shop="two\nlines", price=i) for i in range(31)]
    records[at][3] = "cheap"
    records[-1][4] = "0x1"
    words = message(SchemaError, tmp_path, text_of(*records))
    assert words == (
        f"price has 1 values such as 'cheap' (line {2 * at + 2}), expected a number; "
        "count has 1 values such as '0x1' (line 62), expected a number; mend the file, or the config"
    )


@pytest.mark.parametrize("column", ["shop", "user", "at", "label"])
@pytest.mark.parametrize("at", [0, 40])
def test_texts_that_are_not_utf8_are_told_by_line_and_column(tmp_path, column, at):
    records = [row(shop="a\nb") for _ in range(41)]
    records[at][HEADER.index(column)] = "caf\udce9"
    data = text_of(*records).encode("utf-8", "surrogateescape")
    words = message(SamplesError, tmp_path, data)
    assert words == rf"line {2 * at + 2}, column {column}: b'caf\xe9' is not UTF-8; mend or remove it"


def test_columns_that_nobody_needs_may_hold_bytes_that_are_no_text(tmp_path):
    data = "".join(f"{line},{more}\n" for line, more in zip(text_of(ROW).split(), ("other", "café"), strict=True))
    assert len(samples_of(tmp_path, data.encode("latin-1"))) == 1
    data = data.replace("other", "öther").encode("latin-1")
    with pytest.raises(SamplesError, match=r"x\.csv: the column b'\\xf6ther' has a name that is not UTF-8; mend it"):
        samples_of(tmp_path, data)


@pytest.mark.parametrize("n_before", [0, 1, 30])
def test_a_quote_that_is_never_closed_is_told_and_swallows_no_rows(tmp_path, n_before):
    text = text_of(*[row(user='say "hi"')] * n_before) + ",".join([*ROW[:-1], '"u']) + "\n"
    text += text_of(*[ROW] * 5).partition("\n")[2]
    words = message(SamplesError, tmp_path, text)
    assert words == f"line {n_before + 2} begins a row with a quote that is never closed; close or double it"


def test_quotes_within_a_value_are_no_quotes(tmp_path):
    text = ",".join(HEADER) + "\n" + ",".join([*ROW[:-2], '5" pipe', "u"]) + "\n"
    assert samples_of(tmp_path, text).table["shop"].to_pylist() == ['5" pipe']


def torn(records, end="\n"):
    return text_of(*records, end=end).encode()


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("last", [row(user="12345"), row(shop="café", user='"x"'), row(shop="a,b", price="50579.0")])
def test_a_last_line_that_is_cut_anywhere_is_left_for_the_next_time(tmp_path, last, end):
    whole, more = torn([ROW, ROW], end), torn([ROW, ROW, last], end)
    for cut in range(len(whole), len(more) + 1):
        samples = samples_of(tmp_path, more[:cut])
        assert len(samples) == (3 if more[:cut].endswith((b"\n", b"\r")) and cut > len(whole) else 2)
        if len(samples) == 3:
            assert samples.table["price"][2].as_py() == float(last[3])


def test_a_header_that_is_cut_is_no_header_yet(tmp_path):
    text = ",".join(HEADER)
    for cut in range(len(text) + 1):
        with pytest.raises(NoSamplesError, match="1 files with no rows at all"):
            samples_of(tmp_path, text[:cut])
    with pytest.raises(NoSamplesError, match="in 1 of them the last line has no end, and is left alone"):
        samples_of(tmp_path, text)


def test_files_whose_last_line_was_left_alone_are_counted(tmp_path):
    for i, end in enumerate(["", "\n", "x", "\r\n"]):
        (tmp_path / f"{i}.csv").write_bytes((text_of(ROW, ROW)[:-1] + end).encode())
    tally = Tally()
    assert len(read(config(tmp_path), DAY, FOREVER, FOREVER, tally=tally)) == 6
    assert tally.remarks() == {"unfinished": 2}
    assert Tally().remarks() == {}


def test_what_is_whole_may_end_without_an_end_of_its_last_line(tmp_path):
    """Compressed files and objects in buckets are there as a whole; so is, to whoever scores it, any file."""
    text = text_of(ROW, row(user="v")).rstrip("\n")
    assert len(samples_of(tmp_path, text, "x.csv.gz")) == 2
    (tmp_path / "x.csv").write_text(text)
    assert [len(table) for table in read_tables(str(tmp_path / "x.csv"))] == [2]
    (tmp_path / "x.csv").write_text(text[:-2])
    with pytest.raises(SamplesError, match=r"line 3 has 6 columns, expected 7 as in the header, the last one; if the"):
        list(read_tables(str(tmp_path / "x.csv")))


def test_rows_may_be_longer_than_a_block(tmp_path):
    long = "x" * 5000
    samples = samples_of(tmp_path, text_of(*[ROW] * 20, row(shop=long), row(shop=long + "\n" + long), *[ROW] * 20))
    assert [len(t) for t in samples.table["shop"].to_pylist()] == [1] * 20 + [5000, 10001] + [1] * 20


def test_rows_without_end_are_refused(tmp_path, monkeypatch):
    for module in (gbdtlr.samples.formats.csv, gbdtlr.samples.formats.csv_faults):
        monkeypatch.setattr(module, "LONGEST", 3000)
    words = message(SamplesError, tmp_path, text_of(ROW, row(shop="x\ny" * 4000), ROW))
    assert words == "line 3 is longer than 64 MB; mend the file"


def test_what_is_no_csv_is_said_to_be(tmp_path):
    for data, words in (
        (text_of(ROW).encode("utf-16"), "is UTF-16 text, expected UTF-8"),
        (gzip.compress(text_of(ROW).encode()), r"is compressed; give it a name that ends in \.gz"),
        (b"PAR1", "is a parquet file"),
    ):
        with pytest.raises(SamplesError, match=words):
            samples_of(tmp_path, data + b"\n")


fields = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)


@HERE
@given(values=st.lists(fields, min_size=1, max_size=40), end=st.sampled_from(["\n", "\r\n"]))
def test_texts_are_read_as_python_reads_them(tmp_path, values, end):
    text = text_of(*(row(shop=v, user="u") for v in values), end=end, quoting=csv.QUOTE_ALL)
    samples = samples_of(tmp_path, text)
    expected = [record[5] or None for record in csv.reader(io.StringIO(text, newline=""))][1:]
    assert samples.table["shop"].to_pylist() == expected
    lines = [line for line, _ in csv_records(File(str(tmp_path / "x.csv")))]
    assert lines[0] == 1
    assert len(lines) == len(values) + 1
