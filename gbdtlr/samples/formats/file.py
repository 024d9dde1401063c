"""Files: one file of samples or of scores, on disk or in a bucket: what it holds, and its bytes."""

from __future__ import annotations

import os
import posixpath
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gbdtlr.buckets.paths import native
from gbdtlr.buckets.urls import is_remote, plain_url

if TYPE_CHECKING:
    from gbdtlr.samples.formats.stored import Stored

FORMATS = {".parquet": "parquet", ".csv": "csv", ".jsonl": "json", ".json": "json", ".ndjson": "json"}
COMPRESSIONS = {".gz": "gzip", ".zst": "zstd"}
READABLE = ".parquet, .csv, .jsonl, .json or .ndjson, the texts also as .gz or .zst"
SQL = "sql:"
"""What a query begins with where a path could stand."""


@dataclass(frozen=True)
class File:
    """One file of samples, or a query whose answer is as good as one.

    Attributes
    ----------
    path : where it is
    listed : what the bucket's listing, or its table, said of its contents; empty for other files on disk
    stored : what its table says of it, if it is one of a table's
    """

    path: str
    listed: str = ""
    stored: Stored | None = field(default=None, compare=False, repr=False)

    @property
    def subject(self) -> str:
        """What messages call it: who has a table names the table, and knows nothing of its files."""
        return self.path if self.stored is None else f"{self.stored.table} (its file {self.path})"

    @property
    def noun(self) -> str:
        """What there is to mend: a ``file``, a ``table`` or a ``query``."""
        if self.stored is not None:
            return "table"
        return "query" if self.format == "sql" else "file"

    @property
    def format(self) -> str:
        """``parquet``, ``csv``, ``json`` or ``sql``; empty for files that are none of them."""
        if self.path.startswith(SQL):
            return "sql"
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
        return not self.remote and self.compression is None and self.stored is None and self.format != "sql"

    def span_us(self, name: str, timezone: str) -> tuple[int, int] | None:
        """Inclusive bounds of a column of times, as its table says; None where none does."""
        return None if self.stored is None else self.stored.span_us(name, timezone)

    @property
    def n_bytes(self) -> int:
        """Size of the file as it is stored; 0 where it cannot be told."""
        size = self.stamp().partition("-")[0]
        return int(size) if size.isdecimal() else 0

    def stamp(self) -> str:
        """Size and time of the last change: another one whenever the file has been written again.

        Empty for what may have changed at any time, as a query may.
        """
        if self.remote or self.stored is not None or self.format == "sql":
            return self.listed
        try:
            found = os.stat(native(self.path))
        except OSError:
            return ""
        return f"{found.st_size}-{found.st_mtime_ns}"

    def stream(self) -> Any:
        """Decompressed bytes from the beginning, as a ``pyarrow.NativeFile``."""
        import pyarrow as pa

        source = pa.PythonFile(self.random_access(), "r") if self.remote else self.random_access()
        return source if self.compression is None else pa.CompressedInputStream(source, self.compression)

    def random_access(self) -> Any:
        """Bytes of the file as they are, seekable: an ``ObjectFile`` of a bucket, or a ``pyarrow.NativeFile``."""
        if self.remote:
            from gbdtlr.buckets.objects import open_object  # importing obstore takes longer than a local update

            return open_object(self.path)
        import pyarrow as pa

        return pa.OSFile(
            os.fsencode(native(self.path))
        )  # in bytes: Arrow takes texts for UTF-8, which names need not be


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
