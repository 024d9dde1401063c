"""Imports point one way, each heavy library has one door, and the public names are these."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from gbdtlr.cli.group import group

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "gbdtlr"
FILES = sorted(PACKAGE.rglob("*.py"))

# A part may import those of the layers above its own line, and itself.
LAYERS = (
    {"errors"},
    {"compute", "times"},
    {"buckets", "values"},
    {"codec", "config", "engine", "metrics", "tables"},
    {"embeddings", "head", "samples", "store", "trees", "users"},
    {"model", "streams"},
    {"release"},
    {"guess", "jobs", "scoring"},
    {"export", "mlflow", "operate", "replay"},
    {"inspect"},
    {"report", "sklearn"},
    {"serving"},
    {"cli"},
    {"__main__"},
)
WITHIN_A_LAYER = {("trees", "samples"), ("embeddings", "samples")}  # what they are trained on, or read from

# Where a library may be imported at all.
DOORS = {
    "lightgbm": ("trees/",),
    "numba": (
        "compute/",
        "head/fit/kernels.py",
        "head/fit/line_kernels.py",
        "head/online/vectors.py",
        "trees/lanes.py",
    ),
    "llvmlite": ("compute/", "head/fit/line_kernels.py", "head/online/vectors.py", "trees/lanes.py"),
    "click": ("cli/",),
    "confluent_kafka": ("streams/kafka.py",),
    "obstore": ("buckets/", "store/"),
    "sklearn": ("replay/", "sklearn/"),
    "uvicorn": ("serving/server.py", "serving/protocol.py"),
    "httptools": ("serving/protocol.py",),
    "msgspec": ("codec/", "serving/"),
    "mlflow": ("mlflow.py",),
    "onnx": ("export/graph.py",),
    "onnxruntime": ("export/graph.py",),
    "deltalake": ("samples/lakes/delta.py",),
    "duckdb": ("samples/lakes/sql.py",),
    "pyiceberg": ("samples/lakes/iceberg.py",),
    "pickle": ("engine/wire.py",),
    "ray": ("engine/cluster.py",),
}
SLOW_TO_IMPORT = ("joblib", "lightgbm", "pandas", "ray", "scipy", "sklearn")
NOT_FOR_HELP = (*SLOW_TO_IMPORT, "llvmlite", "msgspec", "numba", "numpy", "obstore", "onnx", "pyarrow", "uvicorn")

CLOCKS = {("datetime", "now"), ("datetime", "today"), ("datetime", "utcnow"), ("date", "today")}
CLOCKS |= {("time", name) for name in ("gmtime", "localtime", "time", "time_ns")}


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


def place(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def part(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(nodes: Iterator[ast.AST]) -> Iterator[str]:
    """Full names of all modules, and of what is taken from them, that these statements import."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide where a name comes from"
            yield from (f"{node.module}.{name.name}" for name in node.names)


def at_start(path: Path) -> Iterator[ast.AST]:
    """Statements that run when the module is imported."""
    todo: list[ast.AST] = [parsed(path)]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            todo += node.orelse
        elif not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            yield node
            todo += ast.iter_child_nodes(node)


@pytest.mark.parametrize("path", FILES, ids=place)
def test_imports_point_one_way(path: Path) -> None:
    own = part(path)
    if own == "__init__":
        assert not [name for name in imported(at_start(path)) if name.startswith("gbdtlr")], "the façade is lazy"
        return
    depth = {name: i for i, layer in enumerate(LAYERS) for name in layer}
    assert own in depth, f"give {own} its place among the layers"
    for name in imported(ast.walk(parsed(path))):
        package, _, rest = name.partition(".")
        other = rest.split(".")[0]
        if package != "gbdtlr" or other in ("", "__version__", own) or (own, other) in WITHIN_A_LAYER:
            continue
        assert other in depth, f"{place(path)} imports {name} through the façade"
        assert depth[other] < depth[own], f"{place(path)} imports {name}, which is not below it"


