"""How images are prepared for published weights, and their model where it is stated.

One rule for all that reads weights. The first of these that states it is used: the recipe of their run; the metadata of
the file; the config.json beside it, on the Hub too; timm's configuration of the weights or the model that is named;
ImageNet's values. `docs/finetune.md` has it as a table.
"""

import dataclasses
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from huggingface_hub import try_to_load_from_cache
from huggingface_hub.errors import LocalEntryNotFoundError
from safetensors import SafetensorError, safe_open
from timm.models import PretrainedCfg, get_pretrained_cfg, is_model_pretrained
from timm.models._hub import download_from_hf
from torch import nn

from cosub.choices import Interpolation
from cosub.data.pixels import reading
from cosub.errors import InputError
from cosub.recipes.files import is_run, read_run
from cosub.recipes.inputs import Inputs
from cosub.recipes.recipe import Recipe
from cosub.weights.hub_names import FILE, require_hub_name

CONFIG = "config.json"

# Arguments of timm's models that follow from the resolution, the classes and cosub itself.
_DECIDED = {"img_size", "num_classes", "in_chans", "drop_path_rate"}
_IMAGENET = 1000  # classes
# What timm's description of a model says of the network and not of weights.
_OF_LAYERS = ("architecture", "first_conv", "classifier", "fixed_input_size")
_ABOUT = {item.name for item in dataclasses.fields(PretrainedCfg)}


@dataclass(frozen=True)
class Published:
    """What is known of weights. `origin` names the source; `messages` has a line for each value that is not used."""

    inputs: Inputs
    resolution: int
    origin: str
    model: str = ""
    """timm's name of their model, where their source states it."""
    model_args: dict[str, Any] = field(default_factory=dict)
    classes: tuple[str, ...] = ()
    """Their classes in order, where they are named or are not ImageNet-1k's."""
    num_classes: int = 0
    fixed_size: bool = False
    config: Mapping[str, Any] = field(default_factory=dict)
    """The whole config.json."""
    messages: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Of their classes; none where these are mere numbers."""
        return () if self.classes == tuple(map(str, range(len(self.classes)))) else self.classes


def describe_inputs(inputs: Inputs) -> str:
    """Inputs as text for messages."""
    mean, std = (" ".join(f"{value:g}" for value in values) for values in (inputs.mean, inputs.std))
    return f"mean {mean}, std {std}, crop_ratio {inputs.crop_ratio:g} ({inputs.interpolation})"


def look_up(source: str, model: str = "") -> Published:
    """What is known of weights, without reading them.

    Args:
        source: a run's folder, a folder with timm's config.json, a file, a name of timm's weights, hf-hub:OWNER/NAME.
        model: the timm model that they are for, where their source does not state it; it may have a tag.

    Raises:
        InputError: for a recipe, metadata or a config.json that cannot be read.
    """
    path = Path(source)
    if source.startswith("hf-hub:"):
        return _on_hub(source, model)
    if os.path.isdir(path):
        if is_run(path):
            return _of_run(path)
        return _of_config(path / CONFIG) if (path / CONFIG).is_file() else _by_model(model)
    if os.path.isfile(path):
        return _of_file(path, model)
    name = source.removeprefix("timm:")
    return _of_timm(name) if is_model_pretrained(name) else _by_model(model)


def prepared_otherwise(recipe: Recipe) -> str:
    """A warning if a recipe normalises images in another way than its weights expect; else empty."""
    found = look_up(recipe.weights, recipe.model)
    theirs, ours = found.inputs, recipe.inputs
    if (theirs.mean, theirs.std) == (ours.mean, ours.std):
        return ""
    return (
        f"the weights expect images with {describe_inputs(theirs)} ({found.origin}), and this recipe has "
        f"{describe_inputs(ours)}: set --mean and --std, or name the weights with --weights to use theirs"
    )


def metadata(recipe: Recipe, classes: tuple[str, ...]) -> dict[str, str]:
    """Metadata of a file of weights, with which it can be used outside its folder."""
    about = {**data_config(recipe), **reading(recipe.data)}
    return {"classes": json.dumps(classes), "pretrained_cfg": json.dumps(about)}


def data_config(recipe: Recipe) -> dict[str, Any]:
    """How a recipe prepares images, as timm's configuration."""
    inputs = recipe.inputs
    return {
        "input_size": (3, recipe.resolution, recipe.resolution),
        "interpolation": inputs.interpolation,
        "mean": inputs.mean,
        "std": inputs.std,
        "crop_pct": inputs.crop_ratio,
        "crop_mode": "center",
    }


