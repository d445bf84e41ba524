"""What fine-tuning takes from the weights that it starts from, the size of their network, and the number of images."""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import Any, NamedTuple

import timm
import torch
from timm.models import get_pretrained_cfg

from cosub.errors import InputError, nearest
from cosub.recipes.changes import changed
from cosub.recipes.files import is_run, read_run
from cosub.recipes.finetune import batch_of, like
from cosub.recipes.recipe import Recipe
from cosub.runs.counting import count_parameters
from cosub.runs.network import create, settings_of
from cosub.runs.published import Published, describe_inputs, look_up
from cosub.train.few_images import batch_for, epochs_for, warmup_for
from cosub.train.probing import MOST
from cosub.train.tasks import task_type

_MINIMUM = 0.05  # of the drop rate: below it, there is little to co-train
_INPUTS = ("inputs.mean", "inputs.std", "inputs.crop_ratio", "inputs.interpolation")
# What a run keeps that has begun, whatever is inferred by now: rules and the weights' own words may have changed.
BEGUN = ("inputs", "head", "lr", "epochs", "batch_size", "group_size", "optimizer.warmup_epochs")


class Note(NamedTuple):
    """Fields of a recipe that were inferred together, and the words for their values and where these are from."""

    fields: tuple[str, ...]
    words: Callable[[Recipe], str]


@dataclasses.dataclass(frozen=True)
class Inferred:
    """A recipe with values that were inferred, and what there is to say of them."""

    recipe: Recipe
    notes: tuple[Note, ...] = ()
    messages: tuple[str, ...] = ()

    def given(self, final: Recipe) -> set[str]:
        """Of the fields that were inferred, those for which the final recipe has another value."""
        fields = (name for note in self.notes for name in note.fields)
        return {name for name in fields if _value(final, name) != _value(self.recipe, name)}

    def lines(self, final: Recipe | None = None) -> list[str]:
        """What is printed: values are those of the final recipe, and what is not inferred is named."""
        final = final or self.recipe
        given = self.given(final)
        lines = list(self.messages)
        for note in self.notes:
            others = [name.removeprefix("inputs.") for name in note.fields if name in given]
            if len(others) < len(note.fields):
                but = f", but for {', '.join(others)} as given" if others else ""
                lines.append(f"inferred: {note.words(final)}{but}")
        return lines

    def marked(self, final: Recipe) -> Recipe:
        """The final recipe, which then names the fields that were inferred: nobody is warned of their values."""
        fields = {name for note in self.notes for name in note.fields} - self.given(final)
        return changed(final, {"runtime.inferred": tuple(sorted(fields))})

    def joined(self, values: Mapping[str, Any], words: Callable[[Recipe], str]) -> "Inferred":
        """With these values besides."""
        note = Note(tuple(values), words)
        return dataclasses.replace(self, recipe=changed(self.recipe, values), notes=(*self.notes, note))

    def as_begun(self, run: Recipe, folder: Path, fields: Sequence[str]) -> "Inferred":
        """With the values that a run in that folder began with: it goes on so, whatever its weights say by now."""
        values = {name: _value(run, name) for name in fields if _value(run, name) != _value(self.recipe, name)}
        if not values:
            return self
        now = f": {describe_inputs(run.inputs)}" if "inputs" in values else ""
        kept = [note for note in self.notes if not any(name.startswith(tuple(values)) for name in note.fields)]
        found = dataclasses.replace(self, notes=tuple(kept))
        return found.joined(values, lambda _: f"{', '.join(values)} as in {folder}, which has begun{now}")


def _value(recipe: Recipe, name: str) -> Any:
    return functools.reduce(getattr, name.split("."), recipe)


def pretrained_name(model: str) -> str:
    """timm's name of a model's published weights: the given tag, or the first one that timm has for it.

    Raises:
        InputError: if there are none.
    """
    known = timm.list_pretrained()
    if not timm.is_model(model):
        raise InputError(f"model: {model!r}: timm does not know it{nearest(model, timm.list_models())}")
    found = get_pretrained_cfg(model)
    name = f"{model.split('.')[0]}.{found.tag}" if found is not None and found.tag else model
    if name not in known:
        raise InputError(
            f"--pretrained: timm has no published weights of {model}{nearest(model, known)}; name a file of "
            "weights or a run's folder with --weights"
        )
    return name


def begun(recipe: Recipe, folder: Path) -> Recipe | None:
    """The recipe of a run in that folder, if it started from the same weights with the same model."""
    if not is_run(folder):
        return None
    there = read_run(folder)
    return there if (there.weights, there.model) == (recipe.weights, recipe.model) else None


def follow(recipe: Recipe) -> Inferred:
    """A recipe that prepares images as its weights want them.

    Raises:
        InputError: if what the weights say of themselves cannot be read.
    """
    found = _prepared(recipe, look_up(recipe.weights, recipe.model))
    return dataclasses.replace(found, messages=(*found.messages, *_another_model(recipe)))


