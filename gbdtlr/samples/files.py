"""Files: the ones that paths, folders and globs name, on disk or in a bucket, in the order of reading."""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from gbdtlr.errors import ConfigError, NoSamplesError, SamplesError

FORMATS = {".parquet": "parquet", ".csv": "csv", ".jsonl": "json", ".json": "json", ".ndjson": "json"}
COMPRESSIONS = {".gz": "gzip", ".zst": "zstd"}
READABLE = ".parquet, .csv, .jsonl, .json or .ndjson, the texts also as .gz or .zst"

# Found beside samples and never samples themselves; an unknown suffix such as .orc is not passed over in silence.
_NEIGHBOURS = {
    "", ".md", ".rst", ".txt", ".html", ".pdf", ".png", ".svg", ".py", ".sh", ".sql", ".ipynb", ".toml", ".yaml",
    ".yml", ".ini", ".log", ".crc", ".md5", ".sha1", ".sha256", ".lock", ".tmp", ".temp", ".part", ".partial",
    ".inprogress", ".swp", ".bak",
}  # fmt: skip
_GLOB = re.compile(r"[*?\[]")
_REMOTE = re.compile(r"^(s3|gs|gcs|abfs|abfss)://", re.IGNORECASE)


@dataclass(frozen=True)
class File:
    """One file of samples.

    Attributes
    ----------
    path : where it is
    listed : what the bucket's listing said of its contents; empty for files on disk
    """

    path: str
    listed: str = ""

    @property
    def format(self) -> str:
        """``parquet``, ``csv`` or ``json``; empty for files that are none of them."""
        stem, suffix = os.path.splitext(self.path)
        if suffix in COMPRESSIONS:
            kind = FORMATS.get(os.path.splitext(stem)[1], "")
            return "" if kind == "parquet" else kind
        return FORMATS.get(suffix, "")

    @property
    def compression(self) -> str | None:
        """``gzip``, ``zstd`` or None, by suffix."""
        return COMPRESSIONS.get(os.path.splitext(self.path)[1])

    @property
    def remote(self) -> bool:
        """Whether the file is in a bucket."""
        return is_remote(self.path)

    def stamp(self) -> str:
        """Size and time of the last change: another one whenever the file has been written again."""
        if self.remote:
            return self.listed
        try:
            found = os.stat(self.path)
        except OSError:
            return ""
        return f"{found.st_size}-{found.st_mtime_ns}"

    def stream(self) -> Any:
        """Decompressed bytes from the beginning, as a ``pyarrow.NativeFile``."""
        import pyarrow as pa

        if self.remote:
            fs, inside = open_remote(self.path)
            return fs.open_input_stream(inside, compression=self.compression)
        return pa.input_stream(self.path, compression=self.compression)

    def random_access(self) -> Any:
        """Bytes of the file as they are, seekable."""
        import pyarrow as pa

        if self.remote:
            fs, inside = open_remote(self.path)
            return fs.open_input_file(inside)
        return pa.OSFile(self.path)


def is_remote(path: str) -> bool:
    """Whether ``path`` is a URL of a bucket."""
    return _REMOTE.match(path) is not None


def open_remote(url: str) -> tuple[Any, str]:
    """File system of a bucket's URL and the path inside of it; credentials and endpoint by the usual variables.

    Raises
    ------
    ConfigError
        The URL cannot be understood, or this pyarrow cannot open it.
    """
    import pyarrow as pa
    from pyarrow import fs

    scheme, _, rest = url.partition("://")
    bucket, _, key = rest.partition("/")
    root = f"{'gs' if scheme.lower() == 'gcs' else scheme.lower()}://{bucket}"
    try:
        if root not in _BUCKETS:
            _BUCKETS[root] = (_s3(), bucket) if _s3_is_told(root) else fs.FileSystem.from_uri(root)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise ConfigError(f"cannot open {url}: {error}") from None
    found, base = _BUCKETS[root]
    return found, f"{base.rstrip('/')}/{key}"


def _s3_is_told(root: str) -> bool:
    return root.startswith("s3://") and any(os.environ.get(name) for name in (*_ENDPOINTS, *_REGIONS))


def _s3() -> Any:
    """S3 as the environment says; from_uri would ask Amazon where the bucket is, whoever keeps it."""
    from pyarrow import fs

    told = {"region": next((os.environ[name] for name in _REGIONS if os.environ.get(name)), None)}
    told["endpoint_override"] = next((os.environ[name] for name in _ENDPOINTS if os.environ.get(name)), None)
    return fs.S3FileSystem(**{key: value for key, value in told.items() if value})


_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
_REGIONS = ("AWS_REGION", "AWS_DEFAULT_REGION")
_BUCKETS: dict[str, tuple[Any, str]] = {}


