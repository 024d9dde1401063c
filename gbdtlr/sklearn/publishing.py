"""Publishing: what an estimator has learned as a release of a store, and a release as what was learned."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from gbdtlr.config import Config
from gbdtlr.errors import ConfigError
from gbdtlr.jobs.publishing import try_publish_trees
from gbdtlr.release import Release, Slow
from gbdtlr.release.slow import GOLDEN, HEAD
from gbdtlr.sklearn.learning import Learned
from gbdtlr.store import Entry, Store
from gbdtlr.times import format_time


def publish(
    learned: Learned, store: Store, as_of: datetime, config: Config | None, reason: str, *, force: bool
) -> Entry:
    """Make it the store's live release, behind whatever is live; its golden rows are replayed before.

    Embeddings that are live are carried along.

    Parameters
    ----------
    as_of : the moment up to which it knows labels
    config : of the jobs that are to go on from it; that of the estimator if None
    force : publish although the live release knows more

    Raises
    ------
    ConfigError
        The live release knows more.
    StoreError
        The store cannot be written; nothing was published.
    """
    store.ensure_put_if_absent()
    release = learned.release
    made = {} if config is None else {"config": config.as_dict()}
    trees = store.write_version(
        "trees",
        release.trees.to_files(),
        {**learned.trees_manifest, **made},
        release.trees_as_of if learned.dated else as_of,
    )
    slow = Slow.of(trees, release.trees)
    files = {HEAD: release.head.to_bytes(), GOLDEN: release.golden_json, **release.learned}
    ledger = {**learned.head_manifest["ledger"], "until": format_time(as_of), "full_as_of": format_time(as_of)}
    values = {
        "as_of": as_of,
        "trees": slow.trees_name,
        "why": "publish",
        "reason": reason,
        "forced": force,
        "metrics": learned.head_manifest["metrics"],
    }
    while True:
        live = store.live()
        if live is not None and live.as_of > as_of and not force:
            raise ConfigError(
                f"release {live.number} of {store.url} knows labels up to {format_time(live.as_of)}, this estimator up "
                f"to {format_time(as_of)}; fit it on newer rows, or publish it with force=True"
            )
        slow = Slow.load(store, slow.trees_name, None if live is None else live.embeddings, known=slow)
        manifest = {**learned.head_manifest, "ledger": ledger, **made, **slow.ties()}
        head = store.write_version("heads", files, manifest, as_of, under=slow.trees_name)
        slow.model(head)
        entry = try_publish_trees(store, live, {**values, "embeddings": slow.names[1], "head": head.name})
        if entry is not None:
            return entry


def of_release(release: Release, config: Config) -> Learned:
    """A release as an estimator has it, to go on from with these settings."""
    return Learned(
        release,
        config,
        _own(release.trees_manifest),
        _own(release.head_manifest),
        dated=True,
    )


def _own(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """What the caller wrote of a manifest."""
    taken = ("format", "kind", "name", "under", "as_of", "files", "sha256", "trees", "embeddings")
    return {key: value for key, value in manifest.items() if key not in taken}
