"""The estimator: both speeds behind scikit-learn's interface, in memory, with a door to the store."""

from gbdtlr.sklearn.classifier import GBDTLRClassifier

__all__ = ["GBDTLRClassifier"]
