"""Engines: this process, or workers on several machines, behind :class:`~gbdtlr.compute.parts.Parts`."""

from gbdtlr.engine.engine import LOCAL, Engine, Local, OnEvent
from gbdtlr.engine.opening import open_engine

__all__ = ["LOCAL", "Engine", "Local", "OnEvent", "open_engine"]
