"""Headless Chromium from the distribution: a page is loaded, photographed, and asked what it sees."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

in_browser = [
    pytest.mark.network,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine: apt-get install chromium"),
]
HOSTILE = (
    "<script>window.hit = 1</script>",
    '"><img src=x onerror="window.hit = 1">',
    "</script><script>window.hit = 1</script>",
    "'); window.hit = 1; //",
    "{{ 7 * 7 }}{% raw %}",
    "\u202eright to left \U0001f680 \u0646\u0635",
    "${window.hit = 1}",
)

# Runs in the page after everything else and leaves its findings where --dump-dom shows them.
PROBE = """
<script>
window.addEventListener("load", () => setTimeout(() => {
  const found = document.createElement("pre");
  found.id = "findings";
  found.textContent = JSON.stringify((%s)());
  document.body.append(found);
}, 1500));
</script>
"""
ERRORS = "<script>window.errors = []; window.addEventListener('error', (e) => errors.push(e.message));</script>"


def chromium(*arguments: str) -> str:
    """Standard output of one headless run."""
    line = [
        str(CHROMIUM),
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-background-networking",
        "--hide-scrollbars",
        "--virtual-time-budget=6000",
        *arguments,
    ]
    done = subprocess.run(line, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout


def ask(page: Path, question: str, folder: Path) -> object:
    """What the JavaScript function ``question`` answers inside the page, with the page's own CSP in force."""
    text = page.read_text()
    probed = folder / "probed.html"
    head, tail = text.split("<style>", 1)
    body = tail.replace("</body>", PROBE % question + "</body>")
    probed.write_text(head + ERRORS + "<style>" + body)
    dom = chromium("--dump-dom", probed.as_uri())
    answer = dom.split('<pre id="findings">', 1)[1].split("</pre>", 1)[0]
    for escaped, plain in (("&lt;", "<"), ("&gt;", ">"), ("&amp;", "&")):
        answer = answer.replace(escaped, plain)
    return json.loads(answer)


def photograph(page: Path, picture: Path, *, width: int, height: int, dark: bool = False) -> None:
    """A PNG of the page."""
    scheme = ["--blink-settings=preferredColorScheme=0"] if dark else ["--blink-settings=preferredColorScheme=1"]
    chromium(f"--screenshot={picture}", f"--window-size={width},{height}", *scheme, page.as_uri())
