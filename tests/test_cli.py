"""The command line: real files, real stores, and real processes where it is the process that matters."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import pty
import re
import shlex
import shutil
import signal
import subprocess
import sys
import sysconfig
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click
import numpy as np
import pyarrow as pa
import pytest
from pyarrow import csv, parquet

from gbdtlr.cli import main
from gbdtlr.cli.explain import write_page
from gbdtlr.cli.group import group
from gbdtlr.cli.replay import _others
from gbdtlr.config import Config
from gbdtlr.errors import ConfigError

ROOT = Path(__file__).parent.parent
DOORS = (
    [str(Path(sysconfig.get_path("scripts"), "gbdtlr"))],
    [sys.executable, "-m", "gbdtlr"],
    [sys.executable, "cli.py"],
)
COMMANDS = list(group.commands)
JOB_KEYS = [
    *("status", "release", "trees", "head", "embeddings", "as_of", "samples", "metrics", "reason"),
    *("candidate", "guards"),
]
CONFIG = """
store = "store"
threads = 1
[samples]
path = "data"
event_time = "ts"
label_delay = "1h"
timezone = "America/New_York"
numeric = ["x"]
categorical = ["c"]
wide = ["id"]
[trees]
window = "3d"
[trees.params]
num_iterations = 4
num_leaves = 4
min_data_in_leaf = 5
[head]
window = "2d"
half_lives = ["6h"]
l2 = [10]
wide_buckets = 64
[guard]
min_samples = 20
"""
FIRST = datetime(2024, 3, 1)


@dataclass
class Ended:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        assert self.out.count("\n") == 1, "one line, and nothing else on stdout"
        return json.loads(self.out, parse_constant=pytest.fail)

    @property
    def error(self) -> str:
        """The one line this ended with."""
        last = self.err.splitlines()[-1]
        assert last.startswith("gbdtlr: error: ")
        return last


Run = Callable[..., Ended]


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with four days of samples, a file for each, and a config."""
    folder = tmp_path_factory.mktemp("samples")
    rng = np.random.default_rng(1)
    Path(folder, "model.toml").write_text(CONFIG)
    Path(folder, "data").mkdir()
    for day in range(4):
        n = 144
        x = rng.normal(size=n)
        columns = {
            "ts": pa.array([FIRST + timedelta(days=day, minutes=10 * i) for i in range(n)], pa.timestamp("us")),
            "label": pa.array((rng.random(n) < 1 / (1 + np.exp(-x))).astype(np.int8)),
            "x": x,
            "c": rng.choice(["red", "green", "blue"], n),
            "id": rng.integers(0, 9, n),
        }
        parquet.write_table(pa.table(columns), Path(folder, f"data/2024-03-0{day + 1}.parquet"))
    return folder


