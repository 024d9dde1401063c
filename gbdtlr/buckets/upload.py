"""Upload: a file of this machine as an object, whole or not at all."""

from __future__ import annotations

import obstore
from obstore.exceptions import BaseError

from gbdtlr.buckets.clouds import open_bucket

PART = 16 << 20
_KINDS = {"s3": "s3", "gs": "gs", "gcs": "gs", "az": "az", "abfs": "az", "abfss": "az"}


def upload(path: str, url: str) -> None:
    """Write the file at ``path`` to the object at ``url``, which appears when it is complete.

    If anything goes wrong, or the upload is interrupted, what was there before stays, and no part is left behind.

    Raises
    ------
    OSError
        The file cannot be read, or the object not be written.
    ConfigError
        Credentials or settings in the environment that cannot be right.
    """
    scheme, _, rest = url.partition("://")
    place, _, key = rest.partition("/")
    bucket, _, host = place.partition("@")  # abfs://container@account.dfs.core.windows.net/path
    store = open_bucket(_KINDS[scheme.lower()], bucket, None, account=host.partition(".")[0])
    with open(path, "rb") as source:
        try:
            # In pieces and not as a file: an error in between, Ctrl-C too, then takes back what has been sent.
            obstore.put(store, key, iter(lambda: source.read(PART), b""), chunk_size=PART)
        except BaseError as error:
            raise OSError(" ".join(str(error).partition("\n\n")[0].split())[:500]) from error
