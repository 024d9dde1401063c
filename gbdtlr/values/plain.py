"""Plain: columns of texts that nothing has to be done about, as nearly all columns of ids are."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from gbdtlr.compute.compiled import kernel, read_only
from gbdtlr.values.arrays import text_parts


def is_ascii(texts: pa.Array) -> bool:
    """Whether a string array has no byte beyond ASCII, and so is UTF-8; what stands behind nulls is looked at too."""
    data, offsets = text_parts(texts)
    data = data[offsets[0] : offsets[-1]]
    return not len(data) or bool(data.max() < 128)


def is_plain(texts: pa.Array) -> bool:
    """Whether a string array is ASCII, has no nulls, and none of its texts has a second spelling.

    One that has is empty, a truth value by its length and last letter, or a float, and so has a point or a plus. Of
    columns that hold no such text either some are not plain, and :mod:`gbdtlr.values.categories` looks closer.
    """
    return not texts.null_count and bool(_is_plain(*(read_only(each) for each in text_parts(texts))))


@kernel()
def _is_plain(data: Any, offsets: Any) -> Any:
    odd = False
    for byte in data[offsets[0] : offsets[-1]]:
        odd |= (byte >= 128) | (byte == ord(".")) | (byte == ord("+"))
    for i in range(len(offsets) - 1):
        start, end = offsets[i], offsets[i + 1]
        odd |= (start < 0) | (start >= end) | (end > len(data))  # empty, or no array that Arrow would make
        if (end - start == 4 or end - start == 5) and 0 < end <= len(data):
            odd |= (data[end - 1] | 32) == ord("e")
    return not odd
