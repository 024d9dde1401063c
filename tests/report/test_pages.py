"""Pages: whole, without network, and right in a real browser on a phone, a desk and paper."""

from __future__ import annotations

import html
import re
import sys
import tomllib
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import browser
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "replay"))
from replay_kit import DAY, HOUR, START, config, stream, write

from gbdtlr import jobs
from gbdtlr.config import Config
from gbdtlr.errors import NoReleaseError
from gbdtlr.inspect.diff import diff
from gbdtlr.operate.rollback import rollback
from gbdtlr.replay import replay
from gbdtlr.report import headline, replay_page, replay_picture, store_page
from gbdtlr.report.live import of_day
from gbdtlr.report.replayed import standing
from gbdtlr.store import Store

LAYOUT = """
  const texts = [...doc.querySelectorAll("svg.chart text")];
  const outside = texts.filter((text) => {
    const t = text.getBoundingClientRect(), s = text.closest("svg").getBoundingClientRect();
    return t.left < s.left - 1 || t.right > s.right + 1 || t.top < s.top - 1 || t.bottom > s.bottom + 1;
  });
  const touching = [];
  for (const svg of doc.querySelectorAll("svg.chart")) {
    const boxes = [...svg.querySelectorAll("text")].map((text) => [text.textContent, text.getBoundingClientRect()]);
    boxes.forEach(([a, p], i) => boxes.slice(i + 1).forEach(([b, q]) => {
      if (p.left < q.right && q.left < p.right && p.top < q.bottom - 2 && q.top < p.bottom - 2) touching.push([a, b]);
    }));
  }
  const svg = doc.querySelector("svg.chart"), point = svg.querySelector("circle.hit").getBoundingClientRect();
  svg.dispatchEvent(new win.PointerEvent("pointermove", { clientX: point.left + 6, clientY: point.top + 6 }));
  const tip = doc.getElementById("tip");
  return {
    width: doc.documentElement.scrollWidth,
    charts: doc.querySelectorAll("svg.chart").length,
    smallest: Math.min(...texts.map((text) => text.getBoundingClientRect().height)),
    widest: Math.max(...[...doc.querySelectorAll("svg.chart")].map((svg) => svg.getBoundingClientRect().width)),
    outside: outside.map((text) => text.textContent),
    touching,
    headline: doc.querySelector("h1").textContent,
    legends: [...doc.querySelectorAll(".legend")].map((each) => each.textContent),
    tip: [tip.textContent, win.getComputedStyle(tip).opacity],
    paper: win.getComputedStyle(doc.body).backgroundColor,
  };
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    """A replay's result, and the store its jobs wrote."""
    folder = tmp_path_factory.mktemp("pages")
    result = replay(
        config(write(folder, stream())),
        START + DAY,
        START + 3 * DAY,
        DAY,
        [4 * HOUR, 12 * HOUR],
        strategies=["two-speed", "trees-on-schedule", "stale-trees"],
        out=folder / "out",
    )
    return result.as_dict(), folder / "out" / "two-speed-1d-4h" / "store"


@pytest.fixture(scope="module")
def pages(found: tuple[dict[str, Any], Path]) -> dict[str, str]:
    values, store = found
    return {
        "replay": replay_page(values, "gbdtlr replay --start <now> & 'then'"),
        "store": store_page(Store.open(str(store))),
    }


class Balanced(HTMLParser):
    """Fails where an element is closed that is not open."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:  # noqa: ARG002
        if tag not in ("meta", "link", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.mark.parametrize("which", ["replay", "store"])
def test_a_page_is_one_small_file_that_asks_for_nothing(pages: dict[str, str], which: str) -> None:
    page = pages[which]
    assert len(page.encode()) < 3_000_000
    assert not re.search(r"""(?:src|href)=["'](?!data:)|url\(|@import|fetch\(|https?://(?!www\.w3\.org/)""", page)
    parser = Balanced()
    parser.feed(page)
    parser.close()
    assert parser.open == []
    assert "nan" not in re.sub(r"<(style|script).*?</\1>", "", page, flags=re.DOTALL).lower().split()


def test_what_comes_from_outside_is_text(pages: dict[str, str]) -> None:
    assert "gbdtlr replay --start &lt;now&gt; &amp; &#x27;then&#x27;" in pages["replay"]


