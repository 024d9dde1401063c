"""Live: the live model beside a head in the making, each reading the same rows in its own way."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np

from gbdtlr.config import Config
from gbdtlr.head import Codes, DenseColumns, WideColumns
from gbdtlr.model import Model
from gbdtlr.release import Release
from gbdtlr.samples import Samples
from gbdtlr.times import to_us
from gbdtlr.values.arrays import from_numpy


@dataclass(frozen=True)
class Live:
    """The live model and what rows are coded by for a head that may have other columns, or another hash of ids.

    Attributes
    ----------
    model : the live one; its bare trees where the configuration no longer reads all of the head's columns
    coding : the live trees with the wide and dense columns of the head in the making
    is_whole : whether ``model`` is the live one
    since_us : the live head is judged on rows whose label became known later
    """

    model: Model
    coding: Model
    is_whole: bool
    since_us: int

    @classmethod
    def of(cls, config: Config, base: Release, wide: WideColumns, dense: DenseColumns, since: datetime) -> Live:
        """The live model beside a head with these columns, to be judged on labels known after ``since``."""
        features, head = {*config.samples.features}, base.head
        is_whole = {*head.wide.columns} <= features and {*head.dense.names} <= {*config.linear}
        is_alike = head.wide == wide and head.dense.same_values(dense)
        coding = base.model if is_alike else base.model.bare(wide, dense)
        return cls(base.model if is_whole else coding, coding, is_whole, to_us(since))

    @property
    def other(self) -> Model | None:
        """The live model, where it reads rows in another way than the head in the making."""
        one, other = self.model.head, self.coding.head
        return None if one.wide == other.wide and one.dense.same_values(other.dense) else self.model

    def encode(self, samples: Samples) -> Codes:
        """Codes of samples, and beside them, of those it is to be judged on, the live head's own."""
        codes = self.coding.encode(samples)
        if self.other is None:
            return codes
        wide, dense = self.other.head.wide, self.other.head.dense
        beside = np.zeros((len(wide.names), len(samples)), np.uint32)
        values = np.zeros((dense.n, len(samples)), np.float32)
        new = samples.known_us > self.since_us
        if new.any():
            rows = samples.table.filter(from_numpy(new))
            beside[:, new] = wide.buckets(rows).reshape(len(beside), len(rows))
            values[:, new] = dense.values(rows).reshape(len(values), len(rows))
        return replace(codes, beside=beside, dense_beside=values)
