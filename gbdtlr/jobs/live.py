"""Live: the live model beside a head in the making, each reading the same rows in its own way."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np

from gbdtlr.config import Config
from gbdtlr.head import Codes, WideColumns
from gbdtlr.model import Model
from gbdtlr.release import Release
from gbdtlr.samples import Samples
from gbdtlr.times import to_us
from gbdtlr.values.arrays import from_numpy


@dataclass(frozen=True)
class Live:
    """The live model and what rows are coded by for a head that may have other wide columns, or another hash of ids.

    Attributes
    ----------
    model : the live one; its bare trees where the configuration no longer reads all of the head's wide columns
    coding : the live trees with the wide columns of the head in the making
    is_whole : whether ``model`` is the live one
    since_us : the live head is judged on rows whose label became known later
    """

    model: Model
    coding: Model
    is_whole: bool
    since_us: int

    @classmethod
    def of(cls, config: Config, base: Release, wide: WideColumns, since: datetime) -> Live:
        """The live model beside a head with the columns ``wide``, to be judged on labels known after ``since``."""
        is_whole = set(base.head.wide.columns) <= set(config.samples.features)
        coding = base.model if base.head.wide == wide else base.model.bare(wide)
        return cls(base.model if is_whole else coding, coding, is_whole, to_us(since))

    @property
    def other(self) -> Model | None:
        """The live model, where it reads rows in another way than the head in the making."""
        return None if self.model.head.wide == self.coding.head.wide else self.model

    def encode(self, samples: Samples) -> Codes:
        """Codes of samples, and beside them, of those it is to be judged on, the live head's own."""
        codes = self.coding.encode(samples)
        if self.other is None:
            return codes
        wide = self.other.head.wide
        beside = np.zeros((len(wide.names), len(samples)), np.uint32)
        new = samples.known_us > self.since_us
        if new.any():
            beside[:, new] = wide.buckets(samples.table.filter(from_numpy(new))).reshape(len(beside), -1)
        return replace(codes, beside=beside)
