"""The README says what is so: tests, defaults and commands it names are there."""

from __future__ import annotations

import ast
import re
from dataclasses import fields
from pathlib import Path
from xml.etree import ElementTree

import pytest

from gbdtlr.cli.group import group
from gbdtlr.config import Config, GuardConfig, HeadConfig, OnlineConfig, SamplesConfig, TreesConfig

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")
PROMISED = re.findall(
    r"`([a-z_/]+\.py)(?:::(\w+))?`", README[README.index("**What is promised") :].partition("\n## ")[0]
)


@pytest.mark.parametrize(("file", "name"), PROMISED)
def test_each_promise_stands_under_a_test(file: str, name: str) -> None:
    text = (ROOT / "tests" / file).read_text("utf-8")
    names = [node.name for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef)]
    assert any(each.startswith("test_") for each in names)
    assert not name or name in names


def test_each_promise_has_a_test() -> None:
    lines = README[README.index("**What is promised") :].partition("\n## ")[0].splitlines()
    rows = [line for line in lines if line.startswith("| ")][1:]
    assert len(rows) > 10
    assert all("test_" in row for row in rows)


@pytest.mark.parametrize("command", group.commands)
def test_every_command_stands_in_the_readme(command: str) -> None:
    assert re.search(rf"`(gbdtlr )?{command}\b|^gbdtlr {command}\b", README, re.MULTILINE)


def test_defaults_of_the_guards() -> None:
    defaults = GuardConfig()
    for field in fields(defaults):
        value = getattr(defaults, field.name)
        told = f"{value[0]:g} to {value[1]:g}" if isinstance(value, tuple) else f"{value:g}"
        extra = r"[^|]*"
        row = rf"^\| [^|]*`{field.name}`{extra}\| {re.escape(told)} \|"
        assert re.search(row, README, re.MULTILINE), f"{field.name} is {told} by default"


@pytest.mark.parametrize("section", [Config, SamplesConfig, TreesConfig, HeadConfig, OnlineConfig, GuardConfig])
def test_every_key_stands_in_the_readme(section: type) -> None:
    tables = ("samples", "trees", "head", "online", "guard")
    rows = "\n".join(line for line in README.splitlines() if line.startswith("| "))
    assert not [field.name for field in fields(section) if field.name not in tables and f"`{field.name}`" not in rows]


def test_its_picture_is_there_and_the_command_that_makes_it() -> None:
    (picture,) = set(re.findall(r"!\[[^]]+\]\(([^)]+)\)", README))
    svg = (ROOT / picture).read_bytes()
    assert len(svg) < 200_000
    assert ElementTree.fromstring(svg).tag == "{http://www.w3.org/2000/svg}svg"
    assert b"prefers-color-scheme:dark" in svg
    assert f"`python -m benchmarks.replay --picture {picture}`" in README


def test_links_within_the_repository_lead_somewhere() -> None:
    headings = {
        re.sub(r"[^a-z0-9 -]", "", line.lstrip("# ").lower()).replace(" ", "-")
        for line in README.splitlines()
        if line.startswith("#")
    }
    for target in re.findall(r"\]\(([^)\s]+)\)", README):
        if target.startswith("#"):
            assert target[1:] in headings, target
        elif not target.startswith("https://"):
            assert (ROOT / target).exists(), target
