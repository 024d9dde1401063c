"""Schema: what stands in ``schema.json`` and ``golden.json`` beside an exported model."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import gbdtlr
from gbdtlr.head import WideColumns
from gbdtlr.head.wide import MISSING
from gbdtlr.model import Model
from gbdtlr.release import Release
from gbdtlr.times import format_time
from gbdtlr.values.crosses import parts_of
from gbdtlr.values.hashing import hash_of

FORMAT = 1


def about(release: Release) -> dict[str, str]:
    """Where an exported model comes from."""
    entry = release.entry
    return {
        "gbdtlr": gbdtlr.__version__,
        "release": str(entry.number),
        "trees": entry.trees,
        "head": entry.head,
    }


def document(release: Release, model: Model, files: Mapping[str, str], more: Mapping[str, Any]) -> dict[str, Any]:
    """What ``schema.json`` says.

    Parameters
    ----------
    model : what is exported, perhaps without the release's wide columns
    files : sha256 of the files beside it, by name
    more : what only this format has
    """
    schema = model.trees.schema
    return {
        "format": FORMAT,
        **about(release),
        "release": release.entry.number,
        "head_as_of": format_time(release.head_as_of),
        **more,
        "columns": [
            {"name": feature.name, "kind": "numeric"}
            if feature.vocabulary is None
            else {
                "name": feature.name,
                "kind": "categorical",
                "vocabulary": list(feature.vocabulary),
                "unseen": len(feature.vocabulary),
            }
            for feature in schema.features
        ],
        "texts": "as written" if schema.as_written else "one spelling",
        "wide": wide(model.head.wide),
        "left_out": [name for name in release.head.wide.names if name not in model.head.wide.names],
        "sha256": dict(files),
    }


def wide(columns: WideColumns) -> dict[str, Any] | None:
    """How ids become buckets; 64-bit numbers as hexadecimal texts, since JavaScript has none. None without any."""
    if not columns.names:
        return None
    one = hash_of(columns.hash)
    return {
        "hash": columns.hash,
        "n_buckets": columns.n_buckets,
        "missing": hex(MISSING),
        "texts": "as written" if columns.as_written else "one spelling",
        "columns": [{"name": name, "of": parts_of(name), "seed": hex(one(name))} for name in columns.names],
    }


def to_json(value: Mapping[str, Any] | Sequence[Any]) -> bytes:
    """The value as JSON for people and programs; the same bytes for the same value."""
    return (json.dumps(value, ensure_ascii=False, indent=1, allow_nan=False) + "\n").encode()