def _another_model(recipe: Recipe) -> Iterator[str]:
    """A line where the weights are a run's of another model, which need not fit."""
    there = read_run(Path(recipe.weights)) if is_run(recipe.weights) else recipe
    names = [one.model.split(".")[0] for one in (there, recipe)]  # without timm's tag
    if names[0] != names[1] or there.model_args != recipe.model_args:
        yield f"weights: {recipe.weights} is a run of {there.network}, and this one is of {recipe.network}"


def _prepared(recipe: Recipe, found: Published) -> Inferred:
    recipe = dataclasses.replace(recipe, inputs=found.inputs)
    note = Note(_INPUTS, lambda final: f"{describe_inputs(final.inputs)}, from {found.origin}")
    return Inferred(recipe, (note,), found.messages)


def infer(recipe: Recipe, model: str | None = None) -> Inferred:
    """A recipe with all that follows from its weights and model. `model` is the one that was given, if any.

    From the weights: resolution, normalisation and crop, and the model where they name it. From the number of
    parameters: drop rate (at least 0.05) and layer decay of the nearest size of table A.1.

    Raises:
        InputError: if no weights are named, timm does not know the model, or the weights are of another one.
    """
    if not recipe.weights:
        raise InputError(
            "weights: fine-tuning starts from weights: --pretrained for those that timm publishes for the model, or "
            "--weights with a file, a folder, or a name of timm's weights; from scratch: cosub train scratch"
        )
    found = look_up(recipe.weights, recipe.model)
    if model and found.model and model.split(".")[0] != found.model.split(".")[0]:
        raise InputError(f"model: {model}: the weights {recipe.weights} are of {found.model}; leave --model out")
    model = found.model or recipe.model
    arguments = {**found.model_args, **recipe.model_args}  # this recipe's own are those that were given
    inferred = _prepared(dataclasses.replace(recipe, model=model, model_args=arguments), found).joined(
        {"model": model, "resolution": found.resolution},
        lambda final: f"model {final.model} at resolution {final.resolution}, from {found.origin}",
    )
    parameters = _parameters(inferred.recipe)
    size = like(parameters)
    return inferred.joined(
        {"drop_rate": max(size.imagenet, _MINIMUM), "optimizer.layer_decay": size.layer_decay},
        lambda final: (
            f"drop_rate {final.drop_rate:g} and optimizer.layer_decay {final.optimizer.layer_decay:g}, as of "
            f"{size.title} (table A.1), the nearest to {parameters / 1e6:.1f} M parameters"
        ),
    )


def for_images(inferred: Inferred, given: Recipe, flags: Set[str], images: int) -> Inferred:
    """With the epochs, the batch and its one group that suit so many training images, unless they are given.

    Args:
        inferred: what was inferred so far.
        given: the same recipe with what was given.
        flags: those that were given.
        images: training images.
    """
    origin = f"for {images:,} training images"
    copies = task_type(given).method(given).copies
    batch = batch_for(images, copies, given.drop_rate, given.rounding)
    match "--batch-size" in flags, "--group-size" in flags:
        case False, False:
            inferred = inferred.joined(
                {"batch_size": batch, "group_size": batch},
                lambda final: f"batch_size {final.batch_size} and group_size {final.group_size}, {origin}",
            )
        case False, True:
            inferred = inferred.joined(
                {"batch_size": batch_of(given.group_size, batch)},
                lambda final: f"batch_size {final.batch_size}, {origin} in groups of {final.group_size}",
            )
        case True, False:
            inferred = inferred.joined(
                {"group_size": given.group_size},
                lambda final: f"group_size {final.group_size}, for batches of {final.batch_size}",
            )
    epochs = epochs_for(images)
    warmup = warmup_for(given.epochs if "--epochs" in flags else epochs)
    inferred = inferred.joined(
        {"epochs": epochs, "optimizer.warmup_epochs": warmup},
        lambda final: (
            f"epochs {final.epochs} and optimizer.warmup_epochs {final.optimizer.warmup_epochs:g}, {origin} (an epoch "
            "for each 100 images, 3 to 30)"
        ),
    )
    if images <= MOST or inferred.recipe.head != "probe":
        return inferred
    return inferred.joined({"head": "zero"}, lambda final: f"head {final.head}, {origin}")


def training_images(recipe: Recipe, local: bool) -> int | None:
    """How many images a recipe trains on; None where they cannot be opened: training says why.

    With `local` nothing but a path on this machine is opened.
    """
    if local and not recipe.data.is_here:
        return None
    try:
        return len(task_type(recipe).open(recipe).train.labels)
    except InputError:
        return None


def _parameters(recipe: Recipe) -> int:
    try:
        with torch.device("meta"):
            model = create(recipe.model, recipe.resolution, 1000, settings_of(recipe))
    except RuntimeError as error:
        raise InputError(f"model: {recipe.model!r}: timm does not know it ({error})") from error
    return count_parameters(model)
