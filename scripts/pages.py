"""Hooks of MkDocs for the site (make docs): equations as MathML, the README as a page, links between pages."""

import html
import re
import sys
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

sys.path.insert(0, str(Path(__file__).parent))
import tree

README = Path(__file__).parents[1] / "README.md"


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Show fenced blocks of the language math as equations, as code hosts do."""
    fence = {"name": "math", "class": "math", "format": _equation}
    config.mdx_configs["pymdownx.superfences"] = {"custom_fences": [fence]}
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the README, which is outside docs/, and the tree as pages."""
    text = README.read_text().replace("# cosub", "# All commands", 1).replace("](docs/", "](")
    files.append(File.generated(config, "commands.md", content=text))
    files.append(File.generated(config, "tree.md", content=tree.page()))
    return files


def on_page_markdown(text: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    return text.replace("](../README.md", "](commands.md")


def on_page_content(text: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Convert inline equations, and link pages that are named by their file, as in `docs/results.md`."""

    def link(named: re.Match[str]) -> str:
        there = files.get_file_from_path(f"{named[1]}.md")
        return f'<a href="{there.url}">{named[0]}</a>' if there else named[0]

    text = re.sub(r"\$<code>(.*?)</code>\$", lambda found: convert(html.unescape(found[1])), text)
    return re.sub(r"<code>docs/([\w-]+)\.md</code>", link, text)


def _equation(source: str, *_: Any, **__: Any) -> str:
    return f"<p>{convert(source, display='block')}</p>"
