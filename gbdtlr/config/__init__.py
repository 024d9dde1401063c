"""Typed configuration of one model, read from a TOML file: a file for each table, :class:`Config` for all of them."""

from gbdtlr.config.config import Config, check_engine
from gbdtlr.config.embeddings import EmbeddingsConfig
from gbdtlr.config.guard import GuardConfig
from gbdtlr.config.head import METHODS, HeadConfig
from gbdtlr.config.notify import TOLD, NotifyConfig
from gbdtlr.config.online import ONLINE, OnlineConfig
from gbdtlr.config.outcomes import AT_ONCE, UNFINAL, OutcomesConfig
from gbdtlr.config.samples import SamplesConfig
from gbdtlr.config.serve import ServeConfig
from gbdtlr.config.trees import TreesConfig
from gbdtlr.config.users import USER_SCORE, UsersConfig

__all__ = [
    "AT_ONCE",
    "METHODS",
    "ONLINE",
    "TOLD",
    "UNFINAL",
    "USER_SCORE",
    "Config",
    "EmbeddingsConfig",
    "GuardConfig",
    "HeadConfig",
    "NotifyConfig",
    "OnlineConfig",
    "OutcomesConfig",
    "SamplesConfig",
    "ServeConfig",
    "TreesConfig",
    "UsersConfig",
    "check_engine",
]