@pytest.fixture(scope="module")
def releases(samples: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with a store: trees of 3 March and two updates after them."""
    folder = shutil.copytree(samples, tmp_path_factory.mktemp("releases") / "x")
    with contextlib.chdir(folder):
        assert main(shlex.split("train-trees -c model.toml --as-of 2024-03-03 -q")) == 0
        assert main(shlex.split("update-lr -c model.toml --as-of 2024-03-03T06:00 -q")) == 0
        assert main(shlex.split("update-lr -c model.toml --as-of 2024-03-03T12:00 -q")) == 0
    return folder


@pytest.fixture
def folder(samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Working folder with samples and a config."""
    shutil.copytree(samples, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(folder: Path, capsys: pytest.CaptureFixture[str]) -> Run:  # noqa: ARG001 - its working folder
    """Run a command line in this process."""

    def run(line: str) -> Ended:
        capsys.readouterr()
        code = main(shlex.split(line))
        out, err = capsys.readouterr()
        return Ended(code, out, err)

    return run


@pytest.fixture
def published(run: Run, releases: Path) -> Run:
    """The same, in a store with three releases."""
    shutil.copytree(releases / "store", "store")
    return run


def start(*args: str, **streams: Any) -> subprocess.Popen[str]:
    """A real process of this command line."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen([sys.executable, "-m", "gbdtlr", *args], text=True, env=environment, **streams)


# Help


@pytest.mark.parametrize("args", [["--help"], ["train-trees", "--help"], ["--version"], []], ids=" ".join)
def test_the_three_doors_answer_alike(args: list[str]) -> None:
    answers = {
        (done.returncode, done.stdout, done.stderr)
        for done in (subprocess.run([*door, *args], cwd=ROOT, capture_output=True) for door in DOORS)
    }
    assert len(answers) == 1


def examples(command: click.Command) -> list[list[str]]:
    """Command lines under ``Example:``, as words, without ``gbdtlr``."""
    assert command.help is not None
    after = command.help.partition("Example:")[2]
    lines = [line.rpartition("| ")[2].strip() for line in after.splitlines()]
    return [shlex.split(line)[1:] for line in lines if line.startswith("gbdtlr ")]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_and_an_example_that_parses(name: str) -> None:
    command = group.commands[name]
    assert command.get_short_help_str(70)[-3:] != "..."
    assert all(option.help for option in command.params if isinstance(option, click.Option))
    found = examples(command)
    assert found
    for words in found:
        assert words[0] == name
        command.make_context(name, words[1:])


def test_the_example_of_the_group_parses() -> None:
    for words in examples(group):
        group.commands[words[0]].make_context(words[0], words[1:])


def test_without_a_command_help_is_an_error(run: Run) -> None:
    ended = run("")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("Usage: gbdtlr")


# Jobs


def test_jobs_write_one_json_object(run: Run) -> None:
    trained = run("train-trees -c model.toml --as-of 2024-03-03 --json").json
    assert list(trained) == JOB_KEYS
    assert (trained["status"], trained["release"]) == ("published", 1)
    updated = run("update-lr -c model.toml --as-of 2024-03-03T06:00 --json").json
    assert list(updated) == JOB_KEYS
    assert (updated["status"], updated["release"]) == ("published", 2)
    assert updated["trees"] == trained["trees"]
    again = run("update-lr -c model.toml --as-of 2024-03-03T06:00 --json")
    assert (again.code, again.json["status"]) == (0, "unchanged")


def test_an_update_loads_nothing_that_it_does_not_use(published: Run) -> None:  # noqa: ARG001 - its store
    line = "-X importtime -m gbdtlr update-lr -q -c model.toml --as-of 2024-03-03T18:00"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ended = subprocess.run([sys.executable, *line.split()], capture_output=True, text=True, env=environment)
    assert (ended.returncode, ended.stdout[:9]) == (0, "published")
    loaded = {told.rpartition("|")[2].strip() for told in ended.stderr.splitlines() if told.startswith("import time:")}
    assert "numba.np.linalg" in loaded, "which looks for scipy.linalg"
    assert sorted(loaded & {"joblib", "lightgbm", "pandas", "scipy.linalg", "scipy.sparse", "sklearn"}) == []


def test_as_of_is_in_the_time_zone_of_the_config(run: Run) -> None:
    trained = run("train-trees -c model.toml --as-of 2024-03-03 --json").json
    assert trained["as_of"] == "2024-03-03T05:00:00Z"
    updated = run("update-lr -c model.toml --as-of 2024-03-03T06:00Z --json").json
    assert updated["as_of"] == "2024-03-03T06:00:00Z"


def test_jobs_are_told_to_people_as_a_table(published: Run) -> None:
    told = published("update-lr -c model.toml --as-of 2024-03-03T18:00").out
    assert told.startswith("published release 4\n\ntrees")
    assert "calibration" in told
    told = published("update-lr -c model.toml --as-of 2024-03-03T18:00").out
    assert told.startswith("unchanged; live is release 4\n")


def test_log_lines_are_json_where_asked(run: Run) -> None:
    ended = run("train-trees -c model.toml --as-of 2024-03-03 --log-format json")
    events = [json.loads(line) for line in ended.err.splitlines()]
    assert all(list(event)[:2] == ["time", "event"] for event in events)
    named = {event["event"]: event for event in events}
    assert named["samples.read"]["rows"] > 0
    assert named["samples.read"]["seconds"] >= 0
    assert named["trees.progress"]["done"] == named["trees.progress"]["total"] == 4
    assert named["job.published"]["release"] == 1
    assert events[-1] == named["job.published"]


def test_quiet_leaves_the_result(run: Run) -> None:
    ended = run("train-trees -c model.toml --as-of 2024-03-03 -q")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.startswith("published release 1")


def test_what_libraries_print_is_not_in_the_result(run: Run) -> None:
    Path("model.toml").write_text(CONFIG.replace("num_leaves = 4", "num_leaves = 4\nverbosity = 2"))
    ended = run("train-trees -c model.toml --as-of 2024-03-03 --json")
    assert ended.json["status"] == "published"
    assert "[LightGBM]" in ended.err


def test_store_option_wins_over_the_config(run: Run) -> None:
    assert run("train-trees -c model.toml --store elsewhere --as-of 2024-03-03").code == 0
    assert Path("elsewhere/releases/00000001.json").exists()
    assert not Path("store").exists()


def test_a_guard_refuses_with_4_and_force_publishes(run: Run) -> None:
    Path("model.toml").write_text(CONFIG.replace("min_samples = 20", "min_samples = 100000"))
    ended = run("train-trees -c model.toml --as-of 2024-03-03 --json")
    assert (ended.code, ended.json["status"]) == (4, "refused")
    assert ended.error.startswith("gbdtlr: error: refused: ")
    assert ended.error.endswith("--force")
    for n, job in enumerate(
        ("train-trees -c model.toml --as-of 2024-03-03", "update-lr -c model.toml --as-of 2024-03-04")
    ):
        forced = run(f"{job} --json --force")
        assert (forced.code, forced.json["status"]) == (0, "published")
        assert run("releases -c model.toml --json").json[n]["forced"] is True
    assert run("update-lr -c model.toml --as-of 2024-03-04T06:00").code == 4


# Operating


def test_status_tells_the_live_release_and_its_age(published: Run) -> None:
    values = published("status -c model.toml --as-of 2024-03-03T13:00 --json").json
    assert values["release"] == 3
    assert values["head_age_s"] == 3600
    assert values["trees_age_s"] == 13 * 3600
    text = published("status -c model.toml --as-of 2024-03-03T13:00").out
    assert "13h old" in text
    assert values["head"] in text


def test_status_takes_ages_now_if_no_time_is_given(published: Run) -> None:
    assert published("status -c model.toml --json").json["head_age_s"] > 365 * 86400


@pytest.mark.parametrize(
    ("limits", "code", "told"),
    [
        ("--max-head-age 1h --max-trees-age 13h", 0, []),
        ("--max-head-age 59m", 4, ["update-lr"]),
        ("--max-trees-age 12h59m", 4, ["train-trees"]),
        ("--max-head-age 1m --max-trees-age 1m", 4, ["update-lr", "train-trees"]),
    ],
)
def test_status_watches_ages(published: Run, limits: str, code: int, told: list[str]) -> None:
    ended = published(f"status -c model.toml --as-of 2024-03-03T13:00 {limits} --json")
    assert ended.code == code
    assert ended.json["release"] == 3
    lines = ended.err.splitlines()
    assert len(lines) == len(told)
    for line, job in zip(lines, told, strict=True):
        assert line.startswith("gbdtlr: error: the live ")
        assert job in line


@pytest.mark.parametrize(("limit", "code"), [("2h", 0), ("30m", 4)])
def test_status_notices_a_head_from_the_future(published: Run, limit: str, code: int) -> None:
    """A clock that was ahead: updates end unchanged till that time comes, and no age is ever too large."""
    ended = published(f"status -c model.toml --as-of 2024-03-03T11:00 --max-head-age {limit}")
    assert ended.code == code
    assert ("dated 1h ahead; set the clocks right, then gbdtlr rollback" in ended.err) == bool(code)
    assert published("update-lr -c model.toml --as-of 2024-03-03T11:00 --json").json["status"] == "unchanged"
    assert published("rollback -c model.toml --as-of 2024-03-03T11:00").code == 0
    assert published("update-lr -c model.toml --as-of 2024-03-03T11:00 --json").json["status"] == "published"


def test_prune_does_not_trust_a_clock_that_is_ahead(published: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    ahead = datetime.now(UTC) + timedelta(days=2)
    monkeypatch.setattr("gbdtlr.cli.operate.wall_clock", lambda: ahead)
    ended = published("prune -c model.toml --keep 1")
    assert ended.code == 1
    assert "the clock of this machine is 2d ahead of that of the store" in ended.error
    assert len(published("prune -c model.toml --keep 1 --dry-run --json").json["versions"]) == 2
    assert published("verify -c model.toml").out.startswith("7 versions and releases checked, 0 damaged")


@pytest.mark.parametrize(
    "command",
    [
        "status",
        "releases",
        "diff",
        "verify",
        "prune --dry-run",
        "rollback 3",
        "update-lr --as-of 2024-03-03T12:00",
        "train-trees --as-of 2024-03-02T12:00",
    ],
)
def test_the_number_of_a_release_is_called_so_everywhere(published: Run, command: str) -> None:
    def keys(value: Any) -> set[str]:
        inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        return set(value if isinstance(value, dict) else ()).union(*map(keys, inner))

    told = published(f"{command} -c model.toml --json")
    assert told.code == 0, told.err
    assert "number" not in keys(told.json)


def test_releases_are_listed_newest_last(published: Run) -> None:
    entries = published("releases -c model.toml --json").json
    assert [entry["release"] for entry in entries] == [1, 2, 3]
    assert [entry["why"] for entry in entries] == ["train-trees", "update-lr", "update-lr"]
    assert published("releases -c model.toml --last 2 --json").json == entries[1:]
    lines = published("releases -c model.toml").out.splitlines()
    assert lines[0].split()[:3] == ["release", "as", "of"]
    assert len(lines) == 5


def test_an_empty_store_says_what_to_run(run: Run) -> None:
    for line in ("update-lr -c model.toml --as-of 2024-03-03", "status -c model.toml", "rollback -c model.toml"):
        ended = run(line)
        assert ended.code == 1
        assert "gbdtlr train-trees" in ended.error


@pytest.mark.parametrize("command", ["releases", "releases --json", "verify", "prune", "prune --dry-run"])
def test_a_store_whose_name_is_mistyped_is_an_error(published: Run, command: str) -> None:
    ended = published(f"{command} --store stroe")
    assert (ended.code, ended.out) == (1, "")
    assert ended.error == "gbdtlr: error: stroe is empty; check its name, or run first: gbdtlr train-trees"
    assert not Path("stroe").exists()


def test_a_store_without_a_release_is_not_empty(published: Run) -> None:
    shutil.rmtree("store/releases")
    assert published("releases -c model.toml --json").json == []
    assert "train-trees" in published("releases -c model.toml").out
    told = published("prune -c model.toml --dry-run").out
    assert told == "would remove 0 (0 bytes); 4 versions stay, as no release in the log says which are needed\n"


def test_an_update_far_ahead_says_that_there_are_no_samples(published: Run) -> None:
    reason = published("update-lr -c model.toml --as-of 2024-03-30T00:00Z --json").json["reason"]
    assert reason == (
        "no samples from 2024-03-28T00:00:00Z up to 2024-03-30T00:00:00Z; "
        "the live head knows the labels up to 2024-03-03T17:00:00Z"
    )
    ended = published("update-lr -c model.toml --as-of 2124-03-30T00:00Z --json")
    assert (ended.code, ended.json["status"]) == (0, "unchanged")
    assert re.search(r"; as_of is [0-9]+d( [0-9]+h)? ahead of this machine's clock$", ended.json["reason"])
    reason = published("update-lr -c model.toml --as-of 2024-03-03T12:01 --json").json["reason"]
    assert reason == "no label became known from 2024-03-03T17:00:00Z up to 2024-03-03T17:01:00Z"


def test_a_long_reason_is_cut_in_the_list_of_releases(published: Run) -> None:
    why = "clicks were counted twice " * 9
    assert published(f'rollback -c model.toml 1 --as-of 2024-03-03T14:00 --reason "{why}"').code == 0
    ended = published("releases -c model.toml")
    assert ended.code == 0, ended.err
    told = ended.out
    assert max(map(len, told.splitlines())) < 180
    assert "clicks were counted twice" in told
    assert published("releases -c model.toml --json").json[3]["reason"] == why


def test_rollback_is_a_release_too(published: Run) -> None:
    back = published('rollback -c model.toml --as-of 2024-03-03T14:00 --reason "worse in town" --json')
    assert (back.code, back.json["status"], back.json["release"]) == (0, "published", 4)
    entries = published("releases -c model.toml --json").json
    assert entries[3]["head"] == entries[1]["head"]
    assert entries[3]["rolled_back_to"] == 2
    assert "worse in town" in entries[3]["reason"]
    assert published("rollback -c model.toml 1 --as-of 2024-03-03T15:00 --json").json["head"] == entries[0]["head"]
    assert "99" in published("rollback -c model.toml 99").error


def test_a_candidate_is_tried_shown_and_promoted(published: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"LOGNAME": "ann", "USER": "ann"}.items():
        monkeypatch.setenv(name, value)
    tried = published('update-lr -c model.toml --as-of 2024-03-03T15:00 --candidate --reason "a try" --json').json
    assert (tried["status"], tried["release"], tried["candidate"]) == ("published", 4, True)
    again = published("update-lr -c model.toml --as-of 2024-03-03T15:00 --candidate").out
    assert again.startswith("unchanged; the candidate is release 4\n")
    told = published("status -c model.toml").out
    assert re.search(r"^release +3$.*^candidate +4$.*^reason +a try$", told, re.MULTILINE | re.DOTALL)
    assert re.search(r"^made by +update-lr by ann@\S+$", told, re.MULTILINE)
    assert re.search(
        r"^ *4 .*update-lr, candidate .* ann@.* a try$", published("releases -c model.toml").out, re.MULTILINE
    )
    assert published("score data -o shadow.csv -c model.toml --release candidate --json").json["release"] == 4
    assert published("explain data -c model.toml --release candidate --json").json["release"] == 4
    assert "--release" in published("score data -o shadow.csv -c model.toml --release newest").error
    assert published("promote -c model.toml --as-of 2024-03-03T16:00 --json").json["release"] == 5
    assert "no candidate stands" in published("promote -c model.toml").error
    assert "no candidate stands" in published("score data -o shadow.csv -c model.toml --release candidate").error
    assert published("withdraw -c model.toml").code == 1


def test_a_hold_ends_jobs_with_4_and_says_how_to_lift_it(published: Run) -> None:
    held = published('hold -c model.toml --as-of 2024-03-03T13:00 --reason "clicks are missing"')
    assert (held.code, held.out.splitlines()[0]) == (0, "held; live is release 3")
    ended = published("update-lr -c model.toml --as-of 2024-03-03T15:00 --force --json")
    assert (ended.code, ended.json["status"], ended.json["release"]) == (4, "refused", 3)
    assert ended.error.startswith("gbdtlr: error: refused: held since 2024-03-03T18:00:00Z by ")
    assert "clicks are missing; lift it with gbdtlr release-hold" in ended.error
    assert "mend the samples" not in ended.error
    assert re.search(r"^held +since .*: clicks are missing$", published("status -c model.toml").out, re.MULTILINE)
    assert re.search(r"^ *4 +.* hold ", published("releases -c model.toml").out, re.MULTILINE)
    assert published("report -c model.toml -o page.html").code == 0
    assert "clicks are missing" in Path("page.html").read_text()
    assert published("release-hold -c model.toml --as-of 2024-03-03T14:00").out.startswith(
        "lifted; live is release 3\n"
    )
    assert published("status -c model.toml --json").json["held"] is None
    assert published("update-lr -c model.toml --as-of 2024-03-03T15:00 --json").json["release"] == 6


def test_verify_finds_what_was_damaged(published: Run) -> None:
    whole = published("verify -c model.toml --json")
    assert whole.code == 0
    assert whole.json["ok"] is True
    assert published("verify -c model.toml").out.endswith("0 damaged\n")
    victim = next(Path("store/trees").glob("*/booster.txt"))
    victim.chmod(0o644)
    victim.write_bytes(victim.read_bytes().replace(b"leaf_value=", b"leaf_value= ", 1))
    damaged = published("verify -c model.toml --json")
    assert damaged.code == 1
    assert damaged.json["ok"] is False
    assert victim.parent.name in published("verify -c model.toml").out


def grown_old() -> None:
    """Date the store's files back."""
    long_ago = datetime(2020, 1, 1).timestamp()
    for path in Path("store").rglob("*"):
        os.utime(path, (long_ago, long_ago))


def test_prune_says_what_it_would_remove_and_removes_it(published: Run) -> None:
    grown_old()
    dry = published("prune -c model.toml --keep 1 --dry-run --json").json
    assert dry["dry_run"] is True
    assert len(dry["versions"]) == 2
    done = published("prune -c model.toml --keep 1 --json").json
    assert done == {**dry, "dry_run": False}
    assert (dry["kept"], dry["needed"], dry["young"]) == (2, 2, 0)
    assert published("prune -c model.toml --keep 1").out.startswith("removed 0 ")
    assert published("verify -c model.toml").code == 0


def test_prune_says_why_versions_stay(published: Run) -> None:
    told = published("prune -c model.toml --keep 1 --dry-run").out
    stay = "4 versions stay: 2 needed by kept releases, 2 younger than --min-age 1d"
    assert told == f"would remove 0 (0 bytes); {stay}\n"
    assert published("prune -c model.toml --keep 1").out == f"removed 0 (0 bytes); {stay}\n"
    assert published("prune -c model.toml").out == "removed 0 (0 bytes); 4 versions stay: 4 needed by kept releases\n"


def test_prune_keeps_what_is_young_or_asked_for(published: Run) -> None:
    def removed(options: str) -> int:
        return len(published(f"prune -c model.toml --keep 1 --dry-run --json {options}").json["versions"])

    assert removed("") == 0
    grown_old()
    assert removed("--keep 3") == 0
    assert removed("--keep-after 2024-03-03T06:00") == 1
    assert removed("--keep-after 2024-03-03") == 0
    assert removed("--min-age 36525d") == 0


# Scoring


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_score_keeps_all_columns_and_adds_two(published: Run, suffix: str) -> None:
    ended = published(f"score -c model.toml data/2024-03-04.parquet -o scores/out.{suffix} --json")
    assert ended.json == {"rows": 144, "release": 3, "output": f"scores/out.{suffix}"}
    rows = parquet.read_table("data/2024-03-04.parquet")
    scored = parquet.read_table("scores/out.parquet") if suffix == "parquet" else csv.read_csv(f"scores/out.{suffix}")
    assert scored.column_names == [*rows.column_names, "probability", "release"]
    assert scored["x"].to_numpy() == pytest.approx(rows["x"].to_numpy())
    assert set(scored["release"].to_pylist()) == {3}
    from gbdtlr.scoring import Scorer

    assert scored["probability"].to_numpy() == pytest.approx(Scorer.open("store").score(rows), abs=1e-12)


@pytest.mark.parametrize("output", ["x.csv", "./x.csv", "link.csv", "hard.csv", "{}/x.csv"])
def test_score_does_not_replace_what_it_reads(published: Run, output: str) -> None:
    csv.write_csv(parquet.read_table("data/2024-03-04.parquet"), "x.csv")
    os.symlink("x.csv", "link.csv")
    os.link("x.csv", "hard.csv")
    before = Path("x.csv").read_bytes()
    output = output.format(Path.cwd())
    for source in ("x.csv", "link.csv", "*.csv"):
        ended = published(f"score -c model.toml {source} -o {output}")
        assert (ended.code, ended.out) == (2, "")
        assert f"cannot write {output}: it is read from" in ended.error
        assert Path("x.csv").read_bytes() == before


def test_one_row_is_no_rows(published: Run) -> None:
    parquet.write_table(parquet.read_table("data/2024-03-04.parquet").slice(0, 1), "one.parquet")
    assert published("score -c model.toml one.parquet -o one.csv").out == "scored 1 row with release 3 into one.csv\n"
    assert "one.parquet has 1 row, so there is no row 1" in published("explain --store store one.parquet --row 1").error


def test_score_with_an_older_release(published: Run) -> None:
    ended = published("score --store store data/2024-03-04.parquet -o out.parquet --release 1")
    assert ended.out == "scored 144 rows with release 1 into out.parquet\n"
    assert set(parquet.read_table("out.parquet")["release"].to_pylist()) == {1}


# Replay


def test_replay_compares_strategies_and_cadences(run: Run) -> None:
    Path("other.toml").write_text(CONFIG.replace("l2 = [10]", "l2 = [100]"))
    period = "--start 2024-03-03 --end 2024-03-03T12:00 --strategy stale-trees --out replayed"
    line = f"replay -c model.toml {period} --lr-every 3h,6h --also other.toml"
    ended = run(f"{line} --json --log-format json")
    assert ended.code == 0
    assert [each["name"] for each in ended.json["strategies"]] == ["two-speed", "stale-trees", "other"]
    assert {"name", "ne", "log_loss", "calibration", "auc", "seconds"} <= set(ended.json["strategies"][0])
    assert ended.json["rows"] == 72
    events = [json.loads(line) for line in ended.err.splitlines()]
    assert {event["event"] for event in events} == {"replay.progress"}
    assert not Path("store").exists()
    told = run(line).out
    assert "two-speed" in told
    assert "3h" in told
    assert "enough: trees every 1d, head every" in told


def test_replay_leaves_out_what_has_no_meaning_for_another_method() -> None:
    text = CONFIG.replace("[guard]", 'method = "ftrl"\nfull_every = "1d"\n[head.online]\nmin_occurrences = 3\n[guard]')
    others = _others(Config.from_dict(tomllib.loads(text)), (), ("refit", "incremental", "rda"))
    heads = [each.head for each in others.values()]
    assert [head.method for head in heads] == ["refit", "incremental", "rda"]
    assert [head.full_every for head in heads] == [None, timedelta(days=1), timedelta(days=1)]
    assert [head.online.min_occurrences for head in heads] == [1, 1, 3]


def test_replay_names_the_strategies_there_are(run: Run) -> None:
    ended = run("replay -c model.toml --start 2024-03-03 --end 2024-03-04 --strategy best")
    assert ended.code == 2
    assert "trees-on-schedule" in ended.error


# Errors


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("--nope", "no such option"),
        ("trian-trees", "no such command"),
        ("train-trees", "missing option '-c'"),
        ("train-trees -c", "requires an argument"),
        ("train-trees -c model.toml --as-of yesterday", "--as-of: 'yesterday' is not an iso 8601 time"),
        ("train-trees -c nothing.toml", "cannot read the config nothing.toml"),
        ("train-trees -c nothing.toml", "gbdtlr init writes one"),
        ("embeddings", "missing command; try gbdtlr embeddings --help"),
        ("status", "add -c file or --store url"),
        ("status --store store --max-head-age 3", "'3' is not a duration"),
        ("rollback --store store two", "'two' is not a valid integer"),
        ("score -c model.toml in.csv", "missing option '-o'"),
        ("replay -c model.toml --start 2024-03-02", "missing option '--end'"),
        ("replay -c model.toml --start 2024-03-02 --end 2024-03-03 --lr-every 3h,x", "'x' is not a duration"),
        ("replay -c model.toml --start 2024-03-03 --end 2024-03-02", "--end"),
    ],
)
def test_wrong_usage_is_one_line_and_2(run: Run, line: str, told: str) -> None:
    ended = run(line)
    assert (ended.code, ended.out) == (2, "")
    assert told in ended.error.lower()
    assert ended.err.count("\n") == 1


