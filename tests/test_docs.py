"""The documentation says what is so: commands, options, keys, defaults, links and code in it are the product's."""

from __future__ import annotations

import ast
import contextlib
import importlib
import io
import itertools
import json
import math
import re
import shlex
import tomllib
from collections.abc import Iterator
from dataclasses import MISSING, fields, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple
from xml.etree import ElementTree
from zoneinfo import ZoneInfo

import click
import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import pytest
from test_imports import LAYERS

from gbdtlr.cli.group import group, main
from gbdtlr.compute.cpus import HOST, LEVELS
from gbdtlr.config import (
    Config,
    EmbeddingsConfig,
    GuardConfig,
    HeadConfig,
    NotifyConfig,
    OnlineConfig,
    OutcomesConfig,
    SamplesConfig,
    ServeConfig,
    TreesConfig,
    UsersConfig,
)
from gbdtlr.jobs import JobResult
from gbdtlr.samples import Samples, read
from gbdtlr.scoring import Scorer
from gbdtlr.times import format_duration, to_us

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "gbdtlr"
PAGES = MappingProxyType(
    {
        path.relative_to(ROOT).as_posix(): path.read_text("utf-8")
        for path in (ROOT / "README.md", ROOT / "CHANGELOG.md", *ROOT.glob("docs/*.md"), *ROOT.glob("data/*.md"))
    }
)
README = PAGES["README.md"]
MOST_README_LINES = 200

SECTIONS = {
    "Top of the file": Config,
    "[samples]": SamplesConfig,
    "[outcomes]": OutcomesConfig,
    "[trees]": TreesConfig,
    "[embeddings]": EmbeddingsConfig,
    "[head]": HeadConfig,
    "[head.online]": OnlineConfig,
    "[users]": UsersConfig,
    "[guard]": GuardConfig,
    "[serve]": ServeConfig,
    "[notify]": NotifyConfig,
}
NEEDED = '[samples]\npath = "x"\nevent_time = "t"\nlabel_delay = "1h"\nnumeric = ["n"]\n'
TABLES = ("samples", "outcomes", "trees", "embeddings", "head", "online", "guard", "serve", "notify", "users")
OTHERS_OPTIONS = {"--now", "--ftrl", "--no-cache-dir", "--no-install-recommends", "--address"}  # of others' commands


class Block(NamedTuple):
    """A fenced block of a page: its language and its text."""

    page: str
    language: str
    text: str


def blocks(*languages: str) -> list[Block]:
    """Blocks of all pages in these languages."""
    return [
        Block(page, language, text)
        for page, whole in PAGES.items()
        for language, text in re.findall(r"^```(\w*)\n(.*?)^```", whole, re.MULTILINE | re.DOTALL)
        if language in languages
    ]


def prose(text: str) -> str:
    """The page without its blocks."""
    return re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)


def section(page: str, heading: str) -> str:
    """What stands under a heading, up to the next one of any level, without its blocks."""
    found = re.search(rf"^#+ `?{re.escape(heading)}`?\n(.*?)(?=^#|\Z)", prose(PAGES[page]), re.MULTILINE | re.DOTALL)
    assert found, f"{page} has no heading {heading}"
    return found[1]


def rows(text: str) -> list[list[str]]:
    """Cells of the rows of all tables in a text, without their headers."""
    tables = re.findall(r"^\|[^\n]*\n\|[-| ]+\|\n((?:\|[^\n]*\n)+)", text, re.MULTILINE)
    return [[cell.strip() for cell in line.strip("|").split("|")] for table in tables for line in table.splitlines()]


# Shape


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) <= MOST_README_LINES


@pytest.mark.parametrize("page", PAGES)
def test_a_page_begins_with_its_name_and_a_sentence(page: str) -> None:
    name, blank, first = PAGES[page].splitlines()[:3]
    assert name.startswith("# ")
    assert not blank
    assert first[0] in "`[" or first[0].isalpha()


def test_the_readme_leads_to_every_page() -> None:
    linked = set(re.findall(r"\]\((docs/\w+\.md)\)", README))
    assert linked == {page for page in PAGES if page.startswith("docs/")}


