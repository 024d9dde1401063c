"""Metrics of jobs and stores, and the alerts and the dashboard that ask for them."""

from __future__ import annotations

import contextlib
import io
import json
import math
import re
import shutil
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from gbdtlr.cli.group import main
from gbdtlr.config import Config
from gbdtlr.jobs.guards import Check, nearest, told
from gbdtlr.jobs.result import JobResult
from gbdtlr.operate.exposition import Gauge, samples, text
from gbdtlr.operate.job_metrics import LAST_SUCCESS, OUTCOMES, Ended, job_metrics
from gbdtlr.serving.metrics import Metrics, prometheus

ROOT = Path(__file__).parents[2]
RULES, DASHBOARD = ROOT / "docs/prometheus/alerts.yml", ROOT / "docs/prometheus/dashboard.json"
PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason="no promtool here; apt-get install prometheus")
AS_OF = datetime(2024, 3, 5, tzinfo=UTC)

CHECKS = [
    Check("min_samples", 960.0, 100.0),
    Check("volume", 1.02, 0.1, 10.0),
    Check("missing", 0.9, None, 0.75, "column x is missing"),
    Check("worse", -0.02, None, 0.05),
]


def result(status: str = "published") -> JobResult:
    quality = {"rows": 60, "ne": 0.87, "calibration": 1.01}
    metrics = {"progressive": quality, "fit": {**quality, "ne": 0.8}, "late_since_full": 3}
    return JobResult(status, 7, "t", "h", AS_OF, 960, metrics, "", False, told(nearest(CHECKS)))


def ended(outcome: str, at_s: float = 1000.0, **changes: Any) -> Ended:
    end = None if outcome == "error" else result(outcome)
    values = {"command": "update-lr", "store": "s3://m", "candidate": False, "outcome": outcome, "at_s": at_s}
    return Ended(**{**values, "duration_s": 1.5, "result": end, **changes})


def only(exposed: str, name: str) -> float:
    ((_, value),) = samples(exposed, name)
    return value


# The text.


LABELS = st.dictionaries(st.sampled_from(["a", "b", "store"]), st.text(st.characters(exclude_categories=["Cs"])))


@given(labels=LABELS, value=st.floats(-1e300, 1e300) | st.sampled_from([math.inf, -math.inf, math.nan]))
def test_what_is_exposed_is_read_back(labels: dict[str, str], value: float) -> None:
    gauge = Gauge("gbdtlr_x", "About it.")
    gauge.add(value, **labels)
    gauge.add(None, **labels)
    exposed = text([gauge, Gauge("gbdtlr_none", "Nothing.")], own="1")
    found = list(samples(exposed, "gbdtlr_x"))
    if not math.isfinite(value):
        assert exposed == ""
        return
    assert found == [({"own": "1", **labels}, pytest.approx(value, rel=1e-15))]
    assert not list(samples(exposed, "gbdtlr_none"))


@given(st.text())
def test_what_is_no_such_text_has_no_samples(exposed: str) -> None:
    assert list(samples(exposed, LAST_SUCCESS)) == []


# The guards' readings.


def test_of_several_checks_the_one_that_objects_is_told_or_the_nearest_to_it() -> None:
    near, far = Check("volume", 0.2, 0.1, 10.0), Check("volume", 1.0, 0.1, 10.0)
    assert nearest([far, near]) == nearest([near, far]) == {"volume": near}
    objecting = Check("volume", 5.0, 0.1, 10.0, "so")
    assert nearest([near, objecting, far])["volume"] is objecting
    assert told(nearest([*CHECKS, Check("auc", math.nan, 0.4)])) == {
        "min_samples": {"value": 960.0, "low": 100.0, "objects": False},
        "missing": {"value": 0.9, "high": 0.75, "objects": True},
        "volume": {"value": 1.02, "low": 0.1, "high": 10.0, "objects": False},
        "worse": {"value": -0.02, "high": 0.05, "objects": False},
    }


