"""The page for people, looked at in a browser: what it tells, its form, phones, the dark, and who needs a token."""

from __future__ import annotations

import html
import json
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from serving_kit import ROOT, ROW, Application, application, ask, in_a_thread

from gbdtlr.scoring import Scorer
from gbdtlr.store import Store

sys.path.append(str(ROOT / "tests" / "report"))
import browser

OUTER = """<!doctype html><html><body><iframe id="f" src="./" width="{width}" height="900" style="border:0"></iframe>
<pre id="found"></pre><script>
const wait = async (met) => {{ for (let i = 0; i < 400 && !met(); i++) await new Promise((r) => setTimeout(r, 25)); }};
document.getElementById("f").addEventListener("load", async (event) => {{
  const win = event.target.contentWindow, doc = win.document, $ = (id) => doc.getElementById(id);
  await wait(() => {ready});
  const found = await (async () => {{ {script} }})();
  document.getElementById("found").textContent = JSON.stringify(found);
}});</script></body></html>"""
SHOWN = '!$("all").hidden'


class InAFrame:
    """The application, and pages that hold its page in a frame and do something with it."""

    def __init__(self, app: Application) -> None:
        self.app = app
        self.outer = b""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def relaxed(message: Any) -> None:
            if "headers" in message:  # the page itself may not be framed
                policy = b"content-security-policy"
                message["headers"] = [header for header in message["headers"] if header[0] != policy]
            await send(message)

        if scope["type"] == "http" and scope["path"] == "/outer":
            headers = [(b"content-type", b"text/html"), (b"content-length", b"%d" % len(self.outer))]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": self.outer})
        else:
            await self.app(scope, receive, relaxed)

    def look(self, folder: Path, script: str, width: int = 1000, ready: str = SHOWN, *flags: str) -> Any:
        """What the body of an async function of ``win``, ``doc`` and ``$`` returns, once the page is ready."""
        self.outer = OUTER.format(width=width, script=script, ready=ready).encode()
        with in_a_thread(self) as address:
            budget = "--virtual-time-budget=20000"
            printed, console = browser.run(folder, *flags, budget, "--dump-dom", f"{address}/outer")
        assert console == []
        match = re.search(r'<pre id="found">(.*?)</pre>', printed, re.DOTALL)
        assert match, printed[-2000:]
        return json.loads(html.unescape(match[1]))


@pytest.fixture
def framed(store: str) -> Iterator[InAFrame]:
    app = application(store)
    for _ in range(30):
        ask(app, "/score", ROW)
    ask(app, "/score", {})
    yield InAFrame(app)
    app.close()


def test_the_page_needs_nothing_from_elsewhere(app: Application) -> None:
    page = ask(app, "/")
    text = page.body.decode()
    assert re.findall(r"https?://[^\"'` ]+", text) == ["http://www.w3.org/2000/svg"]
    assert not re.search(r"<(link|script|img)[^>]+(src|href)=\"(?!data:,)", text)
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "connect-src 'self'" in page.headers["content-security-policy"]
    assert len(page.body) < 40_000


@browser.needed
def test_it_shows_the_live_release_under_its_own_policy(app: Application, tmp_path: Path) -> None:
    with in_a_thread(app) as address:
        printed, console = browser.run(tmp_path, "--virtual-time-budget=9000", "--dump-dom", f"{address}/")
    assert console == []
    assert "Release 5 is live" in printed
    assert '<span id="badge" class="badge ok">ok</span>' in printed
    for word in ("update-lr", "2024-03-04 06:00 UTC", 'data-role="live"', 'aria-label="NE over time"'):
        assert word in printed


@browser.needed
def test_it_tells_what_was_counted(framed: InAFrame, store: str, tmp_path: Path) -> None:
    script = """
      const pair = (div) => [div.children[1].textContent, div.children[0].textContent];
      return {
        figures: Object.fromEntries([...doc.querySelectorAll(".figures div")].map(pair)),
        bars: doc.querySelectorAll("#predictions .bar").length,
        dots: doc.querySelectorAll("#ne .dot").length,
        days: doc.querySelectorAll("#calibration path.line").length,
        alone: win.path([[1, 2], [2, null], [3, 4], [4, 5]]),
        ages: [59, 7200, 86400 * 30, 86400 * 5026].map(win.age)};"""
    found = framed.look(tmp_path, script)
    figures = found["figures"]
    assert (figures["requests"], figures["rows"], figures["refused"]) == ("31", "30", "3.23%")
    assert figures["median"].endswith(("µs", "ms"))
    assert found["bars"] > 10
    judged = [entry for entry in Store.open(store).entries() if entry.metrics.get("progressive", {}).get("ne")]
    assert (found["dots"], found["days"]) == (len(judged), 1)
    assert found["alone"] == "M1.0 2.0h.01M3.0 4.0L4.0 5.0"  # a moment between others without a request is a dot
    assert found["ages"] == ["59 s", "2 h", "30 d", "13 y"]


