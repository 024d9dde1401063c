"""What docs/serving.md quotes is run: its requests to a server of the store it names, its code and its manifests."""

from __future__ import annotations

import contextlib
import io
import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from serving_kit import ROOT, Server, application, ask, serving

from gbdtlr.cli.group import group, main
from gbdtlr.config import ServeConfig
from gbdtlr.serving.metrics import CODES, PROBABILITIES, Metrics, prometheus

PAGE = (ROOT / "docs" / "serving.md").read_text("utf-8")
ADDRESS = "http://127.0.0.1:8000"


def block(language: str, marker: str | None = None) -> str:
    """The block of a language, that which follows a marker where there are several."""
    after = rf"<!-- {marker} -->\n" if marker else ""
    found = re.findall(rf"{after}```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert len(found) == 1, (language, marker)
    return str(found[0])


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The server of the page's first commands, at another port."""
    folder = tmp_path_factory.mktemp("tiny")
    first = re.search(r"```sh\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert first
    commands = [shlex.split(line) for line in first[1].replace("&&", "").splitlines()]
    assert [words[1] for words in commands] == ["train-trees", "update-lr", "serve"]
    with contextlib.chdir(ROOT):
        for words in commands[:2]:
            with contextlib.redirect_stdout(io.StringIO()):
                assert main([*words[1:], "-q", "--store", str(folder / "store")]) == 0
    with serving(folder, str(folder / "store")) as server:
        yield server


@pytest.mark.parametrize("marker", ["score", "wrong"])
@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl here")
def test_the_requests_are_answered_as_it_says(tiny: Server, marker: str) -> None:
    command = block("sh", marker).replace(ADDRESS.removeprefix("http://"), tiny.address.removeprefix("http://"))
    run = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True, timeout=60)
    quoted = re.search(rf"<!-- {marker} -->.*?```json\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert quoted
    expected, found = json.loads(quoted[1]), json.loads(run.stdout)
    assert found.keys() == expected.keys()
    assert {**found, "probability": 0} == {**expected, "probability": 0}
    assert found.get("probability") == pytest.approx(expected.get("probability"), abs=1e-4)


def test_the_client_in_python_scores_a_file(tiny: Server, capsys: pytest.CaptureFixture[str]) -> None:
    code = block("python", "python").replace(ADDRESS, tiny.address)
    with contextlib.chdir(ROOT):
        exec(compile(code, "docs/serving.md", "exec"), {})
    printed = capsys.readouterr().out
    assert printed.startswith("2 ")
    assert len(re.findall(r"\b0\.\d+", printed)) == 5


def test_the_application_it_mounts_answers(store: str) -> None:
    names: dict[str, Any] = {}
    exec(compile(block("python", "mounted").replace("store-tiny", store), "docs/serving.md", "exec"), names)
    assert ask(names["site"], "/model/livez").json["release"] == 5
    names["model"].close()


def test_every_route_it_lists_is_there_and_every_status(store: str) -> None:
    app = application(store)
    routes = re.findall(r"`(GET|POST) (/\S*)`", PAGE)
    assert len(routes) > 12
    for method, path in routes:
        body = {} if method == "POST" else None
        assert ask(app, path, body, method=method).status in (200, 400, 422), path
    told = {int(code) for line in re.findall(r"^\| ([\d, ]+) \|", PAGE, re.MULTILINE) for code in line.split(", ")}
    assert {*CODES} - {200, 307, 499, 500} | {431} == told


def test_every_metric_it_lists_is_there_and_no_other() -> None:
    metrics = Metrics.alone()
    metrics.own.set(release=1, head_as_of_s=1, trees_as_of_s=1, embeddings_as_of_s=1)
    metrics.own.request("/score", 200, 0.1)
    text = prometheus(metrics.sums(), 2).decode()
    table = PAGE[PAGE.index("## Metrics") : PAGE.index("## Running it")]
    named = set(re.findall(r"`(gbdtlr_\w+)", table))
    assert named == set(re.findall(r"^# TYPE (\S+)", text, re.MULTILINE))
    assert PROBABILITIES[-1] == 1


def parsed(words: list[str]) -> dict[str, Any]:
    """Options of a ``gbdtlr serve``."""
    return group.commands["serve"].make_context("serve", words).params


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here")
def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    unit = block("ini")
    gbdtlr = Path(sys.executable).parent / "gbdtlr"
    if not gbdtlr.exists():
        pytest.skip("gbdtlr is not installed as a program")
    unit = unit.replace("/srv/ctr/.venv/bin/gbdtlr", str(gbdtlr)).replace("User=ctr", "User=root")
    (tmp_path / "gbdtlr-serve.service").write_text(unit)
    run = subprocess.run(
        ["systemd-analyze", "verify", str(tmp_path / "gbdtlr-serve.service")],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")


def test_the_unit_waits_as_long_as_the_service_may_take() -> None:
    unit = block("ini")
    stop = re.search(r"^TimeoutStopSec=(\d+)$", unit, re.MULTILINE)
    assert stop
    assert timedelta(seconds=int(stop[1])) > ServeConfig().grace + ServeConfig().drain
    folder = re.search(r"^RuntimeDirectory=(\w+)$", unit, re.MULTILINE)
    started = re.search(r"^ExecStart=\S+/gbdtlr serve (.*)$", unit, re.MULTILINE)
    assert folder
    assert started
    assert parsed(shlex.split(started[1]))["bind"].startswith(f"unix:/run/{folder[1]}/")


def test_the_image_starts_what_there_is() -> None:
    lines = dict(line.split(" ", 1) for line in block("dockerfile").splitlines())
    command = json.loads(lines["ENTRYPOINT"]) + json.loads(lines["CMD"])
    assert command[:2] == ["gbdtlr", "serve"]
    options = parsed(command[2:])
    assert options["bind"] == f"0.0.0.0:{lines['EXPOSE']}"
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    source, target = lines["COPY"].split()
    installed, then = lines["RUN"].split(" && ")
    assert (source, shlex.split(installed)) == (".", ["pip", "install", "--no-cache-dir", f"{target}[serve]"])
    assert "serve" in extras
    name, *words = shlex.split(then)[1:]
    assert group.commands[name].make_context(name, words)


def test_the_deployment_fits_the_image_and_the_service(store: str) -> None:
    deployment = yaml.safe_load(block("yaml"))
    pod = deployment["spec"]["template"]["spec"]
    assert deployment["spec"]["selector"]["matchLabels"] == deployment["spec"]["template"]["metadata"]["labels"]
    (container,) = pod["containers"]
    image = dict(line.split(" ", 1) for line in block("dockerfile").splitlines())
    options = parsed(json.loads(image["ENTRYPOINT"])[2:] + container["args"])
    (mount,) = container["volumeMounts"]
    assert options["token_file"].startswith(mount["mountPath"] + "/")
    assert [volume["name"] for volume in pod["volumes"]] == [mount["name"]]
    assert str(container["ports"][0]["containerPort"]) == image["EXPOSE"]
    app = application(store)
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        asked = container[probe]["httpGet"]
        assert str(asked["port"]) == image["EXPOSE"]
        assert ask(app, asked["path"]).status == 200
    patience = timedelta(seconds=pod["terminationGracePeriodSeconds"])
    assert patience > ServeConfig().grace + ServeConfig().drain
