"""The fast speed: the logistic regression on leaves, wide ids and dense columns, refitted every few minutes."""

from gbdtlr.head.blend import Record
from gbdtlr.head.codes import Codes, concatenate, pieces
from gbdtlr.head.dense import DenseColumn, DenseColumns
from gbdtlr.head.fit.candidates import Candidates, fit_candidates
from gbdtlr.head.fit.objective import Setting
from gbdtlr.head.head import Head
from gbdtlr.head.layout import Layout
from gbdtlr.head.online.head import OnlineHead, Rule
from gbdtlr.head.past.memory import Memory
from gbdtlr.head.ridges import Prior, Ridges
from gbdtlr.head.wide import WideColumns

__all__ = [
    "Candidates",
    "Codes",
    "DenseColumn",
    "DenseColumns",
    "Head",
    "Layout",
    "Memory",
    "OnlineHead",
    "Prior",
    "Record",
    "Ridges",
    "Rule",
    "Setting",
    "WideColumns",
    "concatenate",
    "fit_candidates",
    "pieces",
]
