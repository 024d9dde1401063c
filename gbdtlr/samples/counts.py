"""Counts: what each file of samples held when it was last opened, and the one file of a head that keeps them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gbdtlr.codec.npz import checked, from_npz, to_npz
from gbdtlr.errors import DamagedError
from gbdtlr.times import to_us

FORMAT = 2
"""The first has no positives; it is written where there are none to be kept."""
NONE = -(2**63)
"""What stands for None among the numbers: no time and no number of rows is so small."""
_FIRST_US = to_us(datetime.min.replace(tzinfo=UTC))
_LAST_US = to_us(datetime.max.replace(tzinfo=UTC))


@dataclass(frozen=True)
class Count:
    """One file as an update found it.

    Attributes
    ----------
    stamp : the file's, as it was listed before it was read
    since_us : events before this moment were not counted
    known : samples whose label was known at that update, learned or late
    waits_us : when the next label becomes known that the file already holds; None if it holds no more
    last_us : no event of the file is later; None for a file without rows
    positives : how many of the ``known`` an outcome had come for; None where labels stand in the files
    """

    stamp: str
    since_us: int
    known: int
    waits_us: int | None
    last_us: int | None
    positives: int | None = None


def counts_to_bytes(counts: Mapping[str, Count]) -> bytes:
    """The counts as an npz: the same counts give the same bytes, in whatever order they came.

    It takes some ten bytes a file beside what is random in its name and stamp, and is in no manifest, whose size is
    bounded: a window may have any number of files.
    """
    paths = sorted(counts)
    joined = any(count.positives is not None for count in counts.values())
    numbers = [_numbers(counts[path])[: 5 if joined else 4] for path in paths]
    path_lengths, path_text = _packed(paths)
    stamp_lengths, stamp_text = _packed(counts[path].stamp for path in paths)
    return to_npz(
        {
            "numbers": np.array(numbers, np.int64).reshape(len(paths), 5 if joined else 4),
            "path_lengths": path_lengths,
            "paths": path_text,
            "stamp_lengths": stamp_lengths,
            "stamps": stamp_text,
        },
        FORMAT if joined else 1,
    )


def counts_from_bytes(data: bytes) -> dict[str, Count]:
    """Counts by path, as :func:`counts_to_bytes` was given them.

    Raises
    ------
    DamagedError
        Not such bytes.
    FormatError
        Written by a newer gbdtlr.
    """
    arrays = from_npz(data, "counts.npz", FORMAT)
    try:
        paths = _unpacked(arrays["path_lengths"], arrays["paths"])
        stamps = _unpacked(arrays["stamp_lengths"], arrays["stamps"])
        n_columns = arrays["numbers"].shape[-1] if arrays["numbers"].ndim == 2 else 4
        numbers = checked(arrays["numbers"], np.int64, (len(paths), 5 if n_columns == 5 else 4)).tolist()
        if not all(before < after for before, after in pairwise(paths)):
            raise ValueError("paths out of order")
        counts = {
            path: Count(stamp, since, known, *(None if each == NONE else each for each in others))
            for path, stamp, (since, known, *others) in zip(paths, stamps, numbers, strict=True)
        }
        if not all(
            _FIRST_US <= count.since_us <= _LAST_US and count.known >= 0 and (count.positives or 0) >= 0
            for count in counts.values()
        ):
            raise ValueError("times or numbers that cannot be")
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise DamagedError(f"the counts of files are damaged: {error}") from None
    return counts


def _numbers(count: Count) -> tuple[int, ...]:
    others = (count.waits_us, count.last_us, count.positives)
    return count.since_us, count.known, *(NONE if each is None else each for each in others)


def _packed(texts: Iterable[str]) -> tuple[NDArray[np.uint32], NDArray[np.uint8]]:
    """Lengths in bytes, and all bytes; names of files may hold halves of surrogates, for bytes that are no UTF-8."""
    encoded = [text.encode("utf-8", "surrogatepass") for text in texts]
    return np.array([len(text) for text in encoded], np.uint32), np.frombuffer(b"".join(encoded), np.uint8)


def _unpacked(lengths: NDArray[Any], text: NDArray[Any]) -> list[str]:
    data = checked(text, np.uint8, None).tobytes()
    ends = np.cumsum(checked(lengths, np.uint32, None), dtype=np.uint64)
    if (int(ends[-1]) if len(ends) else 0) != len(data):
        raise ValueError("texts cut off")
    bounds = [0, *ends.tolist()]
    return [data[start:end].decode("utf-8", "surrogatepass") for start, end in pairwise(bounds)]
