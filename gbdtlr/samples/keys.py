"""Keys: an error about what a path stands for names the key of the config that has the path."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from gbdtlr.errors import GbdtlrError

_SAMPLES = "[samples] path"  # which errors name that know of no other


@contextmanager
def named_by(key: str) -> Iterator[None]:
    """Have errors that are raised inside name this key; none, where a command was given the path.

    Raises
    ------
    GbdtlrError
        Of the kind that was raised inside.
    """
    try:
        yield
    except GbdtlrError as error:
        told = str(error).replace(_SAMPLES, key or "the path")
        raise type(error)(told if key in told else f"{key}: {told}") from None
