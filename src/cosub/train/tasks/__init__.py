"""A task is data, a method and an evaluator. The trainer knows none by name."""

from typing import Any, Protocol

from torch import Tensor, nn

from cosub.data.loading import TrainingSet
from cosub.data.sources import Examples, Source
from cosub.recipes import plugins
from cosub.recipes.recipe import Recipe
from cosub.runs.distributed import World
from cosub.train.methods import Method, build
from cosub.train.tasks.classification import ClassificationTask


class Score(Protocol):
    """What an evaluation found."""

    @property
    def headline(self) -> dict[str, float]:
        """The number that a run is watched by, with its name."""
        ...

    @property
    def summary(self) -> dict[str, Any]:
        """What a run's summary has of it."""
        ...

    @property
    def bad(self) -> list[str]: ...


class Task(Protocol):
    """What a trainer asks of a task."""

    def network(self, seed: int, world: World) -> nn.Module:
        """The recipe's network, initialised from a seed, on the device."""
        ...

    def pretrained(self, network: nn.Module) -> nn.Module:
        """The part of a network that published weights are for."""
        ...

    def training_set(self) -> TrainingSet: ...

    def prepare(self, images: Tensor, labels: Tensor, step: int, groups: range) -> tuple[Tensor, Tensor]:
        """Images as the network takes them, and targets as the method does, of a batch on the device."""
        ...

    def observe(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Of a step: the share of answers that are right, and the number of images that have no label to learn."""
        ...

    def evaluate(
        self, network: nn.Module, examples: Examples, world: World, submodels: dict[str, list[int]] | None = None
    ) -> Score: ...


def task_of(recipe: Recipe, source: Source) -> Task:
    """The recipe's task on its data.

    Raises:
        InputError: for an augmentation that is not known.
    """
    place = plugins.TASKS.get(recipe.task.kind)
    kind = plugins.find(place) if place else ClassificationTask
    return kind(recipe, source)


def method_of(recipe: Recipe) -> Method:
    """The recipe's method, as its task has it."""
    place = plugins.METHODS.get(recipe.task.kind)
    return (plugins.find(place) if place else build)(recipe.method)