@browser.needed
def test_a_row_is_scored_and_explained(framed: InAFrame, store: str, tmp_path: Path) -> None:
    script = """
      const fields = [...doc.querySelectorAll("#fields input")].map((i) => i.dataset.name);
      const example = fields.map((_, i) => $("f" + i).value);
      const put = (row) => fields.forEach((name, i) => { $("f" + i).value = name in row ? row[name] : ""; });
      put(%s);
      $("score").click();
      await wait(() => $("result").querySelector(".p"));
      const scored = $("result").textContent;
      $("explain").click();
      await wait(() => $("result").querySelector(".terms"));
      const terms = [...doc.querySelectorAll(".terms .t")].map((each) => each.textContent);
      put({x: "high"});
      $("score").click();
      const problem = [$("p0").textContent, $("f0").getAttribute("aria-invalid")];
      put({});
      $("score").click();
      await wait(() => !$("result").querySelector(".terms"));
      const empty = $("result").textContent;
      $("example").click();
      return {fields, example, scored, terms, problem, empty, again: fields.map((_, i) => $("f" + i).value)};"""
    found = framed.look(tmp_path, script % json.dumps(ROW))
    scorer = Scorer.open(store)
    assert found["fields"] == ["x", "y", "colour", "shop"]
    assert all(found["example"]) or len([value for value in found["example"] if value]) >= 2
    assert found["again"] == found["example"]
    assert f"{scorer.score_row(ROW)} by release 5" in found["scored"]
    assert any("shop is 3" in what for what in found["terms"])
    assert 1 < len(found["terms"]) <= 13
    assert found["problem"] == ["is no number", "true"]
    assert f"{scorer.score_row(dict.fromkeys(ROW))} by release 5" in found["empty"]


@browser.needed
@pytest.mark.parametrize("width", [320, 390, 768, 1180])
def test_it_fits_screens_of_any_width(framed: InAFrame, tmp_path: Path, width: int) -> None:
    script = """
      $("explain").click();
      await wait(() => $("result").querySelector(".terms"));
      const seen = [...doc.querySelectorAll("body *")].filter((e) => e.getClientRects().length && e.id !== "tip");
      const words = seen.filter((e) => e.children.length === 0 && e.textContent.trim());
      const small = words.filter((e) => parseFloat(win.getComputedStyle(e).fontSize) < 12);
      const right = (e) => e.getBoundingClientRect().right;
      const outside = seen.filter((e) => right(e) > win.innerWidth + 1).map((e) => e.outerHTML.slice(0, 80));
      return {scroll: doc.documentElement.scrollWidth, inner: win.innerWidth, small: small.length, outside};"""
    found = framed.look(tmp_path, script, width)
    assert found["scroll"] <= found["inner"] == width
    assert found["outside"] == []
    assert found["small"] == 0


CONTRAST = """
  const part = (v) => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const light = (text) => {
    const [r, g, b] = text.match(/[\\d.]+/g).slice(0, 3).map((v) => part(v / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const colour = (e) => win.getComputedStyle(e).backgroundColor;
  const ground = (e) => e && colour(e) === "rgba(0, 0, 0, 0)" ? ground(e.parentElement) : colour(e);
  const weak = [];
  for (const e of doc.querySelectorAll("body *")) {
    const says = e.children.length === 0 && e.textContent.trim() && e.getClientRects().length;
    if (!says || e.closest("svg") || e.id === "tip") continue;
    const a = light(win.getComputedStyle(e).color), b = light(ground(e));
    if ((Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05) < 4.5) weak.push(e.outerHTML.slice(0, 80));
  }
  return {paper: colour(doc.body), weak};"""


@browser.needed
@pytest.mark.parametrize(("scheme", "paper"), [("0", "rgb(20, 22, 26)"), ("1", "rgb(255, 255, 255)")])
def test_it_can_be_read_in_the_light_and_in_the_dark(framed: InAFrame, tmp_path: Path, scheme: str, paper: str) -> None:
    found = framed.look(tmp_path, CONTRAST, 1000, SHOWN, f"--blink-settings=preferredColorScheme={scheme}")
    assert found == {"paper": paper, "weak": []}


@browser.needed
def test_a_store_that_fails_is_told(framed: InAFrame, tmp_path: Path) -> None:
    framed.app._scorer._error = "StoreUnavailable: it does not answer"
    script = 'return [$("badge").textContent, $("trouble").textContent, $("trouble").hidden];'
    badge, trouble, hidden = framed.look(tmp_path, script)
    assert (badge, hidden) == ("degraded", False)
    assert "release 5 goes on serving: StoreUnavailable: it does not answer" in trouble


@browser.needed
def test_who_needs_a_token_is_asked_for_it(store: str, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("a-secret\n")
    app = application(store, token_file=str(tmp_path / "token"))
    script = """
      const before = [$("headline").textContent, $("all").hidden, $("token").hidden];
      $("secret").value = "a-secret";
      $("token").requestSubmit();
      await wait(() => !$("all").hidden);
      $("score").click();
      await wait(() => $("result").querySelector(".p"));
      return {before, after: [$("headline").textContent, $("token").hidden], scored: $("result").textContent};"""
    framed = InAFrame(app)
    shutil.rmtree(tmp_path / "profile", ignore_errors=True)
    framed.outer = b""
    with in_a_thread(framed) as address:
        framed.outer = OUTER.format(width=1000, script=script, ready='!$("token").hidden').encode()
        printed, _ = browser.run(tmp_path, "--virtual-time-budget=20000", "--dump-dom", f"{address}/outer")
    match = re.search(r'<pre id="found">(.*?)</pre>', printed, re.DOTALL)
    assert match
    found = json.loads(html.unescape(match[1]))
    assert found["before"] == ["A token is needed", True, False]
    assert found["after"] == ["Release 5 is live", True]
    assert "by release 5" in found["scored"]
    app.close()
