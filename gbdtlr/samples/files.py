"""Files: one file of samples or of scores, on disk or in a bucket: what it holds, and its bytes."""

from __future__ import annotations

import os
import posixpath
import re
from dataclasses import dataclass
from typing import Any

from gbdtlr.buckets.paths import native
from gbdtlr.errors import ConfigError

FORMATS = {".parquet": "parquet", ".csv": "csv", ".jsonl": "json", ".json": "json", ".ndjson": "json"}
COMPRESSIONS = {".gz": "gzip", ".zst": "zstd"}
READABLE = ".parquet, .csv, .jsonl, .json or .ndjson, the texts also as .gz or .zst"

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

    @property
    def may_grow(self) -> bool:
        """Whether somebody may be appending to the file: objects and compressed files are whole, or cannot be read."""
        return not self.remote and self.compression is None

    def stamp(self) -> str:
        """Size and time of the last change: another one whenever the file has been written again."""
        if self.remote:
            return self.listed
        try:
            found = os.stat(native(self.path))
        except OSError:
            return ""
        return f"{found.st_size}-{found.st_mtime_ns}"

    def stream(self) -> Any:
        """Decompressed bytes from the beginning, as a ``pyarrow.NativeFile``."""
        import pyarrow as pa

        if self.remote:
            fs, inside = open_remote(self.path)
            return fs.open_input_stream(inside, compression=self.compression)
        source = self.random_access()
        return source if self.compression is None else pa.CompressedInputStream(source, self.compression)

    def random_access(self) -> Any:
        """Bytes of the file as they are, seekable."""
        import pyarrow as pa

        if self.remote:
            fs, inside = open_remote(self.path)
            return fs.open_input_file(inside)
        return pa.OSFile(
            os.fsencode(native(self.path))
        )  # in bytes: Arrow takes texts for UTF-8, which names need not be


def is_remote(path: str) -> bool:
    """Whether ``path`` is a URL of a bucket."""
    return _REMOTE.match(path) is not None


def plain_url(url: str) -> str:
    """A bucket's URL in the one spelling of its kind: scheme in lower case, ``gs`` for ``gcs``, single slashes."""
    scheme, _, rest = url.partition("://")
    scheme = scheme.lower().replace("gcs", "gs")
    return f"{scheme}://{re.sub('/+', '/', rest).strip('/')}"


def open_remote(url: str) -> tuple[Any, str]:
    """File system of a bucket's URL and the path inside of it; credentials and endpoint by the usual variables.

    Raises
    ------
    ConfigError
        The URL cannot be understood, or this pyarrow cannot open it.
    """
    import pyarrow as pa
    from pyarrow import fs

    scheme, _, rest = plain_url(url).partition("://")
    bucket, _, key = rest.partition("/")
    root = f"{scheme}://{bucket}"
    try:
        url.encode()
        if root not in _BUCKETS:
            _BUCKETS[root] = (_s3(), bucket) if _s3_is_told(root) else fs.FileSystem.from_uri(root)
    except UnicodeEncodeError:
        raise ConfigError(f"cannot open {url}: the names of objects are UTF-8, which this is not") from None
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


def same_file(a: str, b: str) -> bool:
    """Whether two paths or URLs name one file, by whatever links."""
    if is_remote(a) or is_remote(b):
        return is_remote(a) and is_remote(b) and _object(a) == _object(b)
    try:
        return os.path.samefile(native(a), native(b))
    except OSError:  # at least one is not there
        return False


def _object(url: str) -> str:
    scheme, _, rest = plain_url(url).partition("://")
    return f"{scheme}://{posixpath.normpath(rest)}"
