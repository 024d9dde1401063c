"""Embeddings: frozen vectors of items - how they are trained, rotated onto the version before, kept and looked up."""

from gbdtlr.embeddings.brought import read_vectors
from gbdtlr.embeddings.content import Groups, Pairs
from gbdtlr.embeddings.counts import Counts, Events
from gbdtlr.embeddings.frozen import Embeddings
from gbdtlr.embeddings.keys import key_of, keys_of
from gbdtlr.embeddings.pmi import Trained, train
from gbdtlr.embeddings.rotate import mean_cosine, rotated_onto, shared

__all__ = [
    "Counts",
    "Embeddings",
    "Events",
    "Groups",
    "Pairs",
    "Trained",
    "key_of",
    "keys_of",
    "mean_cosine",
    "read_vectors",
    "rotated_onto",
    "shared",
    "train",
]
