"""What a task has: data, method, targets, evaluation and headline metric."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Protocol

from torch import Tensor, nn

from cosub.data.loading import TrainingSet
from cosub.data.on_device import OnDevice
from cosub.data.sources import Examples, Source, open_source, with_validation
from cosub.evaluation.metric import Metric
from cosub.recipes.recipe import Recipe
from cosub.runs.distributed import World
from cosub.train.methods import Method


class Score(Protocol):
    """The result of an evaluation."""

    @property
    def headline(self) -> dict[str, float]:
        """The task's headline metric, by its key."""
        ...

    @property
    def summary(self) -> dict[str, Any]:
        """The values for the run's summary."""
        ...

    @property
    def bad(self) -> list[str]:
        """Images that cannot be read."""
        ...


class Assumed(NamedTuple):
    """The data set that a plan assumes where the images are not given."""

    name: str
    images: int
    classes: int


@dataclass(frozen=True)
class Task(ABC):
    """A recipe's task on its data. The class methods need only the recipe."""

    recipe: Recipe
    source: Source

    metric: ClassVar[Metric]

    @classmethod
    def open(cls, recipe: Recipe) -> Source:
        """The recipe's data, with validation images if it chooses an epoch by them.

        Raises:
            InputError: as `open_source`.
        """
        source = open_source(recipe.data, recipe.classes)
        return with_validation(source) if recipe.choose == "best" else source

    @classmethod
    @abstractmethod
    def method(cls, recipe: Recipe) -> Method:
        """The recipe's method, for this task."""

    @classmethod
    @abstractmethod
    def assumed(cls, recipe: Recipe) -> Assumed: ...

    @classmethod
    @abstractmethod
    def empty_targets(cls, recipe: Recipe, images: int, classes: int) -> Tensor:
        """Uninitialised targets for that many images, with the shape and type that `prepare` returns."""

    @abstractmethod
    def network(self, seed: int, world: World) -> nn.Module:
        """The recipe's network, initialised from a seed, on the device."""

    @abstractmethod
    def pretrained(self, network: nn.Module) -> nn.Module:
        """The part of a network that published weights are for."""

    @abstractmethod
    def training_set(self) -> TrainingSet | OnDevice: ...

    @abstractmethod
    def prepare(self, images: Tensor, labels: Tensor, step: int, groups: range) -> tuple[Tensor, Tensor]:
        """Prepare a batch on the device: images for the network, targets for the method."""

    @abstractmethod
    def observe(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Accuracy of a step in [0, 1], and the number of its images without any label."""

    def skipped(self, images: int) -> dict[str, Any]:
        """The number of images without any label, for the summary."""
        return {}

    @abstractmethod
    def evaluate(
        self, network: nn.Module, examples: Examples, world: World, submodels: dict[str, list[int]] | None = None
    ) -> Score: ...
