"""Which files paths, folders and globs name."""

from __future__ import annotations

import glob
import os
import re
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gbdtlr.errors import ConfigError, NoSamplesError, SamplesError
from gbdtlr.samples.finding import find_files
from gbdtlr.samples.formats.file import File, same_file
from gbdtlr.samples.partition import Partition
from gbdtlr.times import from_us, to_us
from gbdtlr.values.times import times

TREE = [
    "2024/01/a.parquet",
    "2024/01/b.csv.gz",
    "2024/02/a.parquet",
    "2024/_temporary/a.parquet",
    "2024/01/.a.parquet.crc",
    "2024/02/_b.parquet",
    "2024/01/.hidden/a.parquet",
    "2025/x.jsonl",
    "2025/README.md",
    "2025/SUCCESS",
    "2025/y.csv.tmp",
    "z.ndjson.zst",
]


@pytest.fixture
def tree(tmp_path, monkeypatch):
    for name in TREE:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def found(*paths: str) -> list[str]:
    return [file.path for file in find_files(paths)]


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (["2024"], ["2024/01/a.parquet", "2024/01/b.csv.gz", "2024/02/a.parquet"]),
        (["2024/"], ["2024/01/a.parquet", "2024/01/b.csv.gz", "2024/02/a.parquet"]),
        (["2024/*"], ["2024/01/a.parquet", "2024/01/b.csv.gz", "2024/02/a.parquet"]),
        (["2024/*/a.parquet"], ["2024/01/a.parquet", "2024/02/a.parquet"]),
        (["**/a.parquet"], ["2024/01/a.parquet", "2024/02/a.parquet"]),
        (["2024/**/*.gz"], ["2024/01/b.csv.gz"]),
        (["202[56]"], ["2025/x.jsonl"]),
        (["*.zst", "2025/x.jsonl", "2025"], ["2025/x.jsonl", "z.ndjson.zst"]),
        (["./2025/x.jsonl"], ["2025/x.jsonl"]),
        (["2024/02/_b.parquet"], ["2024/02/_b.parquet"]),
        (["2024/_temporary"], ["2024/_temporary/a.parquet"]),
    ],
)
@pytest.mark.usefixtures("tree")
def test_paths_folders_and_globs(paths, expected):
    assert found(*paths) == expected


@pytest.mark.usefixtures("tree")
def test_the_whole_folder_is_every_file_that_is_not_in_progress():
    assert len(found(".")) == 5
    assert found(os.getcwd()) == [os.path.join(os.getcwd(), name) for name in sorted(found("**"))]


pieces = st.sampled_from(["2024", "2025", "0?", "*", "**", "[ab]*", "x.jsonl", "*.parquet"])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(parts=st.lists(pieces, min_size=1, max_size=4))
@pytest.mark.usefixtures("tree")
def test_globs_match_what_pythons_do(parts):
    """Python's glob gives files and folders; we search the folders, and leave what is in progress."""
    pattern = "/".join(parts)
    expected = set()
    for match in glob.glob(pattern, recursive=True):
        if os.path.isfile(match):
            expected.add(match)
        else:
            expected.update(os.path.join(at, name) for at, _, names in os.walk(match) for name in names)
    hidden = re.compile(r"(^|/)[._]")
    expected = {os.path.normpath(name) for name in expected}
    expected = {name for name in expected if not hidden.search(name) and File(name).format}
    try:
        assert set(found(pattern)) == expected
    except NoSamplesError:
        assert not expected