# A job's.


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_a_run_is_told_whatever_came_of_it(outcome: str) -> None:
    before = job_metrics(ended("published", 500.0))
    exposed = job_metrics(ended(outcome), before)
    assert {labels["outcome"]: value for labels, value in samples(exposed, "gbdtlr_job_outcome")} == {
        name: float(name == outcome) for name in OUTCOMES
    }
    assert only(exposed, "gbdtlr_job_last_run_timestamp_seconds") == 1000.0
    assert only(exposed, LAST_SUCCESS) == (500.0 if outcome in ("refused", "error") else 1000.0)
    assert only(exposed, "gbdtlr_job_duration_seconds") == 1.5
    if outcome == "error":
        assert "gbdtlr_job_samples" not in exposed
        return
    assert (only(exposed, "gbdtlr_job_samples"), only(exposed, "gbdtlr_job_late_samples")) == (960, 3)
    assert {labels["of"]: value for labels, value in samples(exposed, "gbdtlr_job_ne")} == {
        "progressive": 0.87,
        "fit": 0.8,
    }
    bounds = {(each["guard"], each["side"]): value for each, value in samples(exposed, "gbdtlr_job_guard_bound")}
    assert bounds[("volume", "low")] == 0.1
    assert ("missing", "low") not in bounds
    assert {each["guard"]: value for each, value in samples(exposed, "gbdtlr_job_guard_objects")}["missing"] == 1.0


def test_the_last_success_is_that_of_the_same_job() -> None:
    other = job_metrics(ended("published", 500.0, command="train-trees"))
    assert LAST_SUCCESS not in job_metrics(ended("error"), other)
    tried = job_metrics(ended("published", 500.0, candidate=True))
    assert LAST_SUCCESS not in job_metrics(ended("error"), tried)
    assert LAST_SUCCESS not in job_metrics(ended("error"), "garbage\n")
    known = job_metrics(ended("error", store=""), job_metrics(ended("published", 500.0)))
    assert 'store="s3://m"' in known, "a config that cannot be read names no store"


# Through the commands.


@pytest.fixture(scope="module")
def told_all(
    tmp_path_factory: pytest.TempPathFactory, make_samples: Callable[..., pa.Table], make_config: Callable[..., Config]
) -> dict[str, str]:
    """What each job and the store tell: of trees, an update, a candidate, a refusal and an error."""
    folder = tmp_path_factory.mktemp("metrics")
    config = folder / "model.toml"
    config.write_text(toml_of(make_config(folder).as_dict()))
    (folder / "samples").mkdir()
    for day in range(4):
        table = make_samples(datetime(2024, 3, 1 + day, tzinfo=UTC))
        parquet.write_table(table, folder / f"samples/{day}.parquet")
    common = ["-c", str(config), "-q"]

    def run(name: str, *args: str) -> int:
        return main([name, "--metrics", str(folder / f"{name}.prom"), *args, *common])

    found = {}
    assert run("train-trees", "--as-of", "2024-03-04") == 0
    assert run("update-lr", "--as-of", "2024-03-04T03:00") == 0
    found["published"] = (folder / "update-lr.prom").read_text()
    assert run("update-lr", "--as-of", "2024-03-04T06:00", "--candidate") == 0
    assert run("update-lr", "--as-of", "2024-03-04T08:00", "--candidate") == 0
    found["candidate"] = (folder / "update-lr.prom").read_text()
    strict = folder / "strict.toml"
    strict.write_text(toml_of(make_config(folder, guard={"min_samples": 1_000_000}).as_dict()))
    assert main(["update-lr", "--metrics", str(folder / "refused.prom"), "-c", str(strict), "-q"]) == 0, "unchanged"
    refused = ["--as-of", "2024-03-04T06:00", "-c", str(strict), "-q"]
    assert main(["update-lr", "--metrics", str(folder / "refused.prom"), *refused]) == 4
    broken = folder / "broken.toml"
    broken.write_text("nonsense")
    shutil.copy(folder / "refused.prom", folder / "error.prom")
    assert main(["update-lr", "--metrics", str(folder / "error.prom"), "-c", str(broken), "-q"]) == 2
    assert main(["hold", *common]) == 0
    for name in ("train-trees", "refused", "error"):
        found[name] = (folder / f"{name}.prom").read_text()
    assert not [path for path in folder.iterdir() if path.name.endswith(".tmp")]
    found["store"] = stdout_of("status", "--format", "prometheus", "--as-of", "2024-03-04T09:00", *common)
    return found


def toml_of(table: dict[str, Any], name: str = "") -> str:
    """The table as TOML, whose values are spelled as JSON's are."""
    plain = {key: value for key, value in table.items() if not isinstance(value, dict)}
    lines = [*([f"[{name}]"] if name else []), *(f"{key} = {json.dumps(value)}" for key, value in plain.items())]
    inner = [toml_of(value, f"{name}.{key}" if name else key) for key, value in table.items() if key not in plain]
    return "\n".join([*lines, *inner]) + "\n"


