"""Embedded: the embeddings of a release, known by their manifest, and opened when somebody looks at them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

from gbdtlr.embeddings import Embeddings
from gbdtlr.errors import ConfigError, DamagedError, GbdtlrError
from gbdtlr.store import Store, Version
from gbdtlr.times import parse_time

REMEMBERED = 100
"""Versions in a row that embeddings tell they were turned onto."""


@dataclass(frozen=True)
class Embedded:
    """A version of embeddings in a store.

    An update that carries them along reads their manifest and nothing more: a bucket's are fetched by who needs them.

    Attributes
    ----------
    name : of the version
    manifest : of it
    as_of : the moment up to which they know labels
    store : where they are
    """

    name: str
    manifest: Mapping[str, Any]
    as_of: datetime
    store: Store

    @classmethod
    def load(cls, store: Store, name: str) -> Embedded:
        """The version of that name; raise DamagedError or FormatError if there is none that can be trusted."""
        return cls._of(store, name, store.read_manifest("embeddings", name))

    @classmethod
    def of(cls, store: Store, version: Version) -> Embedded:
        """A version that was just written."""
        return cls._of(store, version.name, version.manifest)

    @classmethod
    def _of(cls, store: Store, name: str, manifest: Mapping[str, Any]) -> Embedded:
        try:
            as_of = parse_time(manifest["as_of"])
        except (ValueError, KeyError, TypeError, ConfigError) as error:
            raise DamagedError(f"the manifest of embeddings/{name} is damaged: {error}") from None
        return cls(name, manifest, as_of, store)

    @cached_property
    def vectors(self) -> Embeddings:
        """They themselves, mapped from the disk.

        Raises
        ------
        DamagedError, FormatError, StoreUnavailable
            They cannot be opened here; the message names the version.
        """
        try:
            return Embeddings.open(self.store.places("embeddings", self.name))
        except GbdtlrError as error:
            raise type(error)(f"embeddings/{self.name} cannot be used: {error}") from error

    @property
    def lineage(self) -> list[str]:
        """Names of versions whose vectors lie as these do, these first: what was learned from any of them fits all."""
        turned = self.manifest.get("turned_onto")
        return [self.name, *(turned if isinstance(turned, list) else [])][:REMEMBERED]

    def tie(self) -> dict[str, Any]:
        """What ties a head to them, for its manifest: their version, and the hash of every file of it."""
        return {"name": self.name, "files": {name: file["sha256"] for name, file in self.manifest["files"].items()}}
