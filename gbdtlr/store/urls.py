"""The URL: where a store is, and the backend that speaks to it."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from gbdtlr.buckets.paths import native
from gbdtlr.errors import ConfigError
from gbdtlr.store.backend import Backend
from gbdtlr.store.local import LocalBackend

SUPPORTED = "a local path, file:///path, s3://bucket/prefix, gs://bucket/prefix, az://container/prefix or memory://name"


def open_backend(url: str) -> Backend:
    """Backend of a path or URL.

    Raises
    ------
    ConfigError
        Not such a URL; the message lists what is.
    """
    if not url or "\0" in url:
        raise ConfigError(f"{url!r} is no store; write {SUPPORTED}")
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]*)://", url)
    if scheme is None:
        if (short := re.match(r"(file|memory|s3|gs|gcs|az|abfss?):", url, re.IGNORECASE)) and not Path(url).is_dir():
            raise ConfigError(f"{url!r} is no URL; write both slashes: {short[1]}://")
        return _local(Path(native(url)).expanduser(), url)
    match scheme[1].lower():
        case "file":
            parts = urlsplit(url)
            if parts.netloc not in ("", "localhost") or not parts.path:
                raise ConfigError(f"{url!r} is no local path; write file:///path, with three slashes")
            return _local(Path(native(unquote(parts.path))), url)
        case "memory" | "s3" | "gs" | "gcs" | "az" | "abfs" | "abfss" as kind:
            from gbdtlr.store.objects import open_objects  # importing obstore takes longer than a local update

            return open_objects(kind, url)
        case other:
            raise ConfigError(f"a store cannot be at {other}://; write {SUPPORTED}")


def _local(path: Path, url: str) -> Backend:
    if path.exists() and not path.is_dir():
        raise ConfigError(f"the store {url!r} is a file, not a folder; write {SUPPORTED}")
    return LocalBackend(path)
