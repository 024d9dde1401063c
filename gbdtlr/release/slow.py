"""Slow artifacts as a store has them: what heads are fitted on, tied to and stored under."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from gbdtlr.errors import ConfigError, DamagedError, MismatchError
from gbdtlr.head import DenseColumns, Head, Layout, WideColumns
from gbdtlr.head.dense import NO_DENSE
from gbdtlr.model import Golden, Model
from gbdtlr.release.embedded import Embedded
from gbdtlr.store import Store, Version
from gbdtlr.trees import FrozenTrees

HEAD, GOLDEN = "head.npz", "golden.json"
"""Files of every head; the others are what the next update starts from."""
DENSE = "dense.json"
"""File of trees that are to have heads with dense columns."""


@dataclass(frozen=True)
class Slow:
    """The slow artifacts of a release, with the names and manifests of their versions; immutable.

    Attributes
    ----------
    trees_name : of the trees' version
    trees : they
    trees_manifest : of their version
    trees_as_of : the moment up to which they know labels
    dense : dense columns with the constants that the samples of these trees gave them
    embeddings : those that go with them, if any
    """

    trees_name: str
    trees: FrozenTrees
    trees_manifest: Mapping[str, Any]
    trees_as_of: datetime
    dense: DenseColumns = NO_DENSE
    embeddings: Embedded | None = None

    @classmethod
    def of(cls, version: Version, trees: FrozenTrees | None = None) -> Slow:
        """The slow artifacts in a version of trees, which are read from its files unless they are given.

        Raises
        ------
        DamagedError, FormatError, TreesError
            They cannot be trusted here.
        """
        trees = FrozenTrees.from_files(version.files) if trees is None else trees
        constants = version.files.get(DENSE)
        dense = NO_DENSE if constants is None else DenseColumns.from_json(constants)
        return cls(version.name, trees, version.manifest, as_of_of(version), dense)

    @classmethod
    def load(cls, store: Store, trees: str, embeddings: str | None = None, known: Slow | None = None) -> Slow:
        """The slow artifacts of these names; raises as :meth:`of`.

        Parameters
        ----------
        known : others in memory, whose trees or embeddings are kept where they are the same
        """
        if known is not None and known.names == (trees, embeddings):
            return known
        slow = known if known is not None and known.trees_name == trees else None
        slow = cls.of(store.read_version("trees", trees)) if slow is None else slow
        if embeddings is None:
            return slow.with_embeddings(None)
        same = None if known is None or known.names[1] != embeddings else known.embeddings
        return slow.with_embeddings(Embedded.load(store, embeddings) if same is None else same)

    @property
    def names(self) -> tuple[str, str | None]:
        """Names of the versions, as :attr:`Entry.slow` has them."""
        return self.trees_name, None if self.embeddings is None else self.embeddings.name

    def with_embeddings(self, embeddings: Embedded | None) -> Slow:
        """The same trees with these embeddings, or with none."""
        return replace(self, embeddings=embeddings)

    def ties(self) -> dict[str, Any]:
        """What ties a head to all of them, as keys of its manifest."""
        return {"trees": self.tie(), **({} if self.embeddings is None else {"embeddings": self.embeddings.tie()})}

    def bare(self, wide: WideColumns, dense: DenseColumns = NO_DENSE) -> Model:
        """The model of these alone, under a head of ``wide`` and ``dense`` columns that has learned nothing."""
        return Model.of(self.trees, wide, dense)

    def tie(self) -> dict[str, Any]:
        """What ties a head to the trees, for its manifest: their version, and the hash of every file of it.

        Raises
        ------
        DamagedError
            Their manifest lists no files.
        """
        try:
            files = {name: file["sha256"] for name, file in self.trees_manifest["files"].items()}
        except (KeyError, TypeError, AttributeError):
            raise DamagedError(f"the manifest of trees {self.trees_name} lists no files") from None
        return {"name": self.trees_name, "files": files}

    def model(self, head: Version) -> Model:
        """The model of these and the head of a version fitted on them, its golden rows replayed.

        Raises
        ------
        DamagedError, FormatError, MismatchError
            The head was fitted on others, or does not give here what it gave there; the message says what differs.
        """
        if head.manifest.get("trees") != self.tie():
            raise MismatchError(f"head {head.name} was fitted on other trees than {self.trees_name}")
        if head.manifest.get("embeddings") != self.ties().get("embeddings"):
            raise MismatchError(f"head {head.name} was fitted on other embeddings than {self.names[1] or 'none'}")
        for name in (HEAD, GOLDEN):
            if name not in head.files:
                raise DamagedError(f"head {head.name} has no file {name}")
        weights = Head.from_bytes(head.files[HEAD], Layout.of(self.trees))
        try:
            told = self.dense.chosen(weights.dense.names)
        except KeyError as error:
            raise MismatchError(f"trees {self.trees_name} know no dense column {error}, which the head has") from None
        if not told.same_values(weights.dense):
            raise MismatchError(f"head {head.name} has other constants of dense columns than trees {self.trees_name}")
        model = Model(self.trees, weights)
        Golden.from_bytes(head.files[GOLDEN]).replay(model)
        return model


def as_of_of(version: Version) -> datetime:
    """The moment up to which a version knows labels; ``DamagedError`` if its manifest does not say."""
    try:
        return version.as_of
    except (ValueError, KeyError, TypeError, RecursionError, ConfigError) as error:
        raise DamagedError(f"the manifest of {version.id} is damaged: {error}") from None
