"""Kernels are cached where that can be, and compiled anew where it cannot."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numba
import pytest

import gbdtlr
from gbdtlr.compute.compiled import _imported, _sources, inline, kernel


def test_without_a_place_for_the_cache_a_kernel_still_runs() -> None:
    # Source that is in no file has no place for a cache, as a package in a read-only home has none.
    names: dict[str, Any] = {}
    exec("def twice(x):\n    return 2 * x\n", names)
    with pytest.raises(RuntimeError, match="no locator available"):
        numba.njit(cache=True)(names["twice"])
    assert kernel()(names["twice"])(21) == 42


def test_a_user_without_a_home_gets_no_cache_in_the_folder_he_stands_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def three() -> int:
        return 3

    assert kernel()(three).stats.cache_path  # type: ignore[attr-defined]
    monkeypatch.chdir(tmp_path)
    for name in ("HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(numba.config, "CACHE_DIR", "")
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    monkeypatch.setattr(os, "access", lambda *_: False)
    homeless = kernel()(three)
    assert homeless.stats.cache_path is None  # type: ignore[attr-defined]
    assert homeless() == 3
    assert list(tmp_path.iterdir()) == []


def test_kept_code_is_stale_when_another_source_of_the_package_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = tmp_path / "made.py"
    module.write_text("STEP = 1\n\n\ndef step(x):\n    return x + STEP\n")

    def step(constant: int) -> Any:
        names: dict[str, Any] = {}
        exec(compile(module.read_text(), str(module), "exec"), names)
        names["STEP"] = constant  # as if imported from a file that has changed, while this one has not
        return kernel()(names["step"])

    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "cache"))
    first = step(1)  # kept, as numba builds the surroundings of a function anew where none are left of it
    assert first(0) == 1
    again = step(1)
    assert again(0) == 1
    assert again.stats.cache_hits
    monkeypatch.setattr("gbdtlr.compute.compiled._sources", lambda _: "another")
    changed = step(2)
    assert changed(0) == 2
    assert not changed.stats.cache_hits


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