def test_the_figures_of_the_readme_are_those_of_the_benchmarks() -> None:
    text = re.sub(r"\]\([^)]*\)", "", section("README.md", "How good and how fast"))
    figures = re.findall(r"\d[\d,]*\.?\d*(?: x \d+)?(?: (?:s|µs|million)\b)?", text)
    assert len(figures) > 10
    told = PAGES["docs/benchmarks.md"] + "1 row, 2 cores, every 3 h"
    assert [figure for figure in figures if figure not in told] == []


def test_its_picture_is_there_and_the_command_that_makes_it() -> None:
    (picture,) = set(re.findall(r"!\[[^]]+\]\(([^)]+)\)", README))
    svg = (ROOT / picture).read_bytes()
    assert len(svg) < 200_000
    assert ElementTree.fromstring(svg).tag == "{http://www.w3.org/2000/svg}svg"
    assert b"prefers-color-scheme:dark" in svg
    assert f"`python -m benchmarks.replay --picture {picture}`" in PAGES["docs/benchmarks.md"]


# Links


def anchors(text: str) -> set[str]:
    """Names GitHub gives to the headings of a page."""
    found: set[str] = set()
    for heading in re.findall(r"^#+ +(.+)$", prose(text), re.MULTILINE):
        name = re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")
        n = 0
        while (unique := f"{name}-{n}" if n else name) in found:
            n += 1
        found.add(unique)
    return found


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(PAGES[page])):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        file = (ROOT / page).parent / path if path else ROOT / page
        assert file.exists(), target
        if anchor:
            assert anchor in anchors(file.read_text("utf-8")), target


# Commands


def command_lines(text: str) -> Iterator[list[str]]:
    """Simple commands of a shell text, as words: split at pipes, ``&&`` and line ends; assignments taken off."""
    lexer = shlex.shlex(text.replace("\\\n", " "), posix=True, punctuation_chars="|&;<>\n")
    lexer.whitespace = " \t\r"
    lexer.whitespace_split = True
    words: list[str] = []
    redirected = False
    for token in lexer:
        if set(token) <= set("|&;\n"):
            if words:
                yield words
            words = []
        elif set(token) <= set("<>"):
            redirected = True
        elif redirected:
            redirected = False
        elif words or not re.match(r"\w+=", token):
            words.append(token)
    if words:
        yield words


class Quoted(NamedTuple):
    """A simple command somewhere in a page; a whole one in a block, where a sentence may leave out what it needs."""

    page: str
    whole: bool
    words: list[str]

    def __str__(self) -> str:
        return f"{self.page}: {' '.join(self.words)}"


def quoted() -> Iterator[Quoted]:
    """All commands of the pages: of shell blocks, crontabs and units, and in backticks."""
    texts = [(block.page, True, block.text) for block in blocks("sh")]
    for block in blocks("cron"):
        lines = [line for line in block.text.splitlines() if not line.startswith("#")]
        texts += [(block.page, True, line.split(None, 5)[5]) for line in lines]
    for block in blocks("ini"):
        # The unit's instances are named by the jobs.
        started = re.findall(r"^ExecStart=(.*)$", block.text, re.MULTILINE)
        units = [line.replace("%i", job) for line in started for job in ("update-lr", "train-trees")]
        texts += [(block.page, True, line) for line in units]
    for block in blocks("dockerfile"):
        texts += [(block.page, True, line) for line in re.findall(r"^RUN (.*)$", block.text, re.MULTILINE)]
    for page, text in PAGES.items():
        texts += [(page, False, code) for code in re.findall(r"`((?:\w+=\S* )*(?:gbdtlr|python) [^`]+)`", prose(text))]
    for page, whole, text in texts:
        for words in command_lines(text):
            yield Quoted(page, whole, [words[0].rpartition("/")[2], *words[1:]])


QUOTED = list(quoted())
OURS = [command for command in QUOTED if command.words[0] == "gbdtlr"]
BENCHMARKS = [command for command in QUOTED if command.words[:2] == ["python", "-m"]]


@pytest.mark.parametrize("command", OURS, ids=str)
def test_quoted_commands_parse(command: Quoted) -> None:
    name, *words = command.words[1:]
    if name in ("--help", "--version"):
        return
    if name == "COMMAND":  # whichever
        assert words == ["--help"]
        return
    parsed = group.commands[name]
    try:
        parsed.make_context(name, ["1" if word in ("N", "A", "B") else word for word in words])
    except click.MissingParameter:
        assert not command.whole
        known = {option for parameter in parsed.params for option in parameter.opts}
        assert [word for word in words if word.startswith("-") and word not in known] == []