def stdout_of(*args: str) -> str:
    with contextlib.redirect_stdout(io.StringIO()) as out:
        assert main(list(args)) == 0
    return out.getvalue()


def test_jobs_write_their_file_however_they_end(told_all: dict[str, str]) -> None:
    def outcome(name: str) -> str:
        return next(each["outcome"] for each, value in samples(told_all[name], "gbdtlr_job_outcome") if value)

    assert [outcome(name) for name in ("published", "train-trees", "refused", "error")] == [
        "published",
        "published",
        "refused",
        "error",
    ]
    guards = {each["guard"]: value for each, value in samples(told_all["published"], "gbdtlr_job_guard_value")}
    assert {"min_samples", "worse", "calibration", "auc", "missing"} <= set(guards)
    assert guards["min_samples"] > 100
    refused = {each["guard"]: value for each, value in samples(told_all["refused"], "gbdtlr_job_guard_objects")}
    assert refused["min_samples"] == 1
    bounds = {each["guard"]: value for each, value in samples(told_all["refused"], "gbdtlr_job_guard_bound")}
    assert bounds["min_samples"] == 1_000_000
    assert only(told_all["error"], LAST_SUCCESS) == only(told_all["refused"], LAST_SUCCESS)
    assert {each["track"] for each, _ in samples(told_all["candidate"], "gbdtlr_job_release")} == {"candidate"}
    store = next(each["store"] for each, _ in samples(told_all["published"], "gbdtlr_job_release"))
    assert all(f'store="{store}"' in exposed for exposed in told_all.values())


def test_a_store_tells_what_is_live_tried_and_held(told_all: dict[str, str]) -> None:
    exposed = told_all["store"]
    assert {each["track"]: value for each, value in samples(exposed, "gbdtlr_store_release")} == {
        "live": 2,
        "candidate": 4,
    }
    assert {each["track"]: value for each, value in samples(exposed, "gbdtlr_store_head_age_seconds")} == {
        "live": 6 * 3600,
        "candidate": 3600,
    }
    assert only(exposed, "gbdtlr_store_held") == 1
    assert [(each["command"], value) for each, value in samples(exposed, "gbdtlr_store_refusals")] == [("update-lr", 1)]
    assert {each["track"] for each, _ in samples(exposed, "gbdtlr_store_guard_value")} == {"live", "candidate"}
    for name in ("ne", "calibration", "labels"):
        assert len(list(samples(exposed, f"gbdtlr_store_{name}"))) == 2


@pytest.mark.parametrize("where", ["missing/update.prom", "."])
def test_a_file_that_cannot_be_written_is_told_before_the_job(tmp_path: Path, where: str, capsys: Any) -> None:
    assert main(["update-lr", "--metrics", str(tmp_path / where), "-c", "none.toml"]) == 2
    assert "--metrics: " in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_help_writes_no_metrics(tmp_path: Path) -> None:
    assert main(["update-lr", "--metrics", str(tmp_path / "x.prom"), "--help"]) == 0
    assert main(["update-lr", "--metrics", str(tmp_path / "x.prom"), "--nonsense"]) == 2
    assert list(tmp_path.iterdir()) == []


# The files for Prometheus and Grafana.


def served() -> str:
    """What a service tells once it has answered."""
    metrics = Metrics.alone()
    metrics.own.request("/score", 200, 0.001)
    metrics.own.predicted(0.5)
    metrics.own.set(release=1)
    return prometheus(metrics.sums(), 1e9).decode()


def test_alerts_and_panels_ask_for_what_is_told(told_all: dict[str, str]) -> None:
    exposed = "".join([*told_all.values(), served(), job_metrics(ended("published"))])  # which has late samples
    known = set(re.findall(r"^(gbdtlr_\w+)", exposed, re.MULTILINE))
    asked = {name: set(re.findall(r"gbdtlr_[a-z_0-9]+", file.read_text())) for name, file in FILES.items()}
    assert {name: sorted(names - known) for name, names in asked.items()} == {"rules": [], "dashboard": []}
    assert min(map(len, asked.values())) > 10
    labels = {name for labels in re.findall(r"\{(.*?)\} ", exposed) for name in re.findall(r'(\w+)="', labels)}
    for file in FILES.values():
        for matchers in re.findall(r"gbdtlr_\w+\{(.*?)\}", file.read_text()):
            for name in re.findall(r"(\w+)=~?\\?\"", matchers):
                assert name in labels | {"instance"}, (file.name, name)


