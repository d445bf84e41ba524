"""A recipe as a strict JSON file: read, written, compared."""

import dataclasses
import functools
import hashlib
import json
import os
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from cosub.errors import InputError, nearest
from cosub.recipes.augmentation import Augment
from cosub.recipes.data import SOURCES
from cosub.recipes.inputs import Inputs
from cosub.recipes.methods import METHODS
from cosub.recipes.optimizer import Optimizer
from cosub.recipes.recipe import Recipe
from cosub.recipes.runtime import Runtime
from cosub.recipes.tasks import TASKS

FORMAT = 1

_PLACES = ("path", "index")  # fields of the data that say where they are
_LIMITS = ("bad_share", "non_finite")  # what ends a run, which may go on with others: it is the same up to there
_VERSIONS = ("pixels", "reading", "splits")  # fields of the data that files from before them lack: version 1 there
# Fields that earlier files lack, with the default that means as before: of the recipe, and of its data.
_PLAIN: dict[str, Any] = {"head": "model"}
_PLAIN_DATA = {"range": "type", "orientation": False, "balanced": False, "on_device": False}

# pydantic refuses lone surrogates (bytes of a path that are not UTF-8): code points of the last plane replace them.
_HIDDEN = {0xDC00 + byte: 0x10FF00 + byte for byte in range(0x80, 0x100)}
_SHOWN = {hidden: byte for byte, hidden in _HIDDEN.items()}


def dump(recipe: Recipe) -> str:
    """The text of recipe.json."""
    return json.dumps({"format": FORMAT, **dataclasses.asdict(recipe)}, indent=2) + "\n"


def folder_of(recipe: Recipe) -> Path:
    """Where its run is, or will be."""
    named = recipe.runtime.out or f"out/{recipe.name}-{recipe.method.kind}-{recipe.seed}"
    return Path(named).expanduser()


def is_run(folder: str | os.PathLike[str]) -> bool:
    """Whether a folder is a run's, finished or not."""
    return os.path.isfile(os.path.join(folder, "recipe.json"))  # False for a name that is too long for a file


def read_run(folder: Path) -> Recipe:
    """The recipe of a run. Raises InputError as `read`."""
    return read(folder / "recipe.json")


def require_run(folder: str | os.PathLike[str], field: str = "run") -> None:
    """Check that a folder is a run's, before anything heavy is imported.

    Raises:
        InputError: if it is not, naming `field`.
    """
    if not is_run(folder):
        raise InputError(
            f"{field}: {folder}: holds no run (no recipe.json); name a folder that cosub train has written"
        )


def read(path: Path) -> Recipe:
    """The recipe in a file, e.g. a run's recipe.json.

    Raises:
        InputError: for a file that is not JSON, of another format, or with an unknown key or a wrong value.
    """
    try:
        values = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"recipe: {path}: cannot be read as JSON ({error})") from error
    if not isinstance(values, dict) or values.pop("format", None) != FORMAT:
        raise InputError(f"recipe: {path}: is not of format {FORMAT}, which this version of cosub reads")
    return parse(values, str(path))


def parse(values: dict[str, Any], where: str) -> Recipe:
    """The recipe of a JSON object; `where` names it in messages."""
    if isinstance(data := values.get("data"), dict):
        values = {**values, "data": {**_before(data.get("kind")), **data}}
    if values.get("rounding") == "spread":
        raise InputError(
            f"recipe: {where}: rounding: 'spread' is no longer there: write 'masked' in its place to use the network; "
            "to train, begin again in another --out"
        )
    try:
        return _strings(_adapter().validate_json(json.dumps(_strings(values, _HIDDEN))), _SHOWN)
    except ValidationError as error:
        raise InputError(f"recipe: {where}: {_message(error.errors()[0])}") from error


def _before(kind: Any) -> dict[str, int]:
    """Version 1 of the rules for reading a source, which files mean that do not state a version."""
    source = SOURCES.get(kind) if isinstance(kind, str) else None
    return {name: 1 for name in _VERSIONS if source is not None and hasattr(source, name)}


