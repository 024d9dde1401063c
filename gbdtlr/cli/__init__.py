"""The command line: ``gbdtlr``, ``python -m gbdtlr`` and ``python cli.py`` are this ``run``.

The only place that imports click, reads the wall clock, and turns errors into a line and an exit code. Nothing is
computed here, and what computes is imported by the command that needs it: ``--help`` answers in a moment.
"""

from __future__ import annotations

from gbdtlr.cli.group import main, run

__all__ = ["main", "run"]
