"""The slow speed: LightGBM trees, grown once a day, then frozen; samples to the leaves they fall into."""

from gbdtlr.trees.frozen import FrozenTrees
from gbdtlr.trees.rewriting import raw_score, text_with
from gbdtlr.trees.rules import Rules
from gbdtlr.trees.schema import Feature, Schema
from gbdtlr.trees.training import train

__all__ = ["Feature", "FrozenTrees", "Rules", "Schema", "raw_score", "text_with", "train"]