@pytest.mark.parametrize("command", BENCHMARKS, ids=str)
def test_quoted_benchmarks_parse(command: Quoted) -> None:
    module = command.words[2]
    home = "benchmarks.__main__" if module == "benchmarks" else module
    importlib.import_module(home).parser().parse_args(command.words[3:])


def test_commands_are_quoted() -> None:
    assert len(OURS) > 25
    assert {command.words[1] for command in OURS} >= {*group.commands} - {"releases", "verify", "prune"}
    assert len(BENCHMARKS) > 8


def test_installs_name_extras_that_exist() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    named = re.findall(r"pip install '\.\[(\w+)\]'", "\n".join(PAGES.values()))
    assert {"bench", "test"} <= set(named) <= set(extras)


def test_the_image_has_what_it_runs() -> None:
    (block,) = [block for block in blocks("dockerfile") if block.page == "docs/operating.md"]
    lines = [line.partition(" ") for line in block.text.splitlines() if not line.startswith("#")]
    assert [name for name, _, _ in lines] == ["FROM", "RUN", "COPY", "RUN", "USER", "WORKDIR", "ENTRYPOINT"]
    said = {name: value for name, _, value in lines}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    version = re.findall(r"\d+", said["FROM"])
    assert [int(part) for part in version] >= [int(part) for part in re.findall(r"\d+", project["requires-python"])]
    source, target = said["COPY"].split()
    assert (source, f"pip install --no-cache-dir {target} && gbdtlr compile" in said["RUN"]) == (".", True)
    (program,) = json.loads(said["ENTRYPOINT"])
    assert program in project["scripts"]


def test_cpus_in_the_docs_are_those_that_can_be_compiled_for() -> None:
    told = "".join(row[0] for row in rows(section("docs/operating.md", "In a container")))
    assert re.findall(r"`(.+?)`", told) == [HOST, *LEVELS]


COMMON = {"--config", "--store", "--json", "--log-format", "--quiet", "--help", "--version"}


def test_common_options_stand_in_the_docs() -> None:
    told = section("docs/commands.md", "Common options")
    assert [option for option in COMMON if f"`{option}`" not in told] == []


@pytest.mark.parametrize("name", group.commands)
def test_every_command_and_option_stands_in_the_docs(name: str) -> None:
    told = section("docs/commands.md", name)
    if "options are\nthose of `train-trees`" in told:
        told += section("docs/commands.md", "train-trees")
    options = {option for parameter in group.commands[name].params for option in parameter.opts if option[:2] == "--"}
    assert [option for option in options - COMMON if f"`{option}`" not in told] == []
    assert re.search(rf"^\| \[`{name}`\]\(#{name}\) \| ", PAGES["docs/commands.md"], re.MULTILINE)


@pytest.mark.parametrize("page", [page for page in PAGES if page != "CHANGELOG.md"])
def test_options_in_the_docs_exist(page: str) -> None:
    ours = {option for command in all_commands() for parameter in command.params for option in parameter.opts}
    modules = ("benchmarks.__main__", "benchmarks.replay", "benchmarks.clickstream", "benchmarks.rawclicks")
    parsers = [importlib.import_module(module).parser() for module in modules]
    theirs = {option for parser in parsers for option in parser._option_string_actions}
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]+", PAGES[page]))
    assert named - ours - theirs - COMMON - OTHERS_OPTIONS == set()


def all_commands() -> Iterator[click.Command]:
    """Commands, and those below them."""
    for command in group.commands.values():
        yield command
        yield from command.commands.values() if isinstance(command, click.Group) else ()


def test_defaults_of_options_are_told() -> None:
    for name, command in group.commands.items():
        told = section("docs/commands.md", name)
        for option in command.params:
            if isinstance(option, click.Option) and option.show_default:
                default = rf"{option.opts[-1]}`[^\n]*\b{option.default}`?,? (if not given|which)"
                assert re.search(default, told), option.opts


def test_the_keys_of_a_jobs_result_are_told() -> None:
    told = "".join(row[0] for row in rows(section("docs/commands.md", "How a command ends")))
    result = JobResult("published", 1, "t", "h", datetime.now(UTC), 1)
    assert [key for key in result.as_dict() if f"`{key}`" not in told] == []


