"""Replay: the jobs over a past period, progressively judged, beside the alternatives."""

from gbdtlr.replay.replay import STRATEGIES, ReplayResult, replay

__all__ = ["STRATEGIES", "ReplayResult", "replay"]