@pytest.fixture
def linked(tmp_path, monkeypatch):
    """Two folders of two files and one file linked into both, by every kind of link."""
    for name in ("data/1/a.csv", "data/2/b.csv", "data/2/c.jsonl", "other/d.csv"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    os.symlink("1", tmp_path / "data" / "latest")
    os.symlink("a.csv", tmp_path / "data" / "1" / "current.csv")
    os.symlink(tmp_path / "other", tmp_path / "data" / "2" / "other")
    os.link(tmp_path / "data" / "2" / "b.csv", tmp_path / "data" / "1" / "twin.csv")
    os.symlink(tmp_path / "data", tmp_path / "logs")
    monkeypatch.chdir(tmp_path)
    return tmp_path


ALL_LINKED = ["data/1/a.csv", "data/1/twin.csv", "data/2/c.jsonl", "data/2/other/d.csv"]


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (["data"], ALL_LINKED),
        (["./data", "data//", "data/2/..", "{cwd}/data", "logs", "data/*/*", "file://{cwd}/data"], ALL_LINKED),
        (["logs", "data/2"], ["data/2/b.csv", "data/2/c.jsonl", "logs/1/a.csv", "logs/2/other/d.csv"]),
        (["{cwd}/data/1", "data/1/a.csv"], ["{cwd}/data/1/a.csv", "{cwd}/data/1/twin.csv"]),
        (["data/latest"], ["data/latest/a.csv", "data/latest/twin.csv"]),
        (["data/1/current.csv"], ["data/1/current.csv"]),
        (["data/1/current.csv", "data/latest/a.csv"], ["data/1/current.csv"]),
        (["data/2/other", "other"], ["other/d.csv"]),
    ],
)  # fmt: skip
def test_a_file_of_several_names_is_found_once_by_the_plainest(linked, paths, expected):
    assert found(*(path.format(cwd=linked) for path in paths)) == [path.format(cwd=linked) for path in expected]


SPELLINGS = ["{}", "./{}", "{}/", "{cwd}/{}", "{cwd}//{}", "data/../{}", "{}/**", "{}/*", "file://{cwd}/{}"]
PLACES = ["data", "data/1", "data/2", "data/latest", "logs", "logs/latest", "data/2/other", "other"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    places=st.lists(st.sampled_from(PLACES), min_size=1, max_size=4),
    spellings=st.lists(st.sampled_from(SPELLINGS), min_size=4, max_size=4),
)
def test_paths_together_name_what_each_of_them_names(linked, places, spellings):
    paths = [spelling.format(place, cwd=linked) for place, spelling in zip(places, spellings, strict=False)]

    def inodes(*paths):
        return sorted(os.stat(name).st_ino for name in found(*paths))

    assert inodes(*paths) == sorted({inode for path in paths for inode in inodes(path)})
    assert found(*paths) == sorted(found(*paths))
    assert [found(*paths), *(found(*paths) for _ in range(2))] == [found(*paths)] * 3


@pytest.mark.usefixtures("tree")
def test_two_files_of_one_number_are_two_files(monkeypatch):
    """File systems over the network may give every file the same inode."""
    scandir = os.scandir

    class Entry:
        def __init__(self, entry):
            self.name, self.path, self.is_dir, self.is_symlink = entry.name, entry.path, entry.is_dir, entry.is_symlink

        def inode(self):
            return 0

    expected = found("2024")
    monkeypatch.setattr(os, "scandir", lambda path: [Entry(entry) for entry in scandir(path)])
    assert found("2024") == expected
    assert len(expected) == 3


@pytest.mark.parametrize("target", ["..", "../..", ".", "up"])
def test_links_that_go_round_in_a_circle_are_said_to(tree, target):
    os.symlink(target, tree / "2024" / "01" / "up")
    with pytest.raises(SamplesError, match=r"^cannot list .{1,300}$") as caught:
        find_files([str(tree)])
    assert "2024/01/up" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "levels of symbolic links" in str(caught.value) if target == "up" else "leads back" in str(caught.value)
    assert found("2024/02") == ["2024/02/a.parquet"]


@pytest.mark.parametrize("name", ["[1]", "a?c", "a*c", "[!x]"])
@pytest.mark.parametrize("inside", ["", "/*.csv", "/**/b.csv", "/deep/b.csv", "/deep"])
def test_a_name_that_is_there_is_no_glob(tmp_path, name, inside):
    for folder in (name, "1", "abc", "y"):
        (tmp_path / folder / "deep").mkdir(parents=True)
        (tmp_path / folder / "deep" / "b.csv").touch()
        (tmp_path / folder / "a.csv").touch()
    names = found(f"{tmp_path}/{name}{inside}")
    assert names
    assert all(each.startswith(f"{tmp_path}/{name}/") for each in names)
    assert f"{tmp_path}/{name}/a.csv" in found(f"{tmp_path}/*/a.csv")
    assert f"{tmp_path}/{name}/a.csv" in found(f"{tmp_path}/**/{name}/a.csv")


