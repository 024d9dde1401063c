"""The demo page in a browser as wide as a phone: probabilities move at once, and nothing is asked of any server."""

from __future__ import annotations

import functools
import html
import json
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PAGE, PHONE = "docs/examples/user_state.html", 390
PROGRAM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_chromium = pytest.mark.skipif(PROGRAM is None, reason="no Chromium here; apt-get install chromium")
SCRIPT = """
const rows = () => [...doc.querySelectorAll("li")].map((row) => [
  row.querySelector(".kind").textContent, parseFloat(row.querySelector(".p").textContent)]);
const before = rows(), state = () => doc.getElementById("state").textContent, first = state();
const clicked = doc.querySelector("li"), kind = before[0][0];
clicked.querySelector(".click").click();
const after = rows(), learned = state();
clicked.querySelector(".pass").click();
const passed = rows(), told = doc.getElementById("told").textContent;
const user = new win.gbdtlr.User(learned);
doc.getElementById("forget").click();
return {before, after, passed, kind, told, first, learned, weights: [...user.weights], forgotten: [rows(), state()],
  wide: doc.documentElement.scrollWidth,
  touch: Math.min(...[...doc.querySelectorAll("button")].map((b) => b.getBoundingClientRect().height)),
  asked: win.performance.getEntriesByType("resource").map((entry) => entry.name)};
"""
GOLDEN = """
const {User, vector} = win.gbdtlr;
return JSON.parse(win.golden).map(({start, rule, events}) => {
  let user = new User(start, rule);
  const probabilities = [];
  for (const {vector: text, label, margin, written} of events) {
    const v = vector(text);
    probabilities.push(user.probability(v, margin));
    user.learn(v, label, margin);
    if (written) user = new User(String(user), rule);
  }
  return {probabilities, end: String(user)};
});
"""


class Quiet(SimpleHTTPRequestHandler):
    """Files of the repository, and pages that are given."""

    pages: dict[str, bytes]

    def do_GET(self) -> None:
        page = self.pages.get(self.path)
        if page is None:
            super().do_GET()
            return
        self.send_response(200)
        self.send_header("content-type", "text/html; charset=utf-8")
        self.end_headers()
        self.wfile.write(page)

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def served(pages: dict[str, bytes]) -> Iterator[str]:
    handler = type("Handler", (Quiet,), {"pages": pages})
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(handler, directory=str(ROOT)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def look(folder: Path, script: str) -> Any:
    """Result of ``script``, the body of a function of ``doc`` and ``win``, in the page as wide as a phone."""
    golden = (ROOT / "clients/golden/events.json").read_text()
    outer = f"""<!doctype html><iframe id="f" width="{PHONE}" height="800" style="border:0" src="/{PAGE}"></iframe>
    <pre id="found"></pre><script type="module">
    import * as gbdtlr from "/clients/js/gbdtlr-user.js";
    const frame = document.getElementById("f");
    const run = () => {{
      const win = frame.contentWindow, doc = win.document;
      if (!doc.querySelector("li")) return setTimeout(run, 20);
      Object.assign(win, {{ gbdtlr, golden: {json.dumps(golden)} }});
      const found = (() => {{ {script} }})();
      document.getElementById("found").textContent = JSON.stringify(found);
    }};
    run();</script>"""
    with served({"/outer": outer.encode()}) as address:
        assert PROGRAM is not None
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
        args = [f"--user-data-dir={folder / 'profile'}", "--window-size=900,1000", "--virtual-time-budget=8000"]
        ran = subprocess.run(
            [PROGRAM, *flags, *args, "--dump-dom", f"{address}/outer"],
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
    match = re.search(r'<pre id="found">(.+?)</pre>', ran.stdout, re.DOTALL)
    assert match, ran.stdout[-2000:]
    return json.loads(html.unescape(match[1]))


@needs_chromium
def test_a_click_moves_what_is_alike_and_needs_no_server(tmp_path: Path) -> None:
    found = look(tmp_path, SCRIPT)
    moved = [(kind, now - was) for (kind, was), (_, now) in zip(found["before"], found["after"], strict=True)]
    alike = [by for kind, by in moved if kind == found["kind"]]
    others = [abs(by) for kind, by in moved if kind != found["kind"]]
    assert len(alike) == 3
    assert min(alike) > 2
    assert max(others) < min(alike)
    assert found["passed"][0][1] < found["after"][0][1]
    assert found["told"].startswith("2 events learned; the last: passed")
    assert len(found["first"]) == 92
    assert found["first"] != found["learned"]
    assert any(found["weights"])
    assert found["forgotten"] == [found["before"], found["first"]]
    assert found["wide"] <= PHONE
    assert found["touch"] >= 44
    assert [name.rpartition("/")[2] for name in found["asked"]] == ["gbdtlr-user.js"]


@needs_chromium
def test_the_module_comes_to_the_golden_sequences_in_a_browser(tmp_path: Path) -> None:
    golden = json.loads((ROOT / "clients/golden/events.json").read_text())
    for found, expected in zip(look(tmp_path, GOLDEN), golden, strict=True):
        assert found["end"] == expected["end"]
        assert found["probabilities"] == pytest.approx(expected["probabilities"], abs=1e-12, rel=1e-12)
