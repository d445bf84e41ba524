"""The site: it loads nothing from outside, fits a phone, keeps words in tables whole, and is searched from the disk."""

import functools
import importlib.util
import json
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

import cosub

ROOT = Path(__file__).parents[1]
PHONE, LAPTOP = 390, 1280  # pixels


class Loaded(HTMLParser):
    """What a page loads by itself, and where it leads."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.leads: list[str] = []
        self.ids: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.ids.add(given.get("id", ""))
        if "src" in given:
            self.loads.append(given["src"])
        if "href" in given:
            (self.leads if tag == "a" else self.loads).append(given["href"])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if importlib.util.find_spec("mkdocs") is None:
        pytest.skip("MkDocs is not installed: make docs")
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(out)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr[-2000:]
    return out


@pytest.mark.slow
def test_the_site_builds_and_loads_nothing_from_outside(site):
    pages = {page.name: Loaded(page.read_text()) for page in site.glob("*.html")}
    assert {"index.html", "method.html", "commands.html", "api.html"} <= pages.keys()
    for name, page in pages.items():
        for target in page.loads:
            assert not re.match(r"([a-z]+:)?//", target), f"{name} loads {target}"
            assert name == "404.html" or (site / target.split("?")[0]).exists(), f"{name} loads {target}"
        for target in page.leads:
            path, _, anchor = target.partition("#")
            if name != "404.html" and not re.match(r"[a-z]+:", path):
                assert (site / (path or name)).exists(), f"{name} leads to {target}"
                assert not anchor or anchor in pages[path or name].ids, f"{name} leads to {target}"
    assert {f"{cosub._PUBLIC[name]}.{name}" for name in cosub.__all__} <= pages["api.html"].ids
    equations = (site / "method.html").read_text()
    assert equations.count('class="equation"') == (ROOT / "docs" / "method.md").read_text().count("```math")
    assert "\\mathcal" not in equations
    assert (site / "index.html").read_text().count('name="__palette"') == 3  # the system's colours, light, dark


# --- in a browser

# Opens page after page in a frame of a width, and leaves as text what it measured: [page, width of the frame, width of
# the content, words in tables that are broken].
MEASURE = """<!doctype html><body><script>
const frame = document.body.appendChild(document.createElement("iframe"))
frame.style = "width: WIDTHpx; height: 800px; border: 0"

function broken(cell) {
  const found = [], walk = frame.contentDocument.createTreeWalker(cell, NodeFilter.SHOW_TEXT)
  while (walk.nextNode())
    for (const word of walk.currentNode.data.matchAll(/\\w+/g)) {
      const range = frame.contentDocument.createRange()
      range.setStart(walk.currentNode, word.index)
      range.setEnd(walk.currentNode, word.index + word[0].length)
      if (new Set(Array.from(range.getClientRects(), line => line.top)).size > 1) found.push(word[0])
    }
  return found
}

async function measure(page) {
  await new Promise(loaded => { frame.onload = loaded; frame.src = page })
  await new Promise(wrapped => setTimeout(wrapped, 100))  // the theme's script puts tables into boxes that scroll
  const root = frame.contentDocument.documentElement
  const cells = Array.from(frame.contentDocument.querySelectorAll("td, th"))
  return [page, root.clientWidth, root.scrollWidth, cells.flatMap(broken)]
}

(async () => {
  const found = []
  for (const page of PAGES) found.push(await measure(page))
  document.body.textContent = JSON.stringify(found)
})()
</script>"""


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    """Where this machine serves the site."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(site))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def shown(address: str, profile: Path) -> str:
    """A page's HTML after its scripts have run."""
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        pytest.skip("no Chromium is installed")
    quiet = ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"]
    words = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--user-data-dir={profile}", *quiet]
    command = [browser, *words, "--virtual-time-budget=60000", "--dump-dom", address]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=300).stdout


@pytest.mark.slow
@pytest.mark.parametrize("width", [PHONE, LAPTOP])
def test_no_page_scrolls_sideways_and_no_word_in_a_table_is_broken(width, site, address, tmp_path):
    pages = sorted(page.name for page in site.glob("*.html"))
    (site / "measure.html").write_text(MEASURE.replace("WIDTH", str(width)).replace("PAGES", json.dumps(pages)))
    text = shown(f"{address}/measure.html", tmp_path)
    (site / "measure.html").unlink()
    found = json.loads(re.search(r"<body>(.*)</body>", text, re.S)[1])
    assert [page for page, *_ in found] == pages
    for page, available, needed, broken in found:
        assert available == width
        assert needed <= width, f"{page} is {needed} pixels wide"
        assert not broken, f"{page} breaks {broken[:5]}"


@pytest.mark.slow
def test_the_search_finds_from_the_disk(site, tmp_path):
    page = shown(f"{(site / 'index.html').as_uri()}?q=compile_blocks", tmp_path)
    assert f'api.html#{cosub._PUBLIC["compile_blocks"]}.compile_blocks" class="md-search-result__link"' in page