def test_names_that_are_not_utf8_are_found(tmp_path):
    names = [os.fsencode(tmp_path) + b"/caf\xe9/\xff.csv", os.fsencode(tmp_path) + "/café/a.csv".encode()]
    for name in names:
        os.makedirs(os.path.dirname(name))
        with open(name, "w") as file:
            file.write("a\n1\n")
    files = find_files([str(tmp_path)])
    assert sorted(os.fsencode(file.path) for file in files) == sorted(names)
    assert [file.stream().read() for file in files] == [b"a\n1\n"] * 2
    assert all(file.stamp() for file in files)
    with pytest.raises(SamplesError) as caught:
        find_files([os.fsdecode(names[0]) + ".orc"])
    assert str(caught.value).encode()


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("2024/*.parquet", r"no files match '2024/\*.parquet'; 2024 has 01, 02, _temporary \(names starting with"),
        ("2026/*.parquet", r"no files match .*; there is no 2026, but \. has 2024, 2025, z.ndjson.zst"),
        ("2025/q/r.csv", r"there is no 2025/q, but 2025 has README.md, SUCCESS, x.jsonl, y.csv.tmp"),
        ("s3:/logs/x", r"no files match 's3:/logs/x'; in a URL two slashes come after s3:"),
        ("delta:lake/clicks", r"no files match .*; tables are named as delta\+FOLDER or iceberg"),
        ("select * from x", r"no files match .* and queries as sql:SELECT"),
        ("delta/x.csv", "there is no delta, but"),
        ("2025/README.md", r"cannot read 2025/README.md as samples: expected .parquet, .csv"),
        ("2025/*.tmp", r"cannot read 2025/y.csv.tmp as samples"),
    ],
)
@pytest.mark.usefixtures("tree")
def test_what_does_not_match_says_what_is_nearby(path, message):
    with pytest.raises(SamplesError, match=message):
        find_files([path])


@pytest.mark.parametrize("name", ["a.orc", "a.avro", "a.tsv", "a.csv.bz2", "a.parquet.gz", "a.feather"])
def test_files_that_look_like_samples_of_another_format_are_not_passed_over(tree, name):
    (tree / "2025" / name).touch()
    with pytest.raises(SamplesError, match=f"cannot read 2025/{name} as samples"):
        find_files(["2025"])


def test_an_empty_folder_is_no_files(tmp_path):
    with pytest.raises(NoSamplesError, match=f"{tmp_path} is empty"):
        find_files([str(tmp_path)])


def test_unknown_schemes_are_named():
    with pytest.raises(ConfigError, match="expected a path of this machine"):
        find_files(["a\0b"])
    with pytest.raises(ConfigError, match="'ftp://host/x': expected a path of this machine or a URL of s3://"):
        find_files(["ftp://host/x"])
    with pytest.raises(ConfigError, match=r"'postgres://me:\*\*\*@db/x': .* queries as sql:SELECT"):
        find_files(["postgres://me:swordfish@db/x"])


@pytest.mark.parametrize(
    ("pattern", "path", "start", "end"),
    [
        ("%Y-%m-%d", "log/2024-03-01.csv", "2024-03-01T00:00", "2024-03-02T00:00"),
        ("%Y-%m-%d", "2023-01-01/2024-03-01.csv", "2024-03-01T00:00", "2024-03-02T00:00"),
        ("%Y%m%d", "part-0000-20240301.csv", "2024-03-01T00:00", "2024-03-02T00:00"),
        ("%Y%m%dT%H", "20240301T23.csv", "2024-03-01T23:00", "2024-03-02T00:00"),
        ("date=%Y-%m-%d/hour=%H", "s3://b/date=2024-03-01/hour=05/x.csv", "2024-03-01T05:00", "2024-03-01T06:00"),
        ("%Y/%m", "2023/12/x.csv", "2023-12-01T00:00", "2024-01-01T00:00"),
        ("%Y/%j", "2024/366/x.csv", "2024-12-31T00:00", "2025-01-01T00:00"),
        ("y%Y", "y2024/x.csv", "2024-01-01T00:00", "2025-01-01T00:00"),
        ("%d.%m.%Y %H-%M", "01.03.2024 05-07.csv", "2024-03-01T05:07", "2024-03-01T05:08"),
    ],
)
def test_partitions_place_a_path_in_time(pattern, path, start, end):
    low, high = Partition.of(pattern, "UTC").span_us(path)
    assert [from_us(us).isoformat()[:16] for us in (low, high)] == [start, end]


