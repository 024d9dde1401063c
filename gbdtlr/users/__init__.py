"""A user's own state: the weights of a small regression on item vectors, kept by the caller and stepped at once."""

from gbdtlr.users.packed import pack, quantised, unpack
from gbdtlr.users.past import Events
from gbdtlr.users.rule import Rule
from gbdtlr.users.state import State, Unusable, tag_of

__all__ = ["Events", "Rule", "State", "Unusable", "pack", "quantised", "tag_of", "unpack"]
