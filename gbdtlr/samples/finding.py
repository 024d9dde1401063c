"""Finding: the files that paths, folders and globs name, each once, in the order of reading."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote

from gbdtlr.buckets.paths import native
from gbdtlr.buckets.urls import SCHEMES, is_remote, place_of, plain_url
from gbdtlr.errors import ConfigError, NoSamplesError, SamplesError
from gbdtlr.samples.formats.file import COMPRESSIONS, READABLE, File, same_file
from gbdtlr.samples.keys import named_by
from gbdtlr.samples.lakes.names import DELTA, is_table, table_files
from gbdtlr.samples.lakes.passwords import without_passwords
from gbdtlr.tables import listed

if TYPE_CHECKING:
    from gbdtlr.buckets.objects import Found

# Found beside samples and never samples themselves; an unknown suffix such as .orc is not passed over in silence.
_NEIGHBOURS = {
    "", ".md", ".rst", ".txt", ".html", ".pdf", ".png", ".svg", ".py", ".sh", ".sql", ".ipynb", ".toml", ".yaml",
    ".yml", ".ini", ".log", ".crc", ".md5", ".sha1", ".sha256", ".lock", ".tmp", ".temp", ".part", ".partial",
    ".inprogress", ".swp", ".bak",
}  # fmt: skip
_DELTA_LOG = "_delta_log"
_GLOB = re.compile(r"[*?\[]")
_FILE_URL = re.compile(r"^file://(localhost)?(?=/)", re.IGNORECASE)


class _Match(NamedTuple):
    """A file by one of its names.

    Attributes
    ----------
    real : the name without any links on the way to it
    linked : whether the name has links on the way
    inode : which file of the disk it is, as far as its folder says; None in a bucket
    """

    name: str
    listed: str
    real: str
    linked: bool = False
    inode: tuple[int, int] | None = None


def find_files(paths: Sequence[str], key: str = "") -> list[File]:
    """Every file of samples that ``paths`` name, each once, ordered by path.

    Tables are the files their snapshots list, a query is one. Folders are searched to the bottom; ``**`` in a glob
    stands for any number of folders. A name that is there as it stands is no glob. Names below a folder or the fixed
    part of a glob that start with ``.`` or ``_`` are in progress and left alone. A file of several names, by links or
    by the ways to it, has one without links and ``..``, if there is any; of several, that of the earliest path, and
    the first in order.

    Parameters
    ----------
    key : of the config, which has the paths, for whoever is told of a wrong one; empty where a command was given them

    Raises
    ------
    NoSamplesError
        Nothing matches one of the paths; the message says what is nearby.
    SamplesError
        A file that looks like samples in a format that cannot be read, or links that go round in a circle.
    """
    with named_by(key):
        return _find_files(paths)


def _find_files(paths: Sequence[str]) -> list[File]:
    found: list[_Match] = []
    tables = {file.path: file for path in paths if is_table(path) for file in table_files(path)}
    for path in paths:
        if is_table(path):
            continue
        pattern = _plain(path)
        readable: list[_Match] = []
        others: list[_Match] = []
        for match in _matching(pattern):
            (readable if File(match.name).format else others).append(match)
        foreign = [match.name for match in others if _suffix(match.name) not in _NEIGHBOURS]
        if not readable:
            foreign = foreign or [match.name for match in others]
        if foreign:
            more = f" and {len(foreign) - 1} more" if len(foreign) > 1 else ""
            is_iceberg = "/metadata/" in foreign[0] and foreign[0].endswith(".avro")
            hint = "; an Iceberg table is named as iceberg+CATALOG:TABLE" if is_iceberg else ""
            raise SamplesError(f"cannot read {foreign[0]}{more} as samples: expected {READABLE}{hint}")
        if not readable:
            raise NoSamplesError(f"no files match {path!r}; {_as_a_table(path) or _nearby(pattern)}")
        found += sorted(readable)
    found.sort(key=lambda match: match.linked or "/../" in match.name or match.name.startswith("../"))
    files = [*_each_once(found), *_of_tables(tables.values(), {match.real for match in found})]
    return sorted(files, key=lambda file: file.path)


def _of_tables(files: Iterable[File], others: set[str]) -> Iterator[File]:
    """Each file of tables once, by whatever names the tables were called.

    Raises
    ------
    SamplesError
        One is among ``others``, which were named as files, so that rows deleted from it would be read.
    """
    folders: dict[str, str] = {}
    seen: set[str] = set()
    for file in files:
        real = file.path
        if not file.remote and file.format != "sql":
            folder, name = os.path.split(file.path)
            real = os.path.join(folders.setdefault(folder, os.path.realpath(native(folder or "."))), name)
        if real in others:
            raise SamplesError(f"{file.path} is named by a table and as a file as well; name it once, by the table")
        if real not in seen:
            seen.add(real)
            yield file


def _each_once(matches: Iterable[_Match]) -> Iterator[File]:
    """Files of the matches, of those that are one file the first."""
    names: set[str] = set()
    by_inode: dict[tuple[int, int], str] = {}
    for match in matches:
        if match.real in names:
            continue
        names.add(match.real)
        # What a folder says of its files is not always true, so that two of one number are looked at themselves.
        other = match.inode and by_inode.setdefault(match.inode, match.name)
        if other and other != match.name and same_file(other, match.name):
            continue
        yield File(match.name, match.listed)


def _plain(path: str) -> str:
    """The path without ``file://``, ``~`` and steps on the spot.

    Raises
    ------
    ConfigError
        Neither a path nor the URL of a bucket.
    """
    pattern = native(path)
    if _FILE_URL.match(pattern):
        pattern = unquote(_FILE_URL.sub("", pattern), errors="surrogateescape")
    if is_remote(pattern):
        return plain_url(pattern)
    if "://" in pattern or "\0" in pattern:
        hint = _as_a_table(path)
        told = f"expected a path of this machine or a URL of {SCHEMES}" + (hint and f"; {hint}")
        raise ConfigError(f"[samples] path {without_passwords(path)!r}: {told}")
    pattern = os.path.expanduser(pattern)
    parts = [part for part in pattern.split("/") if part not in ("", ".")]
    return ("/" if pattern.startswith("/") else "") + "/".join(parts)


_SHORT_URL = re.compile(r"(s3a?|s3n|gs|gcs|az|abfss?):/?(?!/)", re.IGNORECASE)
_LIKE_A_TABLE = re.compile(
    r"(delta|iceberg|sql|duckdb|postgres(ql)?|mysql|jdbc)\s*[:+]|(select|with|from)\s", re.IGNORECASE
)


def _as_a_table(path: str) -> str:
    """How a table or a query is named, where a path seems to be meant for one; else nothing."""
    if _LIKE_A_TABLE.match(path.strip()) is None:
        return ""
    return "tables are named as delta+FOLDER or iceberg+CATALOG:TABLE, and queries as sql:SELECT ..."


def _suffix(path: str) -> str:
    stem, suffix = os.path.splitext(path)
    return os.path.splitext(stem)[1] if suffix in COMPRESSIONS else suffix


def _split(pattern: str) -> tuple[str, list[str]]:
    """Fixed folder in front, and the parts from the first on that is a glob and not the name of what is there."""
    parts = pattern.split("/")
    there = _there_remote if is_remote(pattern) else os.path.lexists
    globs = (i for i, part in enumerate(parts) if _GLOB.search(part) and not there("/".join(parts[: i + 1])))
    first = next(globs, len(parts))
    return "/".join(parts[:first]) or ("/" if pattern.startswith("/") else ""), parts[first:]


def _there_remote(url: str) -> bool:
    if "*" in url.rpartition("/")[2]:  # in no object's name, and asking costs
        return False
    from gbdtlr.buckets.objects import below, find

    try:
        return find(url) is not None or next(below(url), None) is not None
    except OSError as error:
        raise SamplesError(f"cannot list {url}: {error}") from None


def _matching(pattern: str) -> Iterator[_Match]:
    root, parts = _split(pattern)
    if is_remote(pattern):
        yield from _matching_remote(root, parts)
        return
    real = os.path.realpath(root or ".")
    linked = real != os.path.normpath(os.path.join(os.getcwd(), root))
    if not parts:
        if os.path.isfile(root):
            found = os.stat(root)
            yield _Match(root, "", real, linked, (found.st_dev, found.st_ino))
            return
        parts = ["**"]
    yield from _Walk(root, parts).matches([], (real,), linked)


@dataclass(frozen=True)
class _Walk:
    """A search from the folder ``root`` on, empty for the current one, for what matches ``parts``."""

    root: str
    parts: list[str]

    def matches(self, inside: list[str], above: tuple[str, ...], linked: bool) -> Iterator[_Match]:
        """Files in the folder ``inside`` of the root and below; ``above`` are real names of it and those around it."""
        folder = os.path.join(self.root, *inside)
        try:
            device = os.stat(folder or ".").st_dev
            entries = sorted(os.scandir(folder or "."), key=lambda entry: entry.name)
            for entry in entries:
                path = [*inside, entry.name]
                if entry.name == _DELTA_LOG and "**" in self.parts:
                    raise is_a_table(folder or os.getcwd())
                if entry.name.startswith((".", "_")):
                    continue
                name, link = entry.path if folder else entry.name, entry.is_symlink()
                real = os.path.realpath(name) if link else f"{above[-1].rstrip('/')}/{entry.name}"
                if entry.is_dir():
                    if _matches(path, self.parts, partly=True):
                        self._check_circle(path, real, above)
                        yield from self.matches(path, (*above, real), linked or link)
                elif _matches(path, self.parts):
                    yield _Match(name, "", real, linked or link, None if link else (device, entry.inode()))
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            where = error.filename if isinstance(error.filename, str) else folder
            raise SamplesError(f"cannot list {where or '.'}: {error.strerror}") from None

    def _check_circle(self, path: list[str], real: str, above: tuple[str, ...]) -> None:
        if real in above:
            raise SamplesError(
                f"cannot list {self.root or '.'}: the link {'/'.join(path)} leads back to a folder that it is in; "
                "remove it, or name the folders beside it"
            )


def _matching_remote(root: str, parts: list[str]) -> Iterator[_Match]:
    from gbdtlr.buckets.objects import below, find

    try:
        if not parts:
            found = find(root)
            if found is not None:
                yield _Match(root, _listed_as(found), root)
                return
            parts = ["**"]
        objects = list(below(root))
    except OSError as error:
        raise SamplesError(f"cannot list {root}: {error}") from None
    n_root = len(place_of(root).key)
    # Some tools write an empty object for every folder.
    folders = {found.key.rpartition("/")[0] for found in objects}
    for found in objects:
        path = found.key[n_root:].strip("/").split("/")
        if _DELTA_LOG in path and "**" in parts:
            raise is_a_table("/".join([root, *path[: path.index(_DELTA_LOG)]]))
        in_progress = any(part.startswith((".", "_")) for part in path)
        if not in_progress and _matches(path, parts) and (found.size or found.key not in folders):
            name = "/".join([root, *path])
            yield _Match(name, _listed_as(found), name)


def is_a_table(folder: str) -> SamplesError:
    """The error of a folder that is read as files and is a Delta table."""
    return SamplesError(
        f"{folder} is a Delta table, whose folder has rows that were deleted as well; name it as {DELTA}{folder}, or "
        "its files of all versions, if that is meant, by a glob that ends in *.parquet"
    )


def _listed_as(found: Found) -> str:
    return f"{found.size}-{found.modified_us * 1000}"


def _matches(path: list[str], parts: list[str], partly: bool = False) -> bool:
    """Whether the path, or a folder it lies in, matches; ``partly``: whether something inside of it could."""
    if not parts or not path:
        return not parts or partly
    if parts[0] == "**":
        return _matches(path, parts[1:], partly) or _matches(path[1:], parts, partly)
    same = path[0] == parts[0] or fnmatchcase(path[0], parts[0])
    return same and _matches(path[1:], parts[1:], partly)


def _nearby(pattern: str) -> str:
    """What a person looking for the mistake would list first."""
    if is_remote(pattern):
        return "check the bucket, the prefix and the pattern"
    if short := _SHORT_URL.match(pattern):
        return f"in a URL two slashes come after {short[1]}:"
    folder = _split(pattern)[0] or "."
    while not os.path.isdir(folder):
        missing, folder = folder, os.path.dirname(folder) or ("/" if folder.startswith("/") else ".")
        if os.path.isdir(folder):
            names = _names(folder)
            return f"there is no {missing}" + (f", but {folder} has {names}" if names else f", and {folder} is empty")
    names = _names(folder)
    return f"{folder} has {names}" if names else f"{folder} is empty"


def _names(folder: str, most: int = 5) -> str:
    try:
        names = sorted(os.listdir(folder))
    except OSError as error:
        return f"what cannot be listed: {error.strerror}"
    in_progress = [name for name in names if name.startswith((".", "_"))]
    text = listed(names, most)
    if in_progress:
        text += " (names starting with . or _ are in progress and left alone)"
    return text