@browser.needed
@pytest.mark.parametrize("which", ["replay", "store"])
@pytest.mark.parametrize("width", [360, 1200])
def test_in_a_browser_all_is_readable_and_nothing_complains(
    pages: dict[str, str], tmp_path: Path, which: str, width: int
) -> None:
    seen, console = browser.look(tmp_path, pages[which], width, LAYOUT)
    assert console == []
    assert seen["width"] <= width, "no sideways scrolling"
    assert seen["charts"] >= 5
    assert seen["smallest"] >= 9, "pixels"
    assert seen["widest"] <= 600, "a chart is as large as its neighbours, even where it has none"
    assert seen["outside"] == []
    assert seen["touching"] == []
    assert seen["tip"][1] == "1"
    assert re.search(r"\d", seen["tip"][0])
    assert seen["paper"] == "rgb(255, 255, 255)"
    if which == "replay":
        assert seen["headline"].startswith("The head cut NE by ")
        assert seen["legends"][0] == "two-speedtrees-on-schedulestale-trees"


@browser.needed
def test_in_the_dark_the_page_is_dark(pages: dict[str, str], tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    script = "<script>document.title = getComputedStyle(document.body).backgroundColor</script>"
    file.write_text(pages["replay"].replace("</body>", f"{script}</body>"), "utf-8")
    printed, _ = browser.run(tmp_path, "--blink-settings=preferredColorScheme=0", "--dump-dom", file.as_uri())
    assert "<title>rgb(20, 22, 26)</title>" in printed


@browser.needed
def test_it_prints(pages: dict[str, str], tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    file.write_text(pages["replay"], "utf-8")
    browser.run(tmp_path, f"--print-to-pdf={tmp_path / 'page.pdf'}", file.as_uri())
    paper = (tmp_path / "page.pdf").read_bytes()
    assert paper.startswith(b"%PDF")
    assert 1 <= len(re.findall(rb"/Type\s*/Page\b", paper)) <= 8


@pytest.mark.parametrize("others", [0, 6])
def test_a_picture_is_whole_by_itself(found: tuple[dict[str, Any], Path], others: int) -> None:
    values = found[0]
    names = [f"with-config-{i}" for i in range(others)]
    several = [*values["strategies"], *({**values["strategies"][0], "name": name} for name in names)]
    over = {**values["over_time"]}
    for key in ("ne", "ne_so_far", "calibration"):
        over[key] = {**over[key], **dict.fromkeys(names, over[key]["two-speed"])}
    svg = replay_picture({**values, "strategies": several, "over_time": over})
    root = ElementTree.fromstring(svg)
    assert not re.search(r"""(?:src|href)=|url\(|@import|https?://(?!www\.w3\.org/)""", svg)
    assert root.attrib["aria-label"] == headline(values)
    texts = list(root.itertext())
    assert [texts.count(each["name"]) for each in several] == [1] * len(several)


@browser.needed
@pytest.mark.parametrize("by_chance", [False, True])
def test_a_picture_has_nothing_outside_or_touching(
    found: tuple[dict[str, Any], Path], tmp_path: Path, by_chance: bool
) -> None:
    ours, bare, *others = found[0]["strategies"]
    low, high = (-1.0, 1.0) if by_chance else (0.001, 0.02)  # the longest sentence, and a short one
    result = {**found[0], "strategies": [ours, {**bare, "ne": ours["ne"] * 1.2, "low": low, "high": high}, *others]}
    assert ("chance" in replay_picture(result)) == by_chance
    script = """
      const root = doc.querySelector("svg"), s = root.getBoundingClientRect();
      const texts = [...doc.querySelectorAll("text")].map((text) => [text.textContent, text.getBoundingClientRect()]);
      const outside = texts.filter(([, t]) => t.left < s.left || t.right > s.right || t.bottom > s.bottom);
      const touching = [];
      texts.forEach(([a, p], i) => texts.slice(i + 1).forEach(([b, q]) => {
        if (p.left < q.right && q.left < p.right && p.top < q.bottom - 2 && q.top < p.bottom - 2) touching.push([a, b]);
      }));
      return { outside: outside.map(([text]) => text), touching, texts: texts.length };
    """
    page = f"<!doctype html><html><body style='margin:0'>{replay_picture(result)}</body></html>"
    seen, console = browser.look(tmp_path, page, 1000, script)
    assert console == []
    assert (seen["outside"], seen["touching"]) == ([], [])
    assert seen["texts"] > 20


def told(ours: float, bare: float, low: float | None, high: float | None) -> dict[str, Any]:
    return {
        "strategies": [
            {"name": "two-speed", "ne": ours},
            {"name": "trees-on-schedule", "ne": bare, "low": low, "high": high},
        ],
        "cost": {"update-lr": 0.3},
    }


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (told(0.93, 1.0, 0.05, 0.09), "The head cut NE by 7.0% for 0.3 s per update."),
        (told(0.93, 1.0, -0.05, 0.19), "The head cut NE by 7.0% for 0.3 s per update, which may be chance: "),
        (told(0.93, 1.0, None, None), "The head cut NE by 7.0% for 0.3 s per update, on too little data to rule out"),
        (told(1.01, 1.0, -0.02, -0.005), "The head did not pay here: it raised NE by 1.0%"),
    ],
)
def test_the_headline_says_it_as_it_is(found: dict[str, Any], said: str) -> None:
    assert headline(found).startswith(said)


