"""The jobs: the only places where trees, head and store meet to write."""

from gbdtlr.jobs.result import JobResult, OnEvent
from gbdtlr.jobs.train_embeddings import train_embeddings
from gbdtlr.jobs.train_trees import train_trees
from gbdtlr.jobs.update_lr import update_lr

__all__ = ["JobResult", "OnEvent", "train_embeddings", "train_trees", "update_lr"]
