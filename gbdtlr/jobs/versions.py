"""Versions of what made an artifact, for its manifest."""

from __future__ import annotations

import platform

import numpy as np
import pyarrow as pa

from gbdtlr import __version__


def versions() -> dict[str, str]:
    """Name to version of this package, of Python, and of the libraries that bytes depend on."""
    return {
        "gbdtlr": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "pyarrow": pa.__version__,
    }