def test_the_page_says_where_two_speed_stands() -> None:
    ours = {"name": "two-speed", "ne": 0.9, "seconds": 10.0}
    bare = {"name": "trees-on-schedule", "ne": 0.95, "difference": 0.05, "low": 0.01, "high": 0.09, "seconds": 2.0}
    anew = {"name": "trees-every-update", "ne": 0.92, "difference": 0.02, "low": None, "high": None, "seconds": 100.0}
    ahead = (
        "Two-speed has the lowest NE of the 3 compared; the next, trees-every-update, is 0.0200 above it after 100 s"
    )
    assert standing({"strategies": [ours, bare, anew]}).startswith(ahead)
    better = {**bare, "ne": 0.85, "difference": -0.05, "low": -0.09, "high": -0.01}
    behind = (
        "The lowest NE of the 2 compared is that of trees-on-schedule, 0.0500 below two-speed (95% interval -0.0900 to"
    )
    assert standing({"strategies": [ours, better]}).startswith(behind)
    assert standing({"strategies": [ours]}) == ""


def test_the_config_on_the_page_can_be_used_again(found: tuple[dict[str, Any], Path], pages: dict[str, str]) -> None:
    text = html.unescape(re.search(r"<summary>Config</summary><pre>(.*?)</pre>", pages["replay"], re.DOTALL)[1])
    assert Config.from_dict(tomllib.loads(text)).as_dict() == found[0]["config"]


def test_the_cadence_table_names_what_is_enough(pages: dict[str, str]) -> None:
    assert "Enough here: trees every 1d, head every 4h." in pages["replay"]


def test_a_store_page_tells_what_moved_in_words(found: tuple[dict[str, Any], Path]) -> None:
    store = Store.open(str(found[1]))
    moves = diff(store)["moves"]
    assert moves
    assert moves[0]["what"].replace(">", "&gt;").replace("<", "&lt;") in store_page(store)


@pytest.fixture
def eventful(tmp_path: Path) -> Store:
    """A store whose guards have objected: once overruled, twice not; with a rollback, and new trees live."""
    cfg = config(write(tmp_path, stream())).replace(store=str(tmp_path / "store"))
    picky = config(write(tmp_path, stream()), guard={"min_samples": 10_000}).replace(store=cfg.store)
    at = START + 2 * DAY
    jobs.train_trees(cfg, at)
    jobs.update_lr(cfg, at + HOUR)
    assert jobs.update_lr(picky, at + 2 * HOUR, force=True).status == "published"
    rollback(cfg.store, 2, at + 3 * HOUR, "it looked wrong")
    for hours in (4, 5):
        assert jobs.update_lr(picky, at + hours * HOUR).status == "refused"
    jobs.update_lr(cfg, at + 6 * HOUR)
    jobs.train_trees(cfg, at + DAY)
    return Store.open(cfg.store)


def test_a_store_page_tells_of_refusals_rollbacks_and_the_last_change_on_the_same_trees(eventful: Store) -> None:
    page = store_page(eventful)
    assert re.search(
        r"<td class=\"n\">4</td><td>update-lr</td><td class=\"n\">2</td><td>2020-01-03 04:00</td>"
        r"<td>2020-01-03 05:00</td><td class=\"w\">only \d+ mature samples in the window; \[guard\] min_samples",
        page,
    )
    assert '<td>rollback to 2</td><td class="w">it looked wrong</td>' in page
    assert "<td>update-lr, forced</td>" in page
    assert "What release 5 changed" in page, "release 6 stands on new trees, whose leaves are others"


def test_quality_of_a_day_is_that_of_all_its_labels_together(eventful: Store) -> None:
    told = [entry for entry in eventful.entries() if "progressive" in entry.metrics]
    day = of_day(told, len(told) - 1)
    parts = [entry.metrics["progressive"] for entry in told if entry.as_of > told[-1].as_of - DAY]
    n = np.array([part["rows"] for part in parts])
    assert day["rows"] == n.sum()
    assert day["log_loss"] == pytest.approx(n @ [part["log_loss"] for part in parts] / n.sum())
    assert day["rate"] == pytest.approx(n @ [part["rate"] for part in parts] / n.sum())
    assert day["calibration"] == pytest.approx(n @ [part["predicted"] for part in parts] / (n.sum() * day["rate"]))
    assert of_day(told, 0)["ne"] == pytest.approx(parts[0]["ne"])


def test_an_empty_store(tmp_path: Path) -> None:
    with pytest.raises(NoReleaseError, match="train-trees"):
        store_page(Store.open(str(tmp_path)))