def test_partitions_are_in_the_zone_of_the_config():
    span = Partition.of("%Y-%m-%d", "America/New_York").span_us("2013-02-01.csv")
    assert [str(from_us(us)) for us in span] == ["2013-02-01 05:00:00+00:00", "2013-02-02 05:00:00+00:00"]
    back = Partition.of("%Y-%m-%dT%H", "America/New_York").span_us("2013-11-03T01.csv")
    assert [str(from_us(us)) for us in back] == ["2013-11-03 05:00:00+00:00", "2013-11-03 07:00:00+00:00"]


def test_the_ends_of_the_calendar_are_days_like_others():
    first, last = (to_us(edge.replace(tzinfo=UTC)) for edge in (datetime.min, datetime.max))
    for pattern, low, high in (
        ("%Y-%m-%d", "0001-01-01", "9999-12-31"),
        ("%Y-%m", "0001-01", "9999-12"),
        ("%Y", "0001", "9999"),
        ("%Y-%m-%dT%H", "0001-01-01T00", "9999-12-31T23"),
        ("%Y-%m-%dT%H.%M", "0001-01-01T00.00", "9999-12-31T23.59"),
    ):
        for zone in ("UTC", "America/New_York", "Asia/Tokyo"):
            slack = 0 if zone == "UTC" else 86_400_000_000
            partition = Partition.of(pattern, zone)
            assert abs(partition.span_us(f"{low}.csv")[0] - first) <= slack
            assert abs(partition.span_us(f"{high}.csv")[1] - (last + 1)) <= slack
    assert Partition.of("%Y-%m-%d", "UTC").span_us("0000-01-01.csv") is None


@given(
    moment=st.datetimes(),
    pattern=st.sampled_from(["%Y", "%Y/%m", "%Y%m%d", "%Y/%j", "%Y-%m-%d %H", "%Y-%m-%dT%H-%M"]),
    zone=st.sampled_from(["UTC", "America/New_York", "Asia/Tokyo", "Pacific/Apia"]),
)
def test_every_moment_lies_in_its_partition(moment, pattern, zone):
    text = moment.strftime(pattern.replace("%Y", f"{moment.year:04}"))
    low, high = Partition.of(pattern, zone).span_us(text)
    us, _, _ = times([moment], ZoneInfo(zone))
    assert low <= us[0] < high


@pytest.mark.parametrize("path", ["2024-13-01.csv", "12024-03-01.csv", "2024-03-012.csv", "x.csv"])
def test_paths_that_say_no_time_are_not_placed(path):
    assert Partition.of("%Y-%m-%d", "UTC").span_us(path) is None


@pytest.mark.parametrize(
    "pattern", ["%m-%d", "%Y-%d", "%Y %H", "%Y-%m-%d %B", "%Y%Y", "data", "%Y-%m-%d-%j", "%Y-%m-%d %M"]
)
def test_partitions_that_say_no_time_are_errors(pattern):
    with pytest.raises(ConfigError, match=r"\[samples\] partition"):
        Partition.of(pattern, "UTC")


def test_one_file_has_many_names(tmp_path):
    here, there = tmp_path / "a.csv", tmp_path / "b.csv"
    here.write_text("x\n1\n")
    assert not same_file(str(here), str(there)), "which is not there"
    there.symlink_to(here)
    assert same_file(str(here), str(tmp_path / "." / "b.csv"))
    assert same_file("s3://bucket/logs/a.csv", "S3://bucket/logs//a.csv")
    assert same_file("gcs://bucket/a.csv", "gs://bucket/a.csv")
    assert not same_file("s3://bucket/logs/a.csv", "gs://bucket/logs/a.csv")
    assert not same_file("s3://bucket/logs/a.csv", str(here))
