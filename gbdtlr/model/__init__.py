"""The model: slow artifacts and the head fitted on them, in memory; of no store, and without names."""

from gbdtlr.model.golden import Golden
from gbdtlr.model.model import Model

__all__ = ["Golden", "Model"]
