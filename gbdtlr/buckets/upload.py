"""Upload: a file of this machine as an object, whole or not at all."""

from __future__ import annotations

import obstore
from obstore.exceptions import BaseError

from gbdtlr.buckets.clouds import open_bucket
from gbdtlr.buckets.objects import PART, os_error
from gbdtlr.buckets.urls import place_of


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
    place = place_of(url)
    store = open_bucket(place.kind, place.bucket, None, place.account)
    with open(path, "rb") as source:
        try:
            # In pieces and not as a file: an error in between, Ctrl-C too, then takes back what has been sent.
            obstore.put(store, place.key, iter(lambda: source.read(PART), b""), chunk_size=PART)
        except BaseError as error:
            raise os_error(error) from error