def as_begun(recipe: Recipe, run: Recipe) -> Recipe:
    """The recipe, reading images by the rules under which the run was begun, whatever the command says."""
    asked: Any = recipe.data
    begun: Any = run.data
    if asked.kind != begun.kind:
        return recipe
    values: dict[str, Any] = {name: getattr(begun, name) for name in _VERSIONS if hasattr(begun, name)}
    if getattr(asked, "range", None) == "auto" and isinstance(begun.range, tuple):
        values["range"] = begun.range
    return dataclasses.replace(recipe, data=dataclasses.replace(asked, **values))


def turned_as_begun(recipe: Recipe, folder: Path) -> Recipe:
    """The recipe, turning images where a run in that folder does: those from before there was the value do not."""
    there = read_run(folder) if is_run(folder) else recipe
    return dataclasses.replace(recipe, data=recipe.data.turned(there.data.orientation))


def identity(recipe: Recipe) -> str:
    """A hash of what changes results.

    Not `runtime`, the place of the data, the rules for reading pixels and splits, and what ends a run (`_LIMITS`).
    """
    values = dataclasses.asdict(with_limits(recipe, Recipe))
    del values["runtime"]
    for name in (*_PLACES, "pixels", "splits"):
        values["data"].pop(name, None)
    if "reading" in values["data"]:  # 3 refuses what 2 read otherwise
        values["data"]["reading"] = min(values["data"]["reading"], 2)
    for part, plain in ((values, _PLAIN), (values["data"], _PLAIN_DATA)):
        for name in plain:
            if part.get(name) == plain[name]:
                del part[name]
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def with_limits(recipe: Recipe, other: Recipe | type[Recipe]) -> Recipe:
    """The recipe with another's limits on bad images and steps; the class stands for its defaults."""
    return dataclasses.replace(recipe, **{name: getattr(other, name) for name in _LIMITS})


def differences(a: Recipe, b: Recipe) -> list[str]:
    """Names of the fields in which two recipes differ, of those that change results."""
    left, right = _flat(dataclasses.asdict(a)), _flat(dataclasses.asdict(b))
    ignored = ("runtime.", *_LIMITS, *(f"data.{name}" for name in _PLACES))
    return [key for key in sorted(left | right) if left.get(key) != right.get(key) and not key.startswith(ignored)]


def overrides(recipe: Recipe, base: Recipe) -> dict[str, Any]:
    """The values in which a recipe differs from the one that it was made from, of fields that change results."""
    values = _flat(dataclasses.asdict(recipe))
    return {key: values[key] for key in differences(recipe, base) if key in values}


@functools.cache
def _adapter() -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(Recipe)


def _strings(value: Any, table: dict[int, int]) -> Any:
    """A value with all strings in it translated."""
    if isinstance(value, str):
        return value.translate(table)
    if isinstance(value, dict):
        return {key: _strings(inner, table) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_strings(inner, table) for inner in value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        inner = {item.name: _strings(getattr(value, item.name), table) for item in dataclasses.fields(value)}
        return dataclasses.replace(value, **inner)
    return value


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return flat


def _message(error: Any) -> str:
    """One of pydantic's errors as field, value and what is wrong."""
    place = [str(part) for part in error["loc"]]
    if len(place) > 2 and place[0] in ("method", "data", "task"):
        del place[1]  # the kind, which is not a key of the file
    if error["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        return f"unknown key {'.'.join(place)}{nearest(place[-1], _known_keys())}"
    if error["type"] == "value_error":  # from a class of the recipe, which names field, value and remedy
        return error["msg"].removeprefix("Value error, ")
    value = "" if isinstance(error["input"], dict) else f": {error['input']!r}"
    return f"{'.'.join(place) or 'recipe'}{value}: {error['msg']}"


def _known_keys() -> list[str]:
    kinds = [Recipe, Augment, Inputs, Optimizer, Runtime, *METHODS.values(), *SOURCES.values(), *TASKS.values()]
    return [item.name for kind in kinds for item in dataclasses.fields(kind)]
