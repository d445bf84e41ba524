"""cosub train [RECIPE] [--method M] [--source S] [--key value ...]"""

import dataclasses
import json
from pathlib import Path
from typing import Any

from cosub.cli.parsing import parse
from cosub.errors import InputError
from cosub.recipes import DEFAULT, get
from cosub.recipes.config import METHODS, SOURCES, Recipe
from cosub.recipes.files import nearest, read

DESCRIPTION = """Train a recipe, or continue it: the same command on the same folder goes on where it stopped.

RECIPE is a name (see `cosub recipes`) or the recipe.json of an earlier run; the default is digits.
--method {methods} and --source {sources} come with options of their own, shown below for the ones chosen.
--model NAME is any timm model of a supported family (here {model}), and --model-args depth=12 embed_dim=192 ...
its arguments (here {arguments}), added to the recipe's unless --model names another model.
--json prints the summary as one JSON object."""


def run(words: list[str], _as_json: bool) -> dict[str, Any] | None:
    recipe = configure(words)
    from cosub import distributed
    from cosub.launch import train

    try:
        summary = train(recipe)
        return summary if distributed.is_main() else None
    finally:
        distributed.leave()


def configure(words: list[str]) -> Recipe:
    """The recipe that a command line means. Method, source and model are chosen first: other options hang on them."""
    words = list(words)
    named = words.pop(0) if words and not words[0].startswith("-") else DEFAULT
    recipe = _recipe(named)
    recipe = _choose(recipe, "method", METHODS, _take(words, "--method"))
    recipe = _choose(recipe, "data", SOURCES, _take(words, "--source"))
    model = _take(words, "--model")
    if model is not None and model != recipe.model:
        recipe = dataclasses.replace(recipe, model=model, model_args={})
    recipe = dataclasses.replace(recipe, model_args={**recipe.model_args, **_model_args(words)})
    description = DESCRIPTION.format(
        methods="|".join(METHODS),
        sources="|".join(SOURCES),
        model=recipe.model,
        arguments=" ".join(f"{key}={value}" for key, value in recipe.model_args.items()) or "none",
    )
    return parse(Recipe, words, "cosub train", recipe, description)


def _recipe(named: str) -> Recipe:
    path = Path(named)
    if path.suffix == ".json" or path.is_file():
        recipe = read(path)  # its folder holds a run already: another is named, or the default taken
        return dataclasses.replace(recipe, runtime=dataclasses.replace(recipe.runtime, out=""))
    return get(named)


def _take(words: list[str], flag: str) -> str | None:
    """Remove `flag value` or `flag=value` from the words and return the last value."""
    value = None
    for index in reversed(range(len(words))):
        word = words[index]
        if word == flag:
            if index + 1 >= len(words):
                raise InputError(f"{flag}: needs a value")
            found = words.pop(index + 1)
            words.pop(index)
        elif word.startswith(flag + "="):
            found = words.pop(index).split("=", 1)[1]
        else:
            continue
        value = found if value is None else value
    return value


def _model_args(words: list[str]) -> dict[str, Any]:
    """Remove each `--model-args key=value ...` from the words. Values are JSON where they can be: 12, 0.1, true."""
    words[:] = [part for word in words for part in _opened(word)]
    found: dict[str, Any] = {}
    while "--model-args" in words:
        start = words.index("--model-args")
        end = start + 1
        while end < len(words) and not words[end].startswith("-"):
            key, equals, value = words[end].partition("=")
            if not equals or not key.isidentifier():
                raise InputError(f"--model-args: {words[end]!r}: must be key=value, e.g. depth=12")
            found[key] = _value(value)
            end += 1
        if end == start + 1:
            raise InputError("--model-args: needs one or more key=value, e.g. depth=12 embed_dim=192")
        del words[start:end]
    return found


def _opened(word: str) -> list[str]:
    """--model-args=depth=12 as two words."""
    flag, _, rest = word.partition("=")
    return [flag, rest] if flag == "--model-args" and rest else [word]


def _value(text: str) -> Any:
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if isinstance(value, int | float | bool) else text


def _choose(recipe: Recipe, field: str, kinds: dict[str, type[Any]], name: str | None) -> Recipe:
    if name is None or name == getattr(recipe, field).kind:
        return recipe
    if name not in kinds:
        flag = "--source" if field == "data" else f"--{field}"
        raise InputError(f"{flag}: {name!r}: must be one of {', '.join(kinds)}{nearest(name, list(kinds))}")
    return dataclasses.replace(recipe, **{field: kinds[name]()})
