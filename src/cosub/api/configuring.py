"""From the words of a command line to a recipe: the one way, which `cosub.fit` takes too."""

import dataclasses
import functools
import itertools
import json
import os
import sys
from collections.abc import Callable, Sequence, Set
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cosub.api.help import ALL
from cosub.api.parsing import parse, switches_of, take, take_switch
from cosub.api.preparation import require_mean
from cosub.errors import InputError, nearest
from cosub.recipes import DEFAULT, FINETUNE, get, recipes
from cosub.recipes.data import SOURCES
from cosub.recipes.files import folder_of, is_run, read, turned_as_begun
from cosub.recipes.finetune import batch_of
from cosub.recipes.methods import METHODS
from cosub.recipes.recipe import Recipe, method_for

if TYPE_CHECKING:
    from cosub.train.finetuning import Inferred

_ABOUT_FINETUNE = """
finetune takes its model, resolution and normalisation from the weights, drop rate and layer decay from their size, and
epochs, batch and group from the number of images: each unless it is given, whatever default stands below."""


def configure(
    words: Sequence[str], description: str = "", others: Sequence[str] = (), planned: int | None = None
) -> Recipe:
    """The recipe of a command line. Method, source and model come first: the other options depend on them.

    Args:
        words: a recipe's name or file, and flags with their values.
        description: for --help, with places for methods, sources, model and arguments.
        others: flags that were taken out of the words before.
        planned: images of a run that is only planned, 0 where they are to be counted; None for one that is trained.

    Raises:
        InputError: for a word that is wrong.
    """
    words = list(words)
    named = words.pop(0) if words and not words[0].startswith("-") else _unnamed(words)
    recipe = _recipe(named)
    recipe = _choose(recipe, "method", METHODS, take(words, "--method"))
    recipe = _choose(recipe, "data", SOURCES, take(words, "--source"))
    model = take(words, "--model")
    if model is not None and model != recipe.model:
        recipe = dataclasses.replace(recipe, model=model, model_args={})
    recipe = dataclasses.replace(recipe, model_args={**recipe.model_args, **_model_args(words)})
    before, recipe = recipe.weights, _start(recipe, words)
    follows = recipe.weights != before or named == FINETUNE
    if named == FINETUNE:
        description += _ABOUT_FINETUNE if description else ""
        recipe = _paired(recipe, words)
    described = description.format(
        methods="|".join(METHODS),
        sources="|".join(SOURCES),
        model=recipe.model,
        arguments=" ".join(f"{key}={value}" for key, value in recipe.model_args.items()) or "none",
    )
    understood = functools.partial(
        parse,
        Recipe,
        words,
        "cosub train",
        description=described,
        others=(*others, "--pretrained", "--method", "--source"),
    )
    asked = understood(default=recipe)
    if (begun := turned_as_begun(recipe, folder_of(asked))) != recipe:  # the default may have changed
        recipe, asked = begun, understood(default=begun)
    if asked.inputs.mean != recipe.inputs.mean:
        require_mean(asked.inputs.mean)
    flags = {word.split("=")[0].replace("_", "-") for word in words}
    asked.task.require_used(flag.removeprefix("--").replace("-", "_") for flag in flags)
    if not follows:
        return asked
    found = _follows(recipe, model, named == FINETUNE)
    return _inferred(found, understood, named == FINETUNE, flags, planned)


def _paired(recipe: Recipe, words: Sequence[str]) -> Recipe:
    """The recipe with batch and group that suit each other, where one is given: the batch is one group, or several."""
    batch, group = (_whole_number(words, flag) for flag in ("--batch-size", "--group-size"))
    if batch and not group:
        whole = batch % recipe.group_size == 0
        return dataclasses.replace(recipe, batch_size=batch, group_size=recipe.group_size if whole else batch)
    if group and not batch:
        return dataclasses.replace(recipe, batch_size=batch_of(group, recipe.batch_size), group_size=group)
    return recipe


def _whole_number(words: Sequence[str], flag: str) -> int:
    """The value of a flag; 0 where it is not given, or is none, as the parser then says."""
    value = take([word.replace("_", "-") if word.startswith("--") else word for word in words], flag)
    return int(value) if value is not None and value.isdecimal() else 0


def _start(recipe: Recipe, words: list[str]) -> Recipe:
    """The recipe with the weights to start from, where some are named."""
    weights = take(words, "--weights")
    if take_switch(words, "--pretrained"):
        if weights is not None:
            raise InputError("--pretrained: cannot go with --weights, which names other weights; leave one out")
        from cosub.train.finetuning import pretrained_name

        weights = pretrained_name(recipe.model)
    return recipe if weights is None else dataclasses.replace(recipe, weights=weights)


