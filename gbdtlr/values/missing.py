"""Missing: what stands for no value at all, whichever library it comes from."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np


def is_missing(value: Any) -> bool:
    """Whether a single value is None, NaN of any kind, NaT, ``numpy.ma.masked``, or pandas' NA."""
    # By their names, so that pandas need not be there.
    if value is None or value is np.ma.masked or type(value).__name__ in ("NAType", "NaTType"):
        return True
    if isinstance(value, (float, np.floating)):
        return bool(value != value)
    if isinstance(value, (np.datetime64, np.timedelta64)):
        return bool(np.isnat(value))
    return isinstance(value, Decimal) and value.is_nan()
