"""The fast speed: the logistic regression on leaves and wide ids, refitted every few minutes."""

from gbdtlr.head.blend import Record
from gbdtlr.head.candidates import Candidates, fit
from gbdtlr.head.codes import Codes, concatenate
from gbdtlr.head.head import Head
from gbdtlr.head.memory import Memory
from gbdtlr.head.objective import Setting
from gbdtlr.head.online import OnlineHead, Rule
from gbdtlr.head.wide import WideColumns

__all__ = [
    "Candidates",
    "Codes",
    "Head",
    "Memory",
    "OnlineHead",
    "Record",
    "Rule",
    "Setting",
    "WideColumns",
    "concatenate",
    "fit",
]
