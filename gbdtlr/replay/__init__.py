"""Replay: the jobs over a past period, progressively judged, beside the alternatives."""

from gbdtlr.replay.plan import STRATEGIES
from gbdtlr.replay.replay import replay
from gbdtlr.replay.result import ReplayResult

__all__ = ["STRATEGIES", "ReplayResult", "replay"]
