"""A class for every image."""

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from cosub.data.imagenet import IMAGENET, IMAGES
from cosub.data.loading import TrainingSet
from cosub.data.mixing import mix_groups
from cosub.data.on_device import OnDevice
from cosub.data.sources import Examples
from cosub.data.transforms import normalize, training
from cosub.evaluation.accuracy import Result, evaluate
from cosub.evaluation.metric import TOP1, Metric
from cosub.recipes.recipe import Recipe
from cosub.runs.distributed import World
from cosub.runs.network import build_network
from cosub.train.methods import Method, build
from cosub.train.tasks.task import Assumed, Task

FEWEST_EVALUATED, MOST_EVALUATED = 64, 256  # images of a batch


@dataclass(frozen=True)
class ClassificationTask(Task):
    metric: ClassVar[Metric] = TOP1

    @classmethod
    def method(cls, recipe: Recipe) -> Method:
        return build(recipe.method)

    @classmethod
    def assumed(cls, recipe: Recipe) -> Assumed:
        """ImageNet-1k, or 21k for a recipe of its classes."""
        return Assumed("ImageNet", IMAGES.get(recipe.classes, IMAGES[IMAGENET]), recipe.classes or IMAGENET)

    @classmethod
    def empty_targets(cls, recipe: Recipe, images: int, classes: int) -> Tensor:
        return torch.empty(images, classes)

    def network(self, seed: int, world: World) -> nn.Module:
        copies = self.method(self.recipe).copies
        network = build_network(dataclasses.replace(self.recipe, seed=seed), len(self.source.classes), copies)
        return network.to(world.device)

    def pretrained(self, network: nn.Module) -> nn.Module:
        return network

    def training_set(self) -> TrainingSet | OnDevice:
        recipe = self.recipe
        if recipe.data.on_device:
            return OnDevice(
                self.source.train, recipe.resolution, recipe.inputs.interpolation, recipe.augment, recipe.seed
            )
        transform = training(recipe.resolution, recipe.augment, recipe.inputs.interpolation)
        return TrainingSet(self.source.train, transform, recipe.seed)

    def prepare(self, images: Tensor, labels: Tensor, step: int, groups: range) -> tuple[Tensor, Tensor]:
        """Normalised images, mixed within each group, and dense targets `(B, C)`."""
        recipe = self.recipe
        return mix_groups(
            normalize(images, recipe.inputs),
            labels,
            recipe.augment,
            len(self.source.classes),
            recipe.method.targets,
            recipe.seed,
            step,
            groups,
        )

    def observe(self, logits: Tensor, labels: Tensor) -> Tensor:
        accuracy = (logits.detach().argmax(1) == labels.repeat(len(logits) // len(labels))).float().mean()
        return torch.stack([accuracy, torch.zeros_like(accuracy)])

    def evaluate(
        self, network: nn.Module, examples: Examples, world: World, submodels: dict[str, list[int]] | None = None
    ) -> Result:
        """In batches of as many rows as a micro-step of training has, which fit, but within bounds."""
        recipe = self.recipe
        rows = self.method(recipe).copies * recipe.batch_size // (world.size * recipe.runtime.micro_steps)
        return evaluate(
            network,
            examples,
            len(self.source.classes),
            recipe.resolution,
            world,
            inputs=recipe.inputs,
            submodels=submodels,
            batch_size=min(max(rows, FEWEST_EVALUATED), MOST_EVALUATED),
            workers=recipe.runtime.workers or 0,
            bad_share=recipe.bad_share,
        )