FILES = {"rules": RULES, "dashboard": DASHBOARD}


def test_the_dashboard_is_one_that_grafana_takes() -> None:
    board = json.loads(DASHBOARD.read_text())
    panels = board["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels) > 10
    variables = {each["name"] for each in board["templating"]["list"]}
    used = set(re.findall(r"\$\{?(\w+)", DASHBOARD.read_text()))
    assert used <= variables
    cells = [(x, y) for p in panels for g in [p["gridPos"]] for x in range(g["x"], g["x"] + g["w"])
             for y in range(g["y"], g["y"] + g["h"])]  # fmt: skip
    assert len(set(cells)) == len(cells), "no panel lies on another"
    assert max(x for x, _ in cells) < 24


@needs_promtool
def test_promtool_takes_the_rules() -> None:
    checked = subprocess.run([str(PROMTOOL), "check", "rules", str(RULES)], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


@needs_promtool
def test_promtool_takes_the_questions_of_the_panels(tmp_path: Path) -> None:
    """As rules, whose expressions it parses."""
    board = json.loads(DASHBOARD.read_text())
    expressions = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    rules = [{"record": f"x:{i}", "expr": expr} for i, expr in enumerate(expressions)]
    path = tmp_path / "rules.yml"
    path.write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}))  # which is YAML too
    checked = subprocess.run([str(PROMTOOL), "check", "rules", str(path)], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


@needs_promtool
def test_promtool_takes_what_is_told(told_all: dict[str, str]) -> None:
    for exposed in told_all.values():
        command = [str(PROMTOOL), "check", "metrics"]
        checked = subprocess.run(command, input=exposed, capture_output=True, text=True, check=False)
        assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


@needs_promtool
def test_alerts_fire_when_they_should(told_all: dict[str, str], tmp_path: Path) -> None:
    """By promtool's own tests of rules, on series as they are told."""

    def series(exposed: str, name: str, value: str) -> list[dict[str, str]]:
        return [{"series": line.rpartition(" ")[0], "values": value} for line in exposed.splitlines()
                if line.startswith(name)]  # fmt: skip

    def alerts(name: str, at: str, labels: list[dict[str, str]]) -> dict[str, Any]:
        return {"alertname": name, "eval_time": at, "exp_alerts": [{"exp_labels": each} for each in labels]}

    store = next(each["store"] for each, _ in samples(told_all["store"], "gbdtlr_store_held"))
    age = series(told_all["store"], "gbdtlr_store_head_age_seconds", "7200x60")
    refused = [
        {"series": f'gbdtlr_job_outcome{{store="{store}",command="update-lr",track="live",outcome="refused"}}',
         "values": "1x60"}
    ]  # fmt: skip
    held = series(told_all["store"], "gbdtlr_store_held{", "1x60")
    old = {"severity": "critical", "store": store, "track": "live"}
    stop = {"severity": "warning", "store": store, "track": "live", "command": "update-lr", "outcome": "refused"}
    expected = [alerts("GbdtlrHeadIsOld", "40m", [old]), alerts("GbdtlrJobRefused", "40m", [stop])]
    silent = [alerts("GbdtlrHeadIsOld", "40m", []), alerts("GbdtlrJobRefused", "40m", [])]
    tests = [
        {"interval": "1m", "input_series": [*age, *refused], "alert_rule_test": expected},
        {"interval": "1m", "input_series": [*age, *refused, *held], "alert_rule_test": silent},
    ]
    for test in tests:  # what is written about an alert is not compared
        for each in test["alert_rule_test"]:
            each["exp_alerts"] = [{**alert, "exp_annotations": annotations(each["alertname"], store)}
                                  for alert in each["exp_alerts"]]  # fmt: skip
    path = tmp_path / "tests.yml"
    path.write_text(json.dumps({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": tests}))
    checked = subprocess.run([str(PROMTOOL), "test", "rules", str(path)], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def annotations(alert: str, store: str) -> dict[str, str]:
    told = {
        "GbdtlrHeadIsOld": {"summary": f"the live head of {store} is 2h 0m 0s old"},
        "GbdtlrJobRefused": {
            "summary": f"gbdtlr update-lr of {store} is refused by a guard",
            "description": "The release before stays live. gbdtlr_job_guard_objects says which guard, gbdtlr report "
            "what it said.",
        },
    }
    return told[alert]
