"""The small stream of clicks as one of a shop: users with tastes, items that come in colours."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
from jobs_kit import Columns, config_of, write_stream

from gbdtlr.config import Config, EmbeddingsConfig

N_USERS, N_ITEMS = 30, 40
COLOURS = np.array(["red", "green", "blue", "grey"])


def with_tastes(columns: Columns, rng: np.random.Generator) -> Columns:
    """Users of even and odd numbers, who click what is of their own half; an item's colour is told by its number."""
    n = len(columns["ts"])
    user, item = rng.integers(0, N_USERS, n), np.minimum(rng.geometric(0.06, n) - 1, N_ITEMS - 1)
    margin = 1.2 * columns["x"] + np.where(user % 2 == item % 2, 1.0, -3.0)
    label = (rng.random(n) < 1 / (1 + np.exp(-margin))).astype(np.int8)
    return {**columns, "u": user, "id": item, "c": COLOURS[item % 4], "label": label}


def write_shop(folder: Path, per_hour: int = 40) -> None:
    """Nine days of it."""
    write_stream(folder, with_tastes, per_hour=per_hour)


def shop_of(folder: Path, store: str | None = None, head: dict[str, Any] | None = None, **embeddings: Any) -> Config:
    """Its config."""
    config = config_of(folder, store, **(head or {}))
    settings = {"window": "4d", "dimensions": 4, "min_item_count": 3, **embeddings}
    table = {**config.as_dict(), "embeddings": settings}
    table["samples"] = {**table["samples"], "wide": ["id"], "user": "u", "item": "id"}
    return Config.from_dict(table)


def with_embeddings(config: Config, **changes: Any) -> Config:
    """The config with other settings of the embeddings."""
    return config.replace(embeddings=dataclasses.replace(config.embeddings, **changes))


DEFAULTS = EmbeddingsConfig()
