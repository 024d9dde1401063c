"""After ``gbdtlr compile`` no command compiles anything."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import gbdtlr
from benchmarks import clickstream, rawclicks
from gbdtlr.cli import main
from gbdtlr.errors import GbdtlrError
from gbdtlr.operate import compiling
from gbdtlr.operate.compiling import compile_kernels
from gbdtlr.operate.rehearsal import HANDFUL, MODELS, steps

ROOT = Path(gbdtlr.__file__).parents[1]
WATCHED = """
import sys
from numba.core import event
from gbdtlr.cli import main

class Listener(event.Listener):
    def on_start(self, event):
        compiled.append((event.data["dispatcher"].py_func.__qualname__, event.data["args"]))

    def on_end(self, event):
        pass

compiled = []
event.register("numba:compile", Listener())
code = main(sys.argv[1:])
sys.exit(f"compiled {compiled}" if compiled else code)
"""
"""The command line, which fails if anything is compiled."""

# A child that says what it is told to, in place of the rehearsal.
SAYS = "import sys\nfor line in {!r}:\n    print(line)\nsys.exit({!r})\n"
DONE = {"kernels": 2, "versions": 3, "compiled": 1, "folders": ["/cache/a", "/cache/b"]}


@pytest.fixture
def child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    def says(*lines: str, end: str | int = 0) -> None:
        (tmp_path / "rehearsal_child.py").write_text(SAYS.format(lines, end))
        monkeypatch.setattr(compiling, "REHEARSAL", "rehearsal_child")
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    return says


def test_steps_are_told_and_what_there_is_in_the_end(child: Any) -> None:
    child(json.dumps({"done": 1, "total": 2, "text": "this"}), "[LightGBM] hello", json.dumps(DONE))
    seen: list[tuple[int, int, str]] = []
    found = compile_kernels("host", lambda *step: seen.append(step))
    assert seen == [(1, 2, "this")]
    assert found == {"cpu": "host", "kernels": 2, "versions": 3, "compiled": 1, "folder": "/cache"}


def test_what_went_wrong_is_told(child: Any) -> None:
    child(end="no room left")
    with pytest.raises(GbdtlrError, match="compiling failed: no room left"):
        compile_kernels("host", print)
    child(json.dumps({**DONE, "folders": ["/cache/a", None]}))
    with pytest.raises(GbdtlrError, match="set NUMBA_CACHE_DIR to one that can be written"):
        compile_kernels("host", print)


def test_the_command_line_tells_it(child: Any, capsys: pytest.CaptureFixture[str]) -> None:
    child(json.dumps(DONE))
    assert main(["compile", "--cpu", "generic"]) == 0
    assert capsys.readouterr().out == "2 kernels in 3 versions for generic, 1 compiled now, in /cache\n"
    assert main(["compile", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["folder"] == "/cache"
    assert main(["compile", "--cpu", "z80"]) == 2
    assert "choose one of host" in capsys.readouterr().err


def test_a_rehearsal_is_the_jobs_themselves(tmp_path: Path) -> None:
    (model,) = (model for model in MODELS if model.n_rows == HANDFUL)
    ends = [step() for step in steps(tmp_path, model)]
    assert [getattr(end, "status", None) for end in ends] == [None, "published", "published", None]


class Machine:
    """A machine whose cache of kernels was filled once, and never again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cache = folder / "cache"
        self.environ = {**os.environ, "PYTHONPATH": str(ROOT), "NUMBA_CACHE_DIR": str(self.cache)}

    def fill(self, *options: str) -> dict[str, Any]:
        command = [sys.executable, "-m", "gbdtlr", "compile", *options, "--json", "-q"]
        run = subprocess.run(command, cwd=self.folder, env=self.environ, capture_output=True, text=True)
        assert run.returncode == 0, run.stderr
        return dict(json.loads(run.stdout))

    def run(self, line: str, stdin: str = "") -> None:
        """Run a command line in the checkout; it may compile nothing."""
        command = [sys.executable, "-c", WATCHED, *line.split()]
        run = subprocess.run(command, cwd=ROOT, env=self.environ, input=stdin, capture_output=True, text=True)
        assert run.returncode == 0, f"{line}: {run.stderr[-2000:]}"

    def kept(self) -> set[Path]:
        return set(self.cache.rglob("*"))


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    machine = Machine(tmp_path_factory.mktemp("machine"))
    found = machine.fill("--cpu", "generic")
    assert found["compiled"] == found["versions"] > found["kernels"] > 15
    assert found["folder"] == str(machine.cache)
    before = machine.kept()
    assert len([file for file in before if file.suffix == ".nbc"]) == found["versions"]
    yield machine
    assert machine.kept() == before, "nothing was kept since"


