"""Hooks of MkDocs for the site (make docs): equations as MathML, pages of the commands and the tree."""

import html
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

sys.path.insert(0, str(Path(__file__).parent))
import tree

from cosub.cli import VERBS

_MORE = {
    "analyse": ["", "population", "layers", "counts", "quantisation", "overfitting", "tradeoff"],
    "bench": ["", "step", "table7", "models", "coverage", "loader"],
    "train": ["", "--dry-run"],
}

WIDTH = "100"  # of the help on the page of commands, in columns


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Show fenced blocks of the language math as equations, as code hosts do."""
    fence = {"name": "math", "class": "math", "format": _equation}
    config.mdx_configs["pymdownx.superfences"] = {"custom_fences": [fence]}
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """All commands, from their parsers, and the tree are pages among the others."""
    files.append(File.generated(config, "commands.md", content=commands()))
    files.append(File.generated(config, "tree.md", content=f"---\nsearch: {{exclude: true}}\n---\n{tree.page()}"))
    return files


def commands() -> str:
    """Each verb with all of its options, as `--help-all` prints them."""
    parts = ["# All commands", "Every command takes `--json`, for one JSON object on standard output."]
    for verb in sorted(VERBS):
        for words in ([verb, more] for more in _MORE.get(verb, [""])):
            named = " ".join(filter(None, words))
            parts += [f"## cosub {named}", f"```text\n{_help(named.split())}\n```"]
    return "\n\n".join(parts) + "\n"


def _help(words: list[str]) -> str:
    command = [sys.executable, "-m", "cosub", *words, "--help-all"]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env={**os.environ, "COLUMNS": WIDTH, "NO_COLOR": "1"}
    )
    return "\n".join(line.rstrip() for line in done.stdout.strip().splitlines())


def on_page_content(text: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Convert inline equations."""
    return re.sub(r"\$<code>(.*?)</code>\$", lambda found: convert(html.unescape(found[1])), text)


def _equation(source: str, *_: Any, **__: Any) -> str:
    """Cut at wide spaces and new lines, because browsers break no line of MathML: phones show a part below another."""
    parts = [re.split(r"\n", part.strip()) for part in re.split(r"\\q?quad\b", source)]
    groups = ("".join(convert(line, display="block") for line in lines) for lines in parts)
    return '<div class="equation">' + "".join(f"<div>{group}</div>" for group in groups) + "</div>"
