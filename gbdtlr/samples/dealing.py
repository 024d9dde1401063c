"""Dealing: files in shares of about as many bytes, each of which is read at one place."""

from __future__ import annotations

from collections.abc import Sequence

from gbdtlr.samples.formats.file import File

SHARE_BYTES, MOST_SHARES = 2**24, 1024
"""Bytes of a share as they are stored, about, and how many shares there are at most."""

Share = tuple[File, ...]
"""Files in a row, by their path"""


def deal(files: Sequence[File]) -> list[Share]:
    """The files in their order, in shares that depend on nothing but their sizes; no share is empty.

    No file is in two shares, so one that is larger than a share has its own. Batches end where shares do, so that
    what is noted of them does not depend on who read which.
    """
    sizes = [file.n_bytes for file in files] if len(files) > 1 else [0] * len(files)
    total = sum(sizes)
    n_shares = max(1, min(MOST_SHARES, -(-total // SHARE_BYTES)))
    shares: dict[int, list[File]] = {}
    before = 0
    for file, size in zip(files, sizes, strict=True):
        middle = before + size // 2
        place = min(middle * n_shares // max(total, 1), n_shares - 1)  # an empty file may lie at the very end
        shares.setdefault(place, []).append(file)
        before += size
    return [tuple(share) for share in shares.values()]
