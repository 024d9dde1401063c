"""Code of kernels is found wherever it was kept, is kept where that can be, and is never another's."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numba
import pytest

import gbdtlr
from gbdtlr.compute import compiled, kept
from gbdtlr.compute.compiled import _sources, kernel
from gbdtlr.compute.cpus import GENERIC, LEVELS, environment, reached
from gbdtlr.errors import ConfigError

ROOT = Path(gbdtlr.__file__).parents[1]
SOURCE = """
from gbdtlr.compute.compiled import kernel

STEP = {}


@kernel()
def step(x):
    return x + STEP
"""


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "cache"))
    file = tmp_path / "made.py"
    file.write_text(SOURCE.format(1))
    return file


def load(source: Path) -> Any:
    """The kernel as a process that has just begun finds it."""
    _sources.cache_clear()
    spec = importlib.util.spec_from_file_location(source.stem, source)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.step


def hits(compiled: Any) -> int:
    return sum(compiled.stats.cache_hits.values())


def test_code_is_compiled_once_for_each_type(source: Path) -> None:
    first = load(source)
    assert (first(1), first(1.5), hits(first)) == (2, 2.5, 0)
    again = load(source)
    assert (again(1), again(1.5), again(1j), hits(again)) == (2, 2.5, 1 + 1j, 2)
    assert Path(again.stats.cache_path).parent == source.parent / "cache"


def test_processes_that_compile_at_once_spoil_nothing(source: Path) -> None:
    one, other = load(source), load(source)
    assert (one(1), other(1.5)) == (2, 2.5)
    both = load(source)
    assert (both(1), both(1.5), hits(both)) == (2, 2.5, 2)


def test_damaged_code_is_compiled_anew(source: Path) -> None:
    load(source)(1)
    (file,) = source.parent.glob("cache/*/*.nbc")
    whole = file.read_bytes()
    for damaged in (b"", whole[:-100], b"x" + whole):
        file.write_bytes(damaged)
        again = load(source)
        assert (again(1), hits(again)) == (2, 0)
        assert file.read_bytes() != damaged


def test_times_of_files_do_not_count(source: Path) -> None:
    load(source)(1)
    os.utime(source, (1, 1))
    again = load(source)
    assert (again(1), hits(again)) == (2, 1)


def test_code_of_other_sources_is_not_used_and_does_not_stay(source: Path) -> None:
    load(source)(1)
    (before,) = source.parent.glob("cache/*/*.nbc")
    source.write_text(SOURCE.format(2))
    changed = load(source)
    assert (changed(1), hits(changed)) == (3, 0)
    (after,) = source.parent.glob("cache/*/*.nbc")
    assert after != before


def test_code_is_stale_when_a_source_it_is_made_of_has_changed(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    helper = source.with_name("helper.py")
    monkeypatch.setattr(compiled, "_imported", lambda text: [helper] if "STEP" in text else [])
    for text, expected in (("1", 0), ("1", 1), ("2", 0)):
        helper.write_text(text)
        step = load(source)
        assert (step(1), hits(step)) == (2, expected)


def cannot_be_written(*_: Any, **__: Any) -> None:
    raise PermissionError(13, "Permission denied")


def test_what_was_kept_is_found_where_nothing_can_be_written(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load(source)(1)
    monkeypatch.setattr(kept._caching.IndexDataCacheFile, "_save_data", cannot_be_written)
    again = load(source)
    assert (again(1), hits(again)) == (2, 1)
    assert (again(1.5), hits(again)) == (2.5, 1)
    assert len([*source.parent.glob("cache/*/*.nbc")]) == 1


def test_without_a_place_a_kernel_runs_all_the_same(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "mkdir", cannot_be_written)
    compiled = load(source)
    assert (compiled(1), compiled.stats.cache_path) == (2, None)
    names: dict[str, Any] = {}
    exec("def twice(x):\n    return 2 * x\n", names)  # in no file
    assert kernel()(names["twice"])(21) == 42


def test_where_the_package_cannot_be_written_code_is_kept_for_the_user(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(numba.config, "CACHE_DIR", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(source.parent / "home"))
    beside, users = kept.folders(source)
    assert beside == source.parent / "__pycache__"
    assert users.is_relative_to(source.parent / "home")
    save = kept._caching.IndexDataCacheFile._save_data

    def save_unless_beside(file: Any, name: str, data: Any) -> None:
        if Path(file._cache_path) == beside:
            cannot_be_written()
        save(file, name, data)

    monkeypatch.setattr(kept._caching.IndexDataCacheFile, "_save_data", save_unless_beside)
    assert load(source)(1) == 2
    assert not [*beside.glob("*.nbc")]
    again = load(source)
    assert (again(1), hits(again), Path(again.stats.cache_path)) == (2, 1, users)


def test_a_user_without_a_home_gets_no_folder_where_he_stands(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numba.config, "CACHE_DIR", "")
    for name in ("HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    assert kept.folders(source) == [source.parent / "__pycache__"]


# CPUs


def in_process(source: Path, **environ: str) -> int:
    """Times a fresh process, which numba is told these things, finds the code it needs."""
    code = "from made import step; step(1); print(sum(step.stats.cache_hits.values()))"
    paths = os.pathsep.join([str(ROOT), str(source.parent)])
    told = {**os.environ, "PYTHONPATH": paths, "NUMBA_CACHE_DIR": str(source.parent / "cache"), **environ}
    run = subprocess.run([sys.executable, "-c", code], env=told, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return int(run.stdout)


def test_code_for_a_level_serves_a_cpu_that_reaches_it_but_not_one_that_was_named(source: Path) -> None:
    assert in_process(source, **environment(GENERIC)) == 0
    assert in_process(source) == 1
    assert in_process(source, **environment("host")) == 0
    assert in_process(source, **environment("host")) == 1
    assert len([*source.parent.glob("cache/*/*.nbc")]) == 2


def test_levels_are_those_a_cpu_has_all_features_of() -> None:
    def levels(triple: str, *features: str) -> list[str]:
        found = reached((triple, "some-cpu", ",".join(f"+{feature}" for feature in features)))
        assert found[0][1] == "some-cpu"
        return [name for _, name, _ in found[1:]]

    intel = "x86_64-unknown-linux-gnu"
    assert levels(intel) == [GENERIC]
    for n, (name, needed) in enumerate(LEVELS.items()):
        assert levels(intel, *needed) == [*LEVELS][n:]
        if needed:
            assert name not in levels(intel, *needed[1:])
    assert levels("aarch64-unknown-linux-gnu", *LEVELS["x86-64-v4"]) == [GENERIC]
    assert [name for _, name, _ in reached((intel, "some-cpu", "+avx,-sse3"))[1:]] == [GENERIC]


def test_a_cpu_nobody_knows_is_an_error_that_names_the_others() -> None:
    with pytest.raises(ConfigError, match=r"cannot be compiled for z80 here; choose one of host, .*generic"):
        environment("z80")
