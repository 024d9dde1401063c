"""A browser without a window: a page goes in, and what a script finds in it comes out."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

PROGRAM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needed = pytest.mark.skipif(PROGRAM is None, reason="no Chromium here; apt-get install chromium")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--enable-logging=stderr",
)


def run(folder: Path, *args: str) -> tuple[str, list[str]]:
    """What the browser printed, and the messages of pages' consoles."""
    assert PROGRAM is not None
    profile = folder / "profile"
    ended = subprocess.run(
        [PROGRAM, *FLAGS, f"--user-data-dir={profile}", *args], capture_output=True, text=True, timeout=120, check=True
    )
    shutil.rmtree(profile, ignore_errors=True)
    return ended.stdout, [line for line in ended.stderr.splitlines() if "CONSOLE" in line]


def look(folder: Path, page: str, width: int, script: str) -> tuple[Any, list[str]]:
    """Result of ``script``, the body of a function of ``doc`` and ``win``, in the page at that width; and the console.

    The page stands in a frame, as a window cannot be made as narrow as a phone.
    """
    outer = f"""<!doctype html><html><body><iframe id="f" width="{width}" height="900" style="border:0"
    srcdoc="{html.escape(page, quote=True)}"></iframe><pre id="found"></pre><script>
    document.getElementById("f").addEventListener("load", (event) => {{
      const win = event.target.contentWindow, doc = win.document;
      const found = (() => {{ {script} }})();
      document.getElementById("found").textContent = JSON.stringify(found);
    }});</script></body></html>"""
    file = folder / "outer.html"
    file.write_text(outer, "utf-8")
    printed, console = run(folder, "--window-size=1400,1000", "--virtual-time-budget=5000", "--dump-dom", file.as_uri())
    match = re.search(r'<pre id="found">(.*?)</pre>', printed, re.DOTALL)
    assert match, printed[-2000:]
    return json.loads(html.unescape(match[1])), console