def find_files(paths: Sequence[str]) -> list[File]:
    """Every file of samples that ``paths`` name, each once, ordered by path.

    Folders are searched to the bottom; ``**`` in a glob stands for any number of folders. Names below a folder or
    the fixed part of a glob that start with ``.`` or ``_`` are in progress and left alone.

    Raises
    ------
    NoSamplesError
        Nothing matches one of the paths; the message says what is nearby.
    SamplesError
        A file that looks like samples in a format that cannot be read.
    """
    found: dict[str, str] = {}
    for path in paths:
        pattern = os.path.expanduser(path.removeprefix("file://"))
        if "://" in pattern and not is_remote(pattern):
            raise ConfigError(
                f"[samples] path {path!r}: expected a path of this machine or a URL of s3://, gs:// or abfs://"
            )
        matched = dict(_matching(pattern))
        readable = {name: listed for name, listed in matched.items() if File(name).format}
        foreign = [name for name in matched if name not in readable and _suffix(name) not in _NEIGHBOURS]
        if not readable and matched:
            foreign = foreign or list(matched)
        if foreign:
            more = f" and {len(foreign) - 1} more" if len(foreign) > 1 else ""
            raise SamplesError(f"cannot read {foreign[0]}{more} as samples: expected {READABLE}")
        if not readable:
            raise NoSamplesError(f"no files match {path!r}; {_nearby(pattern)}")
        found.update(readable)
    return [File(name, listed) for name, listed in sorted(found.items())]


def same_file(a: str, b: str) -> bool:
    """Whether two paths or URLs name one file, by whatever links."""
    if is_remote(a) or is_remote(b):
        return is_remote(a) and is_remote(b) and _object(a) == _object(b)
    try:
        return os.path.samefile(a, b)
    except OSError:  # at least one is not there
        return False


def _object(url: str) -> tuple[str, str]:
    scheme, _, rest = url.partition("://")
    return scheme.lower().replace("gcs", "gs"), posixpath.normpath(rest)


def _suffix(path: str) -> str:
    stem, suffix = os.path.splitext(path)
    return os.path.splitext(stem)[1] if suffix in COMPRESSIONS else suffix


def _split(pattern: str) -> tuple[str, list[str]]:
    """Fixed folder in front, and the parts from the first with a wildcard on."""
    parts = pattern.split("/")
    first = next((i for i, part in enumerate(parts) if _GLOB.search(part)), len(parts))
    return "/".join(parts[:first]) or ("/" if pattern.startswith("/") and first < len(parts) else ""), parts[first:]


def _matching(pattern: str) -> Iterator[tuple[str, str]]:
    """Paths, each with what a bucket's listing says of it."""
    root, parts = _split(pattern)
    if is_remote(pattern):
        yield from _matching_remote(root, parts)
        return
    if not parts:
        if os.path.isfile(root):
            yield root, ""
            return
        parts = ["**"]
    for inside in _walk(root or ".", [], parts):
        yield os.path.join(root, *inside), ""


def _walk(root: str, inside: list[str], parts: list[str]) -> Iterator[list[str]]:
    try:
        entries = sorted(os.scandir(os.path.join(root, *inside)), key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise SamplesError(f"cannot list {os.path.join(root, *inside)}: {error.strerror}") from None
    for entry in entries:
        path = [*inside, entry.name]
        if entry.name.startswith((".", "_")):
            continue
        if entry.is_dir():
            if _matches(path, parts, partly=True):
                yield from _walk(root, path, parts)
        elif _matches(path, parts):
            yield path


def _matching_remote(root: str, parts: list[str]) -> Iterator[tuple[str, str]]:
    from pyarrow import fs

    system, inside = open_remote(root)
    scheme = root.partition("://")[0]
    try:
        if not parts:
            info = system.get_file_info(inside)
            if info.type == fs.FileType.File:
                yield root, _listed_as(info)
                return
            parts = ["**"]
        selector = fs.FileSelector(inside.rstrip("/"), allow_not_found=True, recursive=True)
        infos = system.get_file_info(selector)
    except OSError as error:
        raise SamplesError(f"cannot list {root}: {error}") from None
    for info in infos:
        path = info.path[len(inside.rstrip("/")) :].strip("/").split("/")
        if info.type == fs.FileType.File and not any(p.startswith((".", "_")) for p in path) and _matches(path, parts):
            yield f"{scheme}://{info.path}", _listed_as(info)


def _listed_as(info: Any) -> str:
    return f"{info.size}-{info.mtime_ns}"


def _matches(path: list[str], parts: list[str], partly: bool = False) -> bool:
    """Whether the path, or a folder it lies in, matches; ``partly``: whether something inside of it could."""
    if not parts or not path:
        return not parts or partly
    if parts[0] == "**":
        return _matches(path, parts[1:], partly) or _matches(path[1:], parts, partly)
    return fnmatchcase(path[0], parts[0]) and _matches(path[1:], parts[1:], partly)


def _nearby(pattern: str) -> str:
    """What a person looking for the mistake would list first."""
    if is_remote(pattern):
        return "check the bucket, the prefix and the pattern"
    folder = _split(pattern)[0] or "."
    while not os.path.isdir(folder):
        missing, folder = folder, os.path.dirname(folder) or ("/" if folder.startswith("/") else ".")
        if os.path.isdir(folder):
            names = _names(folder)
            return f"there is no {missing}" + (f", but {folder} has {names}" if names else f", and {folder} is empty")
    names = _names(folder)
    return f"{folder} has {names}" if names else f"{folder} is empty"


def _names(folder: str, most: int = 5) -> str:
    names = sorted(os.listdir(folder))
    in_progress = [name for name in names if name.startswith((".", "_"))]
    text = _listed(names, most)
    if in_progress:
        text += " (names starting with . or _ are in progress and left alone)"
    return text


def _listed(names: Iterable[str], most: int) -> str:
    shown = list(names)
    more = f" and {len(shown) - most} more" if len(shown) > most else ""
    return ", ".join(shown[:most]) + more
