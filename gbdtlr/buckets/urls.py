"""URLs of buckets: which texts are one, and the place in which bucket each names."""

from __future__ import annotations

import re
from typing import NamedTuple

from gbdtlr.errors import ConfigError

SCHEMES = "s3://, gs:// or az://"
_KINDS = {"s3": "s3", "gs": "gs", "gcs": "gs", "az": "az", "abfs": "az", "abfss": "az"}
_SCHEME = re.compile(rf"^({'|'.join(_KINDS)})://", re.IGNORECASE)


class Place(NamedTuple):
    """Where an object is, or those whose names begin alike.

    Attributes
    ----------
    kind : ``s3``, ``gs`` or ``az``
    bucket : its name, Azure's container
    account : Azure's, as in ``abfs://container@account.dfs.core.windows.net/path``; empty where the URL has none
    key : the object's name; empty for all of the bucket
    """

    kind: str
    bucket: str
    account: str
    key: str


def is_remote(path: str) -> bool:
    """Whether ``path`` is a URL of a bucket."""
    return _SCHEME.match(path) is not None


def plain_url(url: str) -> str:
    """A bucket's URL in one spelling: scheme in lower case, ``gs`` for ``gcs``, single slashes and none at the end."""
    scheme, _, rest = url.partition("://")
    scheme = scheme.lower().replace("gcs", "gs")
    return f"{scheme}://{re.sub('/+', '/', rest).rstrip('/')}"


def place_of(url: str) -> Place:
    """Where a URL of a bucket points.

    Raises
    ------
    ConfigError
        There is no bucket in it, or it is not UTF-8, as the names of objects are.
    """
    try:
        url.encode()
    except UnicodeEncodeError:
        raise ConfigError(f"cannot open {url!a}: the names of objects are UTF-8, which this is not") from None
    scheme, _, rest = plain_url(url).partition("://")
    bucket, _, key = rest.partition("/")
    bucket, _, host = bucket.partition("@")
    if not bucket:
        raise ConfigError(f"{url!r} names no bucket; write {scheme}://bucket/path")
    return Place(_KINDS[scheme], bucket, host.partition(".")[0], key)