def describe(network: nn.Module, recipe: Recipe, classes: tuple[str, ...]) -> None:
    """Write into a run's network, in timm's format, how its images are prepared and what its classes are called.

    `timm.data.create_transform(**timm.data.resolve_model_data_config(network))` then prepares an RGB image as the run
    does. Of timm's entry for its own weights of that architecture only the names of layers remain.
    """
    built: dict[str, Any] = vars(network)["pretrained_cfg"]
    about = {
        **{name: built[name] for name in _OF_LAYERS if name in built},
        **data_config(recipe),
        "num_classes": len(classes),
        "label_names": list(classes),
        **reading(recipe.data),
    }
    vars(network).update(pretrained_cfg=about, default_cfg=about)  # timm has both names


# --- the sources, the first that states it is used


def _of_run(folder: Path) -> Published:
    run, classes = read_run(folder), _classes(_metadata(folder / FILE), folder / FILE)
    return Published(run.inputs, run.resolution, str(folder), run.model, run.model_args, classes)


def _of_file(path: Path, model: str) -> Published:
    about = _metadata(path) if path.suffix == ".safetensors" else {}
    named = _classes(about, path)
    if "pretrained_cfg" in about:
        config = _json(about["pretrained_cfg"], path)
        found = dataclasses.replace(_described(config, str(path), ""), config=config)
    elif path.name == FILE and is_run(path.parent):
        found = _of_run(path.parent)
    elif (path.parent / CONFIG).is_file():
        found = _beside(path.parent / CONFIG, str(path.parent / CONFIG), model)
    else:
        found = _by_model(model)
    return dataclasses.replace(found, classes=named or found.classes)


def _on_hub(source: str, model: str) -> Published:
    name = source.removeprefix("hf-hub:")
    require_hub_name(name)
    try:
        path = Path(download_from_hf(name, CONFIG))
    except LocalEntryNotFoundError as error:  # no network: do not try again, unless the weights are in the cache
        if not isinstance(try_to_load_from_cache(name, FILE), str):
            raise InputError(
                f"weights: {source}: the Hub cannot be reached, and the cache has nothing of it; check the network, or "
                f"put {CONFIG} and {FILE} into a folder and name that"
            ) from error
        found = _by_model(model)
        return dataclasses.replace(found, messages=(f"{source}: its {CONFIG} is not in the cache", *found.messages))
    except Exception as error:  # of any kind, from the network
        found = _by_model(model)
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        return dataclasses.replace(
            found, messages=(f"{source}: its {CONFIG} cannot be downloaded ({reason})", *found.messages)
        )
    return _beside(path, source, model)


def _beside(path: Path, origin: str, model: str) -> Published:
    """A config.json that the user did not name. If it is another library's, it is ignored, with a message."""
    try:
        return _of_config(path, origin)
    except InputError as error:
        found = _by_model(model)
        return dataclasses.replace(found, messages=(str(error), *found.messages))


