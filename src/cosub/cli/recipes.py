"""cosub recipes [NAME]"""

import inspect
import json
from dataclasses import dataclass
from typing import Any

from tyro.conf import Positional

from cosub.cli.parsing import parse
from cosub.recipes import RECIPES, get
from cosub.recipes.files import dump


@dataclass(frozen=True)
class Recipes:
    """List the recipes, or print one as JSON."""

    name: Positional[str] = ""
    """A recipe."""


def run(words: list[str], as_json: bool) -> dict[str, Any]:
    options = parse(Recipes, words, "cosub recipes")
    if options.name:
        text = dump(get(options.name))
        if not as_json:
            print(f"{inspect.getdoc(RECIPES[options.name])}\n\n{text}", end="")
        return json.loads(text)
    purposes = {name: (inspect.getdoc(recipe) or "").splitlines()[0] for name, recipe in RECIPES.items()}
    if not as_json:
        print("\n".join(f"{name:<14} {purpose}" for name, purpose in purposes.items()))
    return {"recipes": purposes}
