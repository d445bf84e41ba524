"""cosub recipes [NAME] [--search WORD] [--markdown]"""

import inspect
import json
from dataclasses import dataclass
from typing import Any

from tyro.conf import Positional

from cosub.api.parsing import parse
from cosub.errors import InputError
from cosub.paper.recipes.listing import overview, page, purposes
from cosub.recipes import get, recipes
from cosub.recipes.files import dump


@dataclass(frozen=True)
class Recipes:
    """List the recipes, or print one: cost, the paper's numbers, and its values as JSON."""

    name: Positional[str] = ""
    """A recipe."""
    search: str = ""
    """List only those whose name or text has this word, e.g. 21k, ViT-B, or "table 8"."""
    markdown: bool = False
    """Print the page docs/recipes.md."""


def run(words: list[str], as_json: bool) -> dict[str, Any]:
    options = parse(Recipes, words, "cosub recipes")
    if options.name:
        text = dump(get(options.name))
        if not as_json:
            print(f"{inspect.getdoc(recipes()[options.name])}\n\n{text}", end="")
        return json.loads(text)
    found = purposes(options.search)
    if not found:
        raise InputError(f"--search: {options.search!r}: is in no recipe; `cosub recipes` lists all")
    if not as_json:
        print(page() if options.markdown else overview(options.search), end="" if options.markdown else "\n")
    return {"recipes": found}
