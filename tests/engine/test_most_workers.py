"""As many workers as nobody means are refused before a cluster is begun."""

from __future__ import annotations

import pytest

from gbdtlr.engine.cluster import call_together
from gbdtlr.errors import EngineError


def test_more_workers_than_a_machine_can_hold_are_refused():
    pytest.importorskip("ray")
    with pytest.raises(EngineError, match="workers of 500 processors in all are asked for on this machine"):
        call_together(None, 1, 500)
