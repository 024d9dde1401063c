"""Opened: the store an operator names, and what is asked of it first."""

from __future__ import annotations

import os

from gbdtlr.errors import DamagedError, FormatError, NoReleaseError
from gbdtlr.store import Entry, Standing, Store

AnyStore = str | os.PathLike[str] | Store


def opened(store: AnyStore) -> Store:
    """The store at a path or URL; an open one as it is."""
    return store if isinstance(store, Store) else Store.open(os.fspath(store))


def check_not_empty(store: Store) -> None:
    """Pass only if something is there; ``NoReleaseError`` otherwise."""
    if store.is_empty():
        raise empty(store)


def empty(store: Store) -> NoReleaseError:
    """What to raise of a store where nothing is."""
    return NoReleaseError(f"{store.url} is empty; check its name, or run first: gbdtlr train-trees")


def standing_of(store: Store, at_least: int = 0) -> Standing:
    """Where the log stands; ``NoReleaseError`` if nothing is published."""
    standing = store.standing(at_least)
    if standing is None:
        raise nothing_published(store)
    return standing


def nothing_published(store: Store) -> NoReleaseError:
    """What to raise of a store without a release."""
    return NoReleaseError(f"nothing is published in {store.url} yet; run first: gbdtlr train-trees")


def readable(store: Store, number: int) -> Entry | str:
    """An entry, or what is wrong with it."""
    try:
        return store.entry(number)
    except (DamagedError, FormatError, NoReleaseError) as error:
        return str(error)
