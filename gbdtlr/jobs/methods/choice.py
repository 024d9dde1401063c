"""Which method, wide and dense columns a configuration asks for."""

from __future__ import annotations

from collections.abc import Sequence

from gbdtlr.config import Config
from gbdtlr.errors import ConfigError, SchemaError
from gbdtlr.head import DenseColumn, DenseColumns, WideColumns
from gbdtlr.head.dense import NO_DENSE
from gbdtlr.jobs.methods.method import Method
from gbdtlr.jobs.methods.online import Online, rule_of
from gbdtlr.jobs.methods.refit import Incremental, Refit
from gbdtlr.release import Slow


def method_of(config: Config, slow: Slow) -> Method:
    """The method the configuration names, for heads on these slow artifacts; raises as :func:`dense_of`."""
    wide, dense = wide_of(config), dense_of(config, slow)
    if config.head.method == "refit":
        return Refit(config.head, wide, dense)
    if config.head.method == "incremental":
        return Incremental(config.head, wide, dense)
    return Online(rule_of(config.head), wide, dense)


def wide_of(config: Config) -> WideColumns:
    """The wide columns the configuration asks for."""
    return WideColumns(config.samples.wide, config.head.wide_buckets)


def dense_of(config: Config, slow: Slow) -> DenseColumns:
    """The dense columns the configuration asks for, with the constants of these slow artifacts.

    Raises
    ------
    ConfigError
        They have none for one of them, or an anchor has another length than its column.
    """
    known = {column.name: column for column in slow.dense.columns}
    if strangers := [name for name in config.linear if name not in known]:
        raise ConfigError(
            f"[samples] dense or user_score, or [users] replay, names {', '.join(strangers)}, for which the live trees "
            f"({slow.trees_name}) have no centre and scale; run first: gbdtlr train-trees"
        )
    return anchored([known[name] for name in config.linear], config)


def anchored(columns: Sequence[DenseColumn], config: Config) -> DenseColumns:
    """These columns with the configuration's anchors, 1 for a user's score if none is said; ``ConfigError`` where one
    has another length than its column."""
    found, head = [], config.head
    for column in columns:
        own = 1.0 if column.name == config.user_score else 0.0
        try:
            found.append(column.anchored(head.dense_anchor.get(column.name, own)))
        except SchemaError as error:
            raise ConfigError(f"[head] dense_anchor: {column.name} {error}") from None
    return DenseColumns(tuple(found), head.dense_l2) if found else NO_DENSE
