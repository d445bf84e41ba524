"""The runs to analyse, and the images on which they are evaluated."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from cosub.attachment import layers_per_block, state
from cosub.choices import BY_CHANCE, Choose
from cosub.data.pixels import rule_of
from cosub.data.sources import Examples
from cosub.errors import InputError
from cosub.evaluation.images import images_of_run
from cosub.recipes.data import DataConfig
from cosub.recipes.recipe import Recipe
from cosub.runs.folder import load_classifier
from cosub.runs.names import caption
from cosub.runs.ways import way_of
from cosub.train.methods import build


@dataclass(frozen=True)
class Subject:
    """A finished run: a name that is unique among the runs, its network, its block structure."""

    name: str
    path: Path
    recipe: Recipe
    classes: tuple[str, ...]
    network: nn.Module
    layers_per_block: tuple[int, ...]

    @property
    def num_layers(self) -> int:
        return sum(self.layers_per_block)

    @property
    def rows(self) -> int:
        """The rows of a group in training, `copies * group_size`."""
        return build(self.recipe.method).copies * self.recipe.group_size

    @property
    def asked_rates(self) -> tuple[float, ...]:
        """The nominal drop rate of each layer."""
        return state(self.network).rates

    @property
    def drop_rates(self) -> tuple[float, ...]:
        """The effective drop rate of each layer in training, where the number of kept rows is rounded."""
        if self.recipe.rounding in BY_CHANCE:
            return self.asked_rates
        return tuple(1 - count / self.rows for count in state(self.network).kept(self.rows))


def load_subjects(paths: Sequence[str], device: torch.device | str = "cpu") -> list[Subject]:
    """Load finished runs, named by their folders, or by their paths if two folders have the same name.

    Raises:
        InputError: if a run is named twice, or is not finished.
    """
    places = [Path(path).resolve() for path in paths]
    for place, path in zip(places, paths, strict=True):
        if places.count(place) > 1:
            raise InputError(f"runs: {path}: is named twice; name each run once")
    names = [place.name for place in places]
    subjects = []
    for path, name in zip(paths, names, strict=True):
        trained = load_classifier(path)
        network = trained.network.to(device)
        shown = name if names.count(name) == 1 else path
        per_block = layers_per_block(network)
        subjects.append(Subject(shown, Path(path), trained.recipe, trained.classes, network, per_block))
    return subjects


def images_of_runs(subjects: Sequence[Subject], names: Sequence[str], path: str = "") -> dict[str, Examples]:
    """Sets of images by name, which must be the same for all runs. Names are those of `images.images_of_run`.

    Raises:
        InputError: if a set cannot be opened, or the runs were trained on different data or read pixels differently.
    """
    first, opened = subjects[0], {}
    for subject in subjects:
        if opened and _origin(subject) == _origin(first):
            continue
        recipe = subject.recipe
        found = {name: images_of_run(recipe.data, subject.classes, name, path, recipe.choose) for name in names}
        opened = opened or found
        same_labels = all(list(found[name].labels) == list(opened[name].labels) for name in names)
        if subject.classes != first.classes or not same_labels:
            raise InputError(
                f"runs: {first.path} and {subject.path}: were trained on different data or splits "
                f"(classes {_few(first.classes)} and {_few(subject.classes)}); analyse them one by one"
            )
        if rule_of(recipe.data) != rule_of(first.recipe.data):  # the opened images are read by the first run's
            raise InputError(
                f"runs: {first.path} and {subject.path}: read pixels differently ({_reading(first.recipe.data)} and "
                f"{_reading(recipe.data)}); name runs that read them alike"
            )
    return opened


def ways_of(subjects: Sequence[Subject]) -> dict[str, str]:
    """In which way each run was trained, by its name."""
    return {subject.name: way_of(subject.recipe) for subject in subjects}


def short(name: str) -> str:
    """The name of a set for a label: the last two parts of a path."""
    return caption("/".join(Path(name).parts[-2:]))


def cautions(subjects: Sequence[Subject]) -> list[str]:
    """A warning for each run that was trained without submodels."""
    return [
        f"{subject.name} was trained without dropping a layer (drop rate {subject.recipe.drop_rate:g} on "
        f"{subject.rows} rows): its submodels did not occur in training"
        for subject in subjects
        if not any(subject.drop_rates)
    ]


def _origin(subject: Subject) -> tuple[DataConfig, Choose, tuple[str, ...]]:
    """What its sets of images depend on."""
    return subject.recipe.data, subject.recipe.choose, subject.classes


def _reading(config: DataConfig) -> str:
    """How pixels are read, for people."""
    rule = rule_of(config)
    return f"data.range {rule.range}, data.orientation {rule.orientation}" if rule else "data.pixels 1"


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