def test_errors_are_json_among_json_lines(run: Run) -> None:
    ended = run("update-lr -c model.toml --as-of 2024-03-03 --log-format json")
    assert ended.code == 1
    last = json.loads(ended.err.splitlines()[-1])
    assert (last["event"], last["exit_code"]) == ("error", 1)
    assert "gbdtlr train-trees" in last["message"]


@pytest.mark.usefixtures("folder")
def test_quiet_says_an_error_of_lightgbm_once() -> None:
    """Its core writes the error to stderr on its own, too, whatever Python's streams are."""
    Path("model.toml").write_text(CONFIG.replace("num_leaves = 4", "num_leaves = 1"))
    job = start("train-trees", "-c", "model.toml", "--as-of", "2024-03-03", "-q", stderr=subprocess.PIPE)
    told = job.communicate()[1]
    assert job.returncode == 1
    assert told.startswith("gbdtlr: error: LightGBM refused [trees.params]")
    assert told.count("\n") == 1


@pytest.mark.usefixtures("folder")
def test_quiet_does_not_swallow_what_nobody_foresaw() -> None:
    code = (
        "import os, sys, gbdtlr.jobs.train_trees\n"
        "def broken(*_, **__): os.write(2, b'from the core'); raise ZeroDivisionError\n"
        "sys.modules['gbdtlr.jobs.train_trees'].train_trees = broken\n"
        "from gbdtlr.cli import run; run()"
    )
    words = [sys.executable, "-c", code, "train-trees", "-c", "model.toml", "-q"]
    ended = subprocess.run(words, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert ended.returncode == 1
    assert ended.stderr.startswith("from the coreTraceback")


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("told", [b"", b"from the core"])
def test_quiet_ends_as_it_would_where_stderr_cannot_be_written(told: bytes) -> None:
    code = (
        "import os, gbdtlr.cli.group as group\n"
        "from gbdtlr.store import Store\n"
        f"Store.is_empty = lambda *_: os.write(2, {told!r}) < 0\n"
        "group.run()"
    )
    words = [sys.executable, "-c", code, "prune", "--store", "store", "-q"]
    with open(os.devnull, "rb") as not_for_writing:
        ended = subprocess.run(
            words, stdout=subprocess.PIPE, stderr=not_for_writing, env={**os.environ, "PYTHONPATH": str(ROOT)}
        )
    assert ended.returncode == 0
    assert ended.stdout.startswith(b"removed 0")


@pytest.mark.usefixtures("folder")
def test_quiet_works_where_nothing_can_be_written() -> None:
    code = (
        "import tempfile, gbdtlr.cli.group as group\n"
        "from gbdtlr.store import Store\n"
        "def no_folder(*_, **__): raise FileNotFoundError(2, 'No usable temporary directory found')\n"
        "tempfile.TemporaryFile = no_folder\n"
        "Store.is_empty = lambda *_: False\n"
        "group.run()"
    )
    words = [sys.executable, "-c", code, "prune", "--store", "store", "-q"]
    ended = subprocess.run(words, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.parametrize(("asked", "used"), [({}, "system"), ({"ARROW_DEFAULT_MEMORY_POOL": "mimalloc"}, "mimalloc")])
def test_memory_is_the_c_librarys_unless_another_is_asked_for(asked: dict[str, str], used: str) -> None:
    code = (
        "import gbdtlr.cli.group as group\n"
        "def told(**_): import pyarrow; print(pyarrow.default_memory_pool().backend_name); return 0\n"
        "group.main = told\n"
        "group.run()"
    )
    others = {name: value for name, value in os.environ.items() if name != "ARROW_DEFAULT_MEMORY_POOL"}
    environment = {**others, **asked, "PYTHONPATH": str(ROOT)}
    assert subprocess.check_output([sys.executable, "-c", code], text=True, env=environment).strip() == used


def test_what_nobody_foresaw_shows_its_traceback(published: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gbdtlr.operate.status.status", lambda *_: 1 // 0)
    ended = published("status -c model.toml")
    assert ended.code == 1
    assert ended.err.startswith("Traceback")
    assert "ZeroDivisionError" in ended.error


@pytest.mark.parametrize(
    ("error", "told"),
    [(OSError(28, "No space left on device", "x"), "No space left on device: 'x'"), (MemoryError(), "out of memory")],
    ids=["disk", "memory"],
)
def test_what_the_machine_lacks_is_no_fault_of_gbdtlr(
    published: Run, monkeypatch: pytest.MonkeyPatch, error: Exception, told: str
) -> None:
    monkeypatch.setattr("gbdtlr.operate.status.status", lambda *_: throw(error))
    ended = published("status -c model.toml")
    assert ended.code == 1
    assert told in ended.error
    assert "Traceback" not in ended.err


def throw(error: Exception) -> None:
    raise error


def test_the_end_of_a_file_is_no_interruption(published: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gbdtlr.operate.status.status", lambda *_: throw(EOFError("cut short")))
    ended = published("status -c model.toml")
    assert ended.code == 1
    assert "cut short" in ended.error


def test_scores_that_cannot_be_written_are_an_error(published: Run) -> None:
    Path("locked").write_text("a file, not a folder")
    ended = published("score -c model.toml data/2024-03-04.parquet -o locked/out.parquet")
    assert ended.code == 1
    assert "locked" in ended.error
    assert "Traceback" not in ended.err


def test_warnings_are_events(published: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    import warnings

    def warn(*_: object) -> list[object]:
        warnings.simplefilter("always")
        warnings.warn("soon gone", FutureWarning, stacklevel=1)
        return []

    monkeypatch.setattr("gbdtlr.operate.releases.releases", warn)
    ended = published("releases -c model.toml --log-format json --json")
    assert json.loads(ended.err)["message"] == "soon gone"


# Processes


def test_interrupted_leaves_nothing_and_130(folder: Path) -> None:
    Path("model.toml").write_text(CONFIG.replace("num_iterations = 4", "num_iterations = 10000000"))
    job = start(
        *("train-trees", "-c", "model.toml", "--as-of", "2024-03-03"),
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(
            signal.SIGINT, signal.SIG_DFL
        ),  # ignored where the tests run in the background
    )
    assert job.stderr is not None
    assert "samples.read" in job.stderr.readline()
    job.send_signal(signal.SIGINT)
    told = job.communicate()[1]
    assert job.returncode == 130
    assert told.splitlines()[-1] == "gbdtlr: error: interrupted"
    assert not list(folder.glob("store/releases/*"))


def test_a_reader_that_leaves_ends_it_quietly(published: Run) -> None:
    assert published("releases -c model.toml").code == 0
    reader, writer = os.pipe()
    os.close(reader)
    command = start("releases", "-c", "model.toml", stdout=writer, stderr=subprocess.PIPE)
    os.close(writer)
    assert command.communicate()[1] == ""
    assert command.returncode == 141


def test_a_job_whose_log_nobody_reads_still_publishes(folder: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    job = start("train-trees", "-c", "model.toml", "--as-of", "2024-03-03", stdout=subprocess.PIPE, stderr=writer)
    os.close(writer)
    assert job.communicate()[0].startswith("published release 1")
    assert job.returncode == 0
    assert list(folder.glob("store/releases/*.json"))


def test_a_job_with_closed_streams_publishes(folder: Path) -> None:
    words = [sys.executable, "-m", "gbdtlr", "train-trees", "-c", "model.toml", "--as-of", "2024-03-03"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(["sh", "-c", f"exec {shlex.join(words)} <&- >&- 2>&-"], env=environment)
    assert done.returncode == 0
    assert list(folder.glob("store/releases/*.json"))


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    ours, theirs = pty.openpty()
    yield ours, theirs
    os.close(ours)


@pytest.mark.usefixtures("folder")
def test_on_a_terminal_trees_grow_in_a_bar(terminal: tuple[int, int]) -> None:
    ours, theirs = terminal
    job = start("train-trees", "-c", "model.toml", "--as-of", "2024-03-03", stdout=subprocess.PIPE, stderr=theirs)
    os.close(theirs)
    seen = b""
    while True:
        try:
            seen += os.read(ours, 65536)
        except OSError:  # the other side is closed
            break
    assert job.communicate()[0].startswith("published release 1")
    drawn = seen.decode().split("\r\x1b[K")
    assert any(part.startswith("[######------------------] 1/4") for part in drawn)
    assert "trees.progress" not in seen.decode()
    assert seen.decode().endswith("\n")


@pytest.mark.parametrize(
    ("option", "told"),
    [
        ("--report locked/page.html", "cannot write locked/page.html: "),
        ("--report data", "cannot write data: it is a folder"),
        ("--out locked", "cannot make the folder locked: "),
        ("--out locked/replayed", "cannot make the folder locked/replayed: "),
    ],
)
def test_a_replay_that_could_not_be_written_does_not_begin(
    run: Run, monkeypatch: pytest.MonkeyPatch, option: str, told: str
) -> None:
    Path("locked").write_text("a file, not a folder")
    module = importlib.import_module("gbdtlr.replay.replay")  # the package's attribute of this name is the function
    monkeypatch.setattr(module._Run, "result", lambda _: pytest.fail("it has begun"))
    ended = run(f"replay -c model.toml --start 2024-03-03 --end 2024-03-03T12:00 {option}")
    assert (ended.code, ended.out) == (2, "")
    assert told in ended.error


def test_a_page_that_would_replace_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is a folder; name a file in it"):
        write_page(str(tmp_path), "page")
    assert not Path(f"{tmp_path}.tmp").exists()