@pytest.mark.slow
def test_the_quick_start_and_all_that_looks_at_it_compile_nothing(machine: Machine, tmp_path: Path) -> None:
    common, day = f"-c configs/flights.toml --store {tmp_path}/store", "data/flights/2013-02-15.parquet"
    machine.run(f"train-trees {common} --as-of 2013-02-15")
    for hour in (12, 15):
        machine.run(f"update-lr {common} --as-of 2013-02-15T{hour}:00")
    for suffix in ("parquet", "csv", "jsonl"):
        machine.run(f"score {common} {day} -o {tmp_path}/scored.{suffix}")
    machine.run(f"explain {common} {day}")
    machine.run(f"diff {common}")
    machine.run(f"report {common} -o {tmp_path}/report.html")
    machine.run(f"verify {common}")
    machine.run(f"replay {common} --start 2013-02-15 --end 2013-02-16 --lr-every 12h")


@pytest.mark.slow
@pytest.mark.parametrize("n_leaves", [16, 300])
def test_every_way_to_keep_the_head_fresh_compiles_nothing(machine: Machine, tmp_path: Path, n_leaves: int) -> None:
    clickstream.main(["--rows", "150000", "--days", "4", "--out", str(tmp_path / "clicks")])
    text = (ROOT / "configs" / "clickstream.toml").read_text()
    text = text.replace('"data/clicks/"', f'"{tmp_path}/clicks/"').replace('"store-clicks"', f'"{tmp_path}/store"')
    text = text.replace("num_leaves = 16", f"num_leaves = {n_leaves}").replace("= 80", "= 6").replace("= 200", "= 2")
    settings = {
        "grid": "",
        "one": 'half_lives = ["1d"]\nl2 = [30]\n',
        "incremental": 'method = "incremental"\n',
        **{method: f'method = "{method}"\n' for method in ("ftrl", "rda", "fobos")},
    }
    for name, head in settings.items():
        (tmp_path / f"{name}.toml").write_text(text + head)
    machine.run(f"train-trees -c {tmp_path}/grid.toml --as-of 2024-06-06 --force")
    hours = iter(range(1, 24))
    for name in ("grid", "one", "incremental", "incremental"):
        machine.run(f"update-lr -c {tmp_path}/{name}.toml --as-of 2024-06-06T{next(hours):02d}:00 --force")
    # Long after, so much is new that not all of it is looked at.
    machine.run(f"update-lr -c {tmp_path}/incremental.toml --as-of 2024-06-06T20:00 --force")
    machine.run(f"score -c {tmp_path}/grid.toml {tmp_path}/clicks/dt=2024-06-06/hour=00.parquet -o {tmp_path}/s.csv")
    rows = pq.read_table(tmp_path / "clicks/dt=2024-06-06/hour=21.parquet").drop_columns(["ts", "label_ts"]).to_pylist()
    lines = "".join(f"{json.dumps(row)}\n" for row in rows)
    for hour, name in enumerate(("ftrl", "rda", "fobos"), 21):
        machine.run(f"update-lr -c {tmp_path}/{name}.toml --as-of 2024-06-06T{hour}:00 --force")
        store = tmp_path / f"store-{name}"
        machine.run(f"train-trees -c {tmp_path}/{name}.toml --store {store} --as-of 2024-06-06T{hour}:00 --force")
        machine.run(f"learn -c {tmp_path}/{name}.toml --store {store}", stdin=lines)


@pytest.mark.slow
def test_joining_two_logs_compiles_nothing(machine: Machine, tmp_path: Path) -> None:
    rawclicks.main(["--rows", "20000", "--days", "4", "--out", str(tmp_path / "raw")])
    text = (ROOT / "configs" / "rawlogs.toml").read_text().replace('"data/rawclicks/', f'"{tmp_path}/raw/')
    (tmp_path / "raw.toml").write_text(text.replace("= 80", "= 6").replace("= 200", "= 2"))
    common = f"-c {tmp_path}/raw.toml --store {tmp_path}/store"
    machine.run(f"train-trees {common} --as-of 2024-06-06 --force")
    machine.run(f"update-lr {common} --as-of 2024-06-06T01:00 --force")


@pytest.mark.slow
def test_the_first_row_of_numbers_compiles_nothing(machine: Machine, tmp_path: Path) -> None:
    config = tmp_path / "numbers.toml"
    text = (ROOT / "configs" / "flights.toml").read_text()
    config.write_text("\n".join(line for line in text.splitlines() if not line.startswith(("categorical", "wide"))))
    machine.run(f"train-trees -c {config} --store {tmp_path}/store --as-of 2013-02-15")
    code = f"""
import sys
import numpy as np
import gbdtlr
sys.argv[1:] = ["--version"]
scorer = gbdtlr.Scorer.open({str(tmp_path / "store")!r})
names = scorer.loaded.trees.schema.names
scorer.score_row(np.zeros(len(names)), names)
scorer.score_row(np.zeros(len(names), np.float32), names)
scorer.score_row(dict.fromkeys(names, 0))
scorer.score(dict.fromkeys(names, np.zeros(3)))
"""
    watched = WATCHED.replace("code = main(", code + "code = main(")
    run = subprocess.run([sys.executable, "-c", watched], env=machine.environ, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
