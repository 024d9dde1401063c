"""How a service listens: the table ``[serve]``."""

from __future__ import annotations

import typing
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from gbdtlr.config.checks import at_least
from gbdtlr.config.tables import build, plain
from gbdtlr.errors import ConfigError

UNKNOWN_COLUMNS = ("refuse", "ignore")
"""What a service does with columns that its release does not read."""


@dataclass(frozen=True)
class ServeConfig:
    """How ``gbdtlr serve`` listens, and the most it takes from a client; each key stands in docs/serving.md.

    ``bind`` is ``host:port`` or ``unix:path``. ``max_requests`` counts those a worker has begun and not answered.
    After a signal to end, requests are still taken for ``grace``, and those begun have ``drain`` to be answered.
    """

    bind: str = "127.0.0.1:8000"
    name: str = "gbdtlr"
    workers: int = 1
    refresh: timedelta = timedelta(seconds=30)
    token_file: str | None = None
    user_key_file: str | None = None
    unknown_columns: str = "refuse"
    max_body_bytes: int = 8 * 2**20
    max_header_bytes: int = 32 * 2**10
    max_rows: int = 100_000
    max_requests: int = 128
    header_timeout: timedelta = timedelta(seconds=10)
    body_timeout: timedelta = timedelta(seconds=30)
    idle_timeout: timedelta = timedelta(seconds=75)
    grace: timedelta = timedelta(seconds=2)
    drain: timedelta = timedelta(seconds=30)

    def __post_init__(self) -> None:
        for key in ("workers", "max_body_bytes", "max_rows", "max_requests"):
            at_least(f"[serve] {key}", getattr(self, key), 1)
        at_least("[serve] max_header_bytes", self.max_header_bytes, 1024)
        if self.unknown_columns not in UNKNOWN_COLUMNS:
            raise ConfigError(
                f"[serve] unknown_columns is {self.unknown_columns!r}; choose one of {', '.join(UNKNOWN_COLUMNS)}"
            )
        if not self.name or "/" in self.name:
            raise ConfigError(f"[serve] name must be a name without slashes, not {self.name!r}")

    def as_dict(self) -> dict[str, Any]:
        """The same in JSON's types; :meth:`from_dict` reads it back."""
        return typing.cast(dict[str, Any], plain(self))

    @classmethod
    def from_dict(cls, table: dict[str, Any]) -> ServeConfig:
        """Settings from a table of a TOML file."""
        return typing.cast(ServeConfig, build(cls, table, "serve"))