def module(path: Path) -> str:
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    return name.removesuffix(".__init__")


@pytest.mark.parametrize("folder", ["gbdtlr", "benchmarks"])
def test_no_modules_go_in_a_circle(folder: str) -> None:
    """Imports for types alone count too, and those inside of functions."""
    names = {module(path): path for path in (ROOT / folder).rglob("*.py")}
    # A package imports its modules; a module that takes a name of its package's would close the circle.
    needs = {
        name: {
            found if found in names else found.rpartition(".")[0]
            for found in all_imports(path)
            if found in names or found.rpartition(".")[0] in names
        }
        for name, path in names.items()
        if name != "gbdtlr"  # the façade is lazy
    }
    assert list(TopologicalSorter(needs).static_order())


@pytest.mark.parametrize("library", DOORS)
def test_each_heavy_library_has_one_door(library: str) -> None:
    users = [place(path) for path in FILES if library in {name.split(".")[0] for name in all_imports(path)}]
    assert [user for user in users if not user.startswith(DOORS[library])] == []


def all_imports(path: Path) -> list[str]:
    return list(imported(ast.walk(parsed(path))))


@pytest.mark.parametrize("path", FILES, ids=place)
def test_what_is_slow_to_import_is_imported_where_it_is_used(path: Path) -> None:
    if part(path) == "sklearn":  # an estimator is one of scikit-learn's, so nobody has it without
        return
    assert [name for name in imported(at_start(path)) if name.split(".")[0] in SLOW_TO_IMPORT] == []


@pytest.mark.parametrize("path", FILES, ids=place)
def test_only_the_doors_read_the_wall_clock(path: Path) -> None:
    reads = {
        (node.value.id, node.attr)
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
    }
    from_time = [name for name in all_imports(path) if tuple(name.split(".")) in CLOCKS]
    if place(path) not in ("__init__.py", "cli/session.py", "scoring/scorer.py"):  # health() of a service tells ages
        assert not reads & CLOCKS
        assert not from_time


def loaded_by(code: str, *args: str) -> set[str]:
    """Top-level modules in memory after a fresh interpreter has run the code."""
    report = "; import json, sys; sys.stderr.write(json.dumps(sorted({name.split('.')[0] for name in sys.modules})))"
    run = subprocess.run(
        [sys.executable, "-c", code + report, *args], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return set(json.loads(run.stderr))


@pytest.mark.parametrize(
    "args", [["--help"], ["--version"], *([name, "--help"] for name in group.commands)], ids=" ".join
)
def test_help_imports_nothing_heavy(args: list[str]) -> None:
    loaded = loaded_by("from gbdtlr.cli import main; assert main() == 0", *args)
    assert "click" in loaded
    assert sorted(loaded & set(NOT_FOR_HELP)) == []


@pytest.mark.parametrize("module", ["gbdtlr.jobs.update_lr", "gbdtlr.scoring", "gbdtlr.operate.status"])
def test_the_fast_job_and_scoring_import_nothing_slow(module: str) -> None:
    loaded = loaded_by(f"import {module}")
    assert "numba" in loaded
    assert sorted(loaded & set(SLOW_TO_IMPORT) - {"scipy"}) == []  # numba itself looks whether there is a scipy


def test_importing_gbdtlr_imports_nothing() -> None:
    assert sorted(loaded_by("import gbdtlr") & {*NOT_FOR_HELP, "click"}) == []


def test_the_public_names_are_these() -> None:
    import gbdtlr

    names = [
        "Config",
        "GbdtlrError",
        "Scorer",
        "__version__",
        "score_file",
        "train_embeddings",
        "train_trees",
        "update_lr",
    ]
    assert sorted(gbdtlr.__all__) == sorted(names)
    assert set(names) <= set(dir(gbdtlr))
    assert all(getattr(gbdtlr, name) is not None for name in names)
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        _ = gbdtlr.trian