def _follows(recipe: Recipe, model: str | None, everything: bool) -> "Inferred":
    """What follows from the weights: how images are prepared, or all that fine-tuning needs."""
    from cosub.train.finetuning import follow, infer

    return infer(recipe, model) if everything else follow(recipe)


def _inferred(
    found: "Inferred", understood: Callable[..., Recipe], everything: bool, flags: Set[str], planned: int | None
) -> Recipe:
    """The recipe with what was inferred.

    What is given takes precedence over what is inferred, and a run that has begun over both.
    """
    from cosub.train import finetuning
    from cosub.weights.opening import require_weights

    recipe = found.recipe
    given = understood(default=found.recipe)
    folder = folder_of(given)
    if run := finetuning.begun(found.recipe, folder):
        found = found.as_begun(run, folder, finetuning.BEGUN if everything else ("inputs",))
    elif everything:
        if planned is None:
            require_weights(recipe.weights)  # before people read what was inferred for them
        images = planned or finetuning.training_images(given, local=planned is not None)
        found = finetuning.for_images(found, given, flags, images) if images else found
    final = understood(default=found.recipe)
    if os.environ.get("RANK", "0") == "0":
        print("\n".join(found.lines(final)), file=sys.stderr)
    return found.marked(final)


def _unnamed(words: Sequence[str]) -> str:
    """The recipe of words that do not begin with one.

    Raises:
        InputError: where one comes later, or the images are others than the default's, which no recipe then suits.
    """
    if {"-h", "--help", ALL} & set(words):
        return DEFAULT
    switches = {"--pretrained", "--dry-run", *switches_of(get(DEFAULT))}
    for before, word in itertools.pairwise(words):
        is_value = before.startswith("-") and "=" not in before and before not in switches
        if not is_value and (word in recipes() or Path(word).suffix == ".json"):
            raise InputError(f"{word}: a recipe comes before its options: cosub train {word} ...")
    out, path, source = (take(list(words), flag) for flag in ("--out", "--data.path", "--source"))
    others = path is not None or (source in SOURCES and source != get(DEFAULT).data.kind)
    if others and not is_run(out or ""):  # a run that is there goes on
        raise InputError(f"recipe: is not named; {_recipe_for(path or 'PATH', source, words)}")
    return DEFAULT


def _recipe_for(path: str, source: str | None = None, words: Sequence[str] = ()) -> str:
    """The commands that train on what lies at a path."""
    from cosub.data.sources.detection import detect_kind

    kind = source or detect_kind(path)
    if kind == "scenes":
        return f"cosub train camvid --data.path {path} trains on scenes"
    data = f"{'' if kind == 'folder' else f'--source {kind} '}--data.path {path}"
    weights = any(word.partition("=")[0] in ("--weights", "--pretrained") for word in words)
    tune = f"cosub train finetune {'' if weights else '--pretrained '}{data}"
    return f"{tune} fine-tunes on it, cosub train scratch {data} starts from scratch"


def _recipe(named: str) -> Recipe:
    path = Path(named)
    if named and path.is_dir() and named not in recipes():
        continued = f"cosub train {path / 'recipe.json'} --out {named} continues it, or shows what came out"
        raise InputError(
            f"recipe: {named}: " + (f"is a run; {continued}" if is_run(named) else f"is a folder; {_recipe_for(named)}")
        )
    if path.suffix == ".json" or path.is_file():
        recipe = read(path)  # not into the folder of that run
        return dataclasses.replace(recipe, runtime=dataclasses.replace(recipe.runtime, out="", inferred=()))
    return get(named)


def _model_args(words: list[str]) -> dict[str, Any]:
    """Remove each `--model-args key=value ...` from the words. Values are JSON where they can be: 12, true, [2,2,6]."""
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
    if isinstance(value, list) and all(type(item) is int for item in value):
        return tuple(value)
    return value if isinstance(value, int | float | bool) else text


def _choose(recipe: Recipe, field: str, kinds: dict[str, type[Any]], name: str | None) -> Recipe:
    if name is None or name == getattr(recipe, field).kind:
        return recipe
    if name not in kinds:
        flag = "--source" if field == "data" else f"--{field}"
        raise InputError(f"{flag}: {name!r}: must be one of {', '.join(kinds)}{nearest(name, list(kinds))}")
    return dataclasses.replace(
        recipe, **{field: method_for(recipe, name) if field == "method" else _data(recipe, name)}
    )


def _data(recipe: Recipe, name: str) -> Any:
    """The source of that name; EXIF orientation stays as in the recipe."""
    return SOURCES[name]().turned(recipe.data.orientation)