# Configs


@pytest.mark.parametrize("heading", SECTIONS)
def test_every_key_stands_in_its_table_with_its_default(heading: str) -> None:
    table = {
        name: row[1]
        for row in rows(section("docs/configuration.md", heading))
        for name in re.findall(r"`(\w+)`", row[0])
    }
    keys = {key.name: key for key in fields(SECTIONS[heading]) if key.name not in TABLES}
    assert sorted(table) == sorted(keys)
    for name, key in keys.items():
        if key.default is None or key.default_factory is not MISSING:
            assert table[name] in ("", "none", "all", "never", "found", "LightGBM's", "0.1 for `ftrl`, else 1e-6"), name
        elif key.default is MISSING:
            assert table[name] == "", name
        else:
            assert table[name] == spelled(key.default), name


def spelled(default: object) -> str:
    """A default as the tables spell it."""
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    if isinstance(default, tuple):
        if default and isinstance(default[0], str):
            return ", ".join(f"`{each}`" for each in default)
        spelt = [format_duration(each) if isinstance(each, timedelta) else f"{each:g}" for each in default]
        are_bounds = len(spelt) == 2 and isinstance(default[0], float) and default[0] < 1 < default[1]
        return (" to " if are_bounds else ", ").join(spelt).replace("1h30m", "90m") or "none"
    if isinstance(default, timedelta):
        return f'`"{format_duration(default)}"`'
    return f'`"{default}"`' if isinstance(default, str) else f"{default:.12g}"


@pytest.mark.parametrize("block", blocks("toml"), ids=lambda block: block.page)
def test_configs_load(block: Block) -> None:
    Config.from_dict(tomllib.loads(block.text if "[samples]" in block.text else NEEDED + block.text))


def test_keys_in_sentences_exist() -> None:
    known = {key.name for config in SECTIONS.values() for key in fields(config)}
    found = [code for text in PAGES.values() for code in re.findall(r"`(\w+ = [\[\"\d][^`/]*)`", prose(text))]
    assert len(found) > 4
    assert [code for code in found if next(iter(tomllib.loads(code))) not in known] == []


# Code


@pytest.mark.parametrize("block", blocks("python"), ids=lambda block: block.page)
def test_code_compiles_and_imports_what_there_is(block: Block) -> None:
    compile(block.text, block.page, "exec")
    for node in ast.walk(ast.parse(block.text)):
        if isinstance(node, ast.ImportFrom):
            module = importlib.import_module(str(node.module))
            assert [name.name for name in node.names if not hasattr(module, name.name)] == []


@pytest.mark.parametrize(
    "call", re.findall(r"`(\w+)\(", "".join(row[0] for row in rows(section("docs/scoring.md", "In Python"))))
)
def test_calls_of_the_scorer_exist(call: str) -> None:
    assert callable(getattr(Scorer, call))


# Rooms


def rooms() -> list[str]:
    """First names under gbdtlr/, as imports say them."""
    return sorted(
        path.name.removesuffix(".py")
        for path in PACKAGE.iterdir()
        if (path.suffix == ".py" or (path / "__init__.py").exists()) and not path.name.startswith("__")
    )


def test_every_room_stands_among_the_rooms_and_in_their_order() -> None:
    line = {
        name.rstrip("/"): number
        for number, row in enumerate(rows(section("docs/architecture.md", "Rooms")))
        for name in re.findall(r"`([\w/]+)`", row[0])
    }
    assert sorted(line) == rooms()
    for above, below in itertools.pairwise(LAYERS):
        early, late = ([line[name] for name in layer if name in line] for layer in (above, below))
        assert not early or not late or max(early) < min(late), f"{sorted(above)} stand above {sorted(below)}"


# Promises

PROMISES = rows(section("docs/operating.md", "What is promised"))
PROMISED = [found for row in PROMISES for found in re.findall(r"`([a-z_/]+\.py)(?:::(\w+))?`", row[1])]


@pytest.mark.parametrize(("file", "name"), PROMISED)
def test_each_promise_stands_under_a_test(file: str, name: str) -> None:
    text = (ROOT / "tests" / file).read_text("utf-8")
    names = [node.name for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef)]
    assert any(each.startswith("test_") for each in names)
    assert not name or name in names


