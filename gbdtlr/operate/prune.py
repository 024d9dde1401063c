"""Prune: remove what no kept release needs, if the clocks agree on what is young."""

from __future__ import annotations

from datetime import datetime, timedelta

from gbdtlr.errors import StoreError
from gbdtlr.operate.opened import AnyStore, check_not_empty, opened
from gbdtlr.store import PruneReport
from gbdtlr.times import format_duration

SKEW = timedelta(minutes=5)
"""How far this machine's clock may be ahead of the store's when it prunes."""


def prune(
    store: AnyStore,
    now: datetime,
    keep: int,
    min_age: timedelta,
    keep_after: datetime | None = None,
    dry_run: bool = False,
) -> PruneReport:
    """Remove what no kept release needs; see :meth:`Store.prune`.

    Raises
    ------
    NoReleaseError
        The store is empty, or its name is mistyped.
    StoreError
        ``now`` is ahead of the store's own clock, so that what was just written would look old; nothing was removed.
    """
    store = opened(store)
    check_not_empty(store)
    if not dry_run and (ahead := now - store.clock()) > SKEW:
        raise StoreError(
            f"the clock of this machine is {format_duration(timedelta(seconds=round(ahead.total_seconds())))} ahead of "
            "that of the store: what a job is writing now would be taken for old; set the clock right"
        )
    return store.prune(keep, min_age, now, keep_after, dry_run)