def _of_config(path: Path, origin: str = "") -> Published:
    """timm's description of a model, as timm and `cosub export` write it."""
    try:
        config = json.loads(path.read_text())
        about, model, arguments = (
            config.get("pretrained_cfg", config),
            config["architecture"],
            config.get("model_args", {}),
        )
        if "num_classes" in config:  # the network's own; pretrained_cfg has that of its initial weights
            about = {**about, "num_classes": config["num_classes"]}
        found = _described(about, origin or str(path), str(model))
        names = config.get("label_names") or ([] if found.num_classes == _IMAGENET else range(found.num_classes))
        classes = tuple(map(str, names if not isinstance(names, dict) else names.values()))
        return dataclasses.replace(found, model_args=_arguments(arguments, path), classes=classes, config=config)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(
            f"weights: {path}: is not timm's description of a model ({error!r}); name the file of weights, and --model"
        ) from error


def _by_model(model: str) -> Published:
    """timm's configuration of the model, or else ImageNet's values: the weights' source states nothing."""
    if not model or get_pretrained_cfg(model) is None:
        return Published(
            Inputs(), 224, "nowhere: neither the weights nor timm state it, so these are ImageNet's values"
        )
    return dataclasses.replace(_of_timm(model), model="", num_classes=0)


def _of_timm(name: str) -> Published:
    """timm's configuration of a tag, or of the first tag of a model."""
    found = get_pretrained_cfg(name)
    assert found is not None
    tag = name if "." in name or not found.tag else f"{name}.{found.tag}"
    return _described(found.to_dict(), f"timm's {tag}", name.split(".")[0])


# --- their values


def _described(about: Any, origin: str, model: str) -> Published:
    """From timm's configuration of weights; values that it lacks are timm's defaults."""
    try:
        found = PretrainedCfg(**{key: value for key, value in about.items() if key in _ABOUT})
        size = tuple(map(int, found.input_size))
        known = found.interpolation in get_args(Interpolation)
        inputs = Inputs(
            crop_ratio=min(float(found.crop_pct), 1.0),
            interpolation=found.interpolation if known else "bicubic",  # pyright: ignore[reportArgumentType]
            mean=_channels(found.mean),
            std=_channels(found.std),
        )
    except (ValueError, TypeError, AttributeError) as error:
        raise InputError(
            f"weights: {origin}: is not timm's configuration of how images are prepared ({error})"
        ) from error
    odd = {
        f"interpolation {found.interpolation}": not known,
        f"crop_mode {found.crop_mode}": found.crop_mode != "center",
        f"crop_pct {found.crop_pct:g}": found.crop_pct > 1,
        f"images of {size[-1]}x{size[-2]}": size[-1] != size[-2],
    }
    messages = tuple(
        f"{origin}: {what} is not supported, and predictions may differ" for what, is_so in odd.items() if is_so
    )
    fixed, number = bool(found.fixed_input_size), int(found.num_classes or 0)
    return Published(inputs, size[-1], origin, model, num_classes=number, fixed_size=fixed, messages=messages)


def _channels(values: Any) -> tuple[float, float, float]:
    red, green, blue = map(float, values)
    return red, green, blue


def _arguments(given: dict[str, Any], path: Path) -> dict[str, Any]:
    """Arguments of timm's model as a recipe holds them."""
    found: dict[str, Any] = {}
    for name, value in given.items():
        if name in _DECIDED:
            continue
        if isinstance(value, list) and all(type(item) is int for item in value):
            value = tuple(value)
        if not isinstance(value, int | float | bool | str | tuple):
            raise InputError(f"weights: {path}: model_args.{name} {value!r} cannot be part of a recipe; name --model")
        found[name] = value
    return found


def _metadata(path: Path) -> dict[str, str]:
    try:
        with safe_open(path, "pt") as file:
            return file.metadata() or {}
    except (SafetensorError, OSError):
        return {}  # reading the weights will report what is wrong with the file


def _classes(metadata: Mapping[str, str], path: Path) -> tuple[str, ...]:
    return tuple(map(str, _json(metadata.get("classes", "[]"), path)))


def _json(text: str, path: Path) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"weights: {path}: its metadata cannot be read ({error}); get the file again") from error