def test_each_promise_has_a_test() -> None:
    assert len(PROMISES) > 10
    assert all("test_" in row[1] for row in PROMISES)


# The row that is worked through


@pytest.fixture(scope="module")
def worked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[tuple[str, str]]]:
    """A folder with the data and a store that the worked row's commands made; what they printed beside what is told."""
    folder = tmp_path_factory.mktemp("worked")
    for name in ("configs", "data"):
        (folder / name).symlink_to(ROOT / name)
    texts = [block for block in blocks("sh", "text") if block.page == "docs/architecture.md"]
    assert [block.language for block in texts] == ["sh", "text", "sh", "text"]
    printed = []
    with contextlib.chdir(folder):
        for commands, told in zip(texts[::2], texts[1::2], strict=True):
            for words in command_lines(commands.text):
                stdout = io.StringIO()
                with contextlib.redirect_stdout(stdout):
                    assert main([*words[1:], "-q", "--store", "store"]) == 0
            printed.append((stdout.getvalue(), told.text))
    return folder, printed


def test_the_worked_row_is_what_its_commands_print(worked: tuple[Path, list[tuple[str, str]]]) -> None:
    _, printed = worked
    for found, told in printed:
        assert found == told
    # And it is a sum, of numbers as they are shown.
    for margin, probability, table in (outcome(told) for _, told in printed):
        weights = [float(found) for found in re.findall(r" ([+-]\d\.\d{4}) ", table)]
        assert len(weights) == 5
        assert sum(weights) == pytest.approx(margin, abs=3e-4)
        assert 1 / (1 + math.exp(-margin)) == pytest.approx(probability, abs=1e-4)
    margin, _, _ = outcome(printed[0][1])
    assert f"`1 / (1 + exp({-margin:.4f}))`" in PAGES["docs/architecture.md"]


@pytest.mark.parametrize("page", ["README.md", "docs/scoring.md"])
def test_code_that_scores_runs(page: str, worked: tuple[Path, list[tuple[str, str]]]) -> None:
    (block,) = [block for block in blocks("python") if block.page == page]
    with contextlib.chdir(worked[0]), contextlib.redirect_stdout(io.StringIO()) as stdout:
        exec(block.text, {})
    assert stdout.getvalue().startswith("2 ")


def outcome(text: str) -> tuple[float, float, str]:
    """Margin, probability and table of what ``explain`` printed."""
    found = re.fullmatch(r"release \d: margin (\S+), probability (\S+)\n(.*)", text, re.DOTALL)
    assert found
    return float(found[1]), float(found[2]), found[3]


# The three rows of the README


def test_the_example_rows_are_in_the_data_and_are_used_when_it_says() -> None:
    shown = rows(section("README.md", "What goes in"))
    config = Config.load(ROOT / "configs" / "flights.toml")
    samples = replace(config.samples, path=(str(ROOT / "data/flights/2013-02-15.parquet"),))
    table = pq.read_table(samples.path[0])
    new_york = ZoneInfo(samples.timezone)
    used = []
    for ts, label_ts, label, carrier, flight, origin, dest, temp, _ in shown:
        (there,) = [row for row in table.to_pylist() if (str(row["flight"]), row["carrier"]) == (flight, carrier)]
        assert (f"{there['ts']:%Y-%m-%d %H:%M}", f"{there['label_ts']:%Y-%m-%d %H:%M}") == (ts, label_ts)
        assert (str(there["label"]), there["origin"], there["dest"], f"{there['temp']:g}") == (
            label,
            origin,
            dest,
            temp,
        )
        event = there["ts"].replace(tzinfo=new_york)
        moments = [datetime(2013, 2, 15, hour, tzinfo=new_york) for hour in (12, 15, 18)]
        start = datetime(2013, 2, 15, tzinfo=new_york)
        learned = [read(samples, start, as_of, as_of) for as_of in moments]
        us = to_us(event)
        used.append([bool(((each.event_us == us) & holds(each, there)).any()) for each in learned])
    assert used == [[True, True, True], [False, True, True], [False, False, False]]


def holds(samples: Samples, row: dict[str, object]) -> npt.NDArray[np.bool_]:
    """Rows of the flight."""
    return np.array([flight == row["flight"] for flight in samples.table.column("flight").to_pylist()])
