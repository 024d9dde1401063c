"""Vectors of items: the table ``[embeddings]``."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from gbdtlr.config.checks import at_least, check_lengths, check_names
from gbdtlr.errors import ConfigError

EMBEDDINGS = ("pmi", "file")
"""Methods that vectors of items come by."""
MOST_DIMENSIONS = 256


@dataclass(frozen=True)
class EmbeddingsConfig:
    """The vectors of items. ``pmi`` makes them of the positives of ``window``; ``file`` reads them from ``path``.

    An item with fewer positives than ``min_item_count`` has no vector of its own. Items without one are known by their
    ``content``: the mean of those that share the values of these columns.
    """

    method: str = "pmi"
    path: str | None = None
    window: timedelta = timedelta(days=28)
    dimensions: int = 16
    min_item_count: int = 5
    content: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_lengths("embeddings", self)
        if self.method not in EMBEDDINGS:
            raise ConfigError(f"[embeddings] method is {self.method!r}; choose one of {', '.join(EMBEDDINGS)}")
        if self.method == "file" and not self.path:
            raise ConfigError('[embeddings] method = "file" needs path: parquet files of vectors, with id and vector')
        if self.method != "file" and self.path is not None:
            raise ConfigError('[embeddings] path names the vectors of method = "file", and belongs to no other')
        at_least("[embeddings] dimensions", self.dimensions, 1)
        if self.dimensions > MOST_DIMENSIONS:
            raise ConfigError(f"[embeddings] dimensions must be at most {MOST_DIMENSIONS}, not {self.dimensions}")
        at_least("[embeddings] min_item_count", self.min_item_count, 1)
        check_names("embeddings", "content", self.content)
        if len(set(self.content)) < len(self.content):
            raise ConfigError("[embeddings] content lists a column more than once")
