"""What a kernel is made of, and what it computes where others would raise."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import gbdtlr
from gbdtlr.compute.compiled import _imported, _sources, inline

ROOT = Path(gbdtlr.__file__).parents[1]


def test_multiplying_matrices_is_only_put_off() -> None:
    code = """
import sys
from gbdtlr.compute import compiled
import numba, numpy as np
assert "scipy.linalg" not in sys.modules
assert numba.njit(lambda a: np.dot(a, a))(2 * np.eye(2))[0, 0] == 4
assert numba.njit(lambda a: np.correlate(a, a))(np.ones(3))[0] == 3
assert sys.modules["scipy.linalg.cython_blas"] is not None
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert run.returncode == 0, run.stderr


def test_the_sources_of_a_kernel_are_its_file_and_those_it_takes_names_from(tmp_path: Path) -> None:
    package = Path(gbdtlr.__file__).parent
    sources = set(_imported("from gbdtlr.head.fit.kernels import LANES\nfrom gbdtlr.trees import (\n    kernels,\n)\n"))
    assert sources == {package / "head/fit/kernels.py", package / "trees/kernels.py"}
    assert set(_imported("from gbdtlr.head import Head\n")) == {package / "head/__init__.py"}
    made = tmp_path / "made.py"
    made.write_text("")
    assert _sources(made) != _sources(package / "head/fit/kernels.py")
    assert _sources(package / "head/fit/group_kernels.py") != _sources(package / "head/fit/kernels.py")


def test_division_by_zero_is_that_of_ieee_754() -> None:
    @inline
    def ratio(a: float, b: float) -> float:
        return a / b

    assert ratio(1.0, 0.0) == float("inf")
