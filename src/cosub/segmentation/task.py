"""A class for every pixel."""

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from cosub.data.loading import TrainingSet
from cosub.data.sources import Examples
from cosub.data.transforms import normalize
from cosub.errors import InputError
from cosub.evaluation.metric import Metric
from cosub.recipes.data import Scenes
from cosub.recipes.recipe import Recipe
from cosub.recipes.tasks import Segmentation
from cosub.runs.distributed import World
from cosub.segmentation.evaluation import Result, evaluate
from cosub.segmentation.loading import SceneSet
from cosub.segmentation.losses import IGNORE
from cosub.segmentation.methods import build_dense
from cosub.segmentation.metric import MIOU
from cosub.segmentation.network import Segmenter, build_segmenter
from cosub.segmentation.scenes import SceneExamples
from cosub.segmentation.transforms import TrainingCrop
from cosub.train.methods import Method
from cosub.train.steps import share
from cosub.train.tasks import Assumed, Task

ADE20K_IMAGES = 20_210


@dataclass(frozen=True)
class SegmentationTask(Task):
    metric: ClassVar[Metric] = MIOU

    @classmethod
    def method(cls, recipe: Recipe) -> Method:
        return build_dense(recipe.method)

    @classmethod
    def assumed(cls, recipe: Recipe) -> Assumed:
        """ADE20K, with as many classes as the recipe's data have."""
        assert isinstance(recipe.data, Scenes)
        return Assumed("ADE20K", ADE20K_IMAGES, recipe.classes or recipe.data.num_classes)

    @classmethod
    def empty_targets(cls, recipe: Recipe, images: int, classes: int) -> Tensor:
        return torch.zeros(images, recipe.resolution, recipe.resolution, dtype=torch.uint8)

    def network(self, seed: int, world: World) -> nn.Module:
        """The segmenter. BatchNorm in neck and heads is synchronised over GPUs; on CPUs it sees one process's rows.

        Raises:
            InputError: if it would see a single row, which has no deviation; for a deterministic run on a GPU.
        """
        if self.recipe.runtime.deterministic and world.device.type == "cuda":
            raise InputError("deterministic: UperNet's pooling has no deterministic gradient on a GPU; leave it out")
        copies = self.method(self.recipe).copies
        synchronised = world.size > 1 and world.device.type == "cuda"
        rows = copies * self.recipe.group_size * len(share(self.recipe, world.rank, world.size).groups(0))
        if rows == 1 and not synchronised:
            raise InputError(
                "group_size: 1: BatchNorm in UperNet needs two rows per process and micro-step; set --group-size 2, "
                "fewer processes or micro-steps, or --method cosub"
            )
        recipe = dataclasses.replace(self.recipe, seed=seed)
        network = build_segmenter(recipe, len(self.source.classes), copies)
        if synchronised:
            for name in ("neck", "decode_head", "auxiliary_head"):
                setattr(network, name, nn.SyncBatchNorm.convert_sync_batchnorm(getattr(network, name)))
        return network.to(world.device)

    def pretrained(self, network: nn.Module) -> nn.Module:
        assert isinstance(network, Segmenter)
        return network.backbone

    def training_set(self) -> TrainingSet:
        task, recipe = self.recipe.task, self.recipe
        assert isinstance(task, Segmentation)
        crop = TrainingCrop(task, recipe.resolution, recipe.inputs)
        return SceneSet(_scenes(self.source.train), crop, recipe.seed)

    def prepare(self, images: Tensor, labels: Tensor, step: int, groups: range) -> tuple[Tensor, Tensor]:
        """Normalised images, and the labels `(B, H, W)` of their pixels."""
        return normalize(images, self.recipe.inputs), labels

    def observe(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Pixel accuracy, and the number of crops in which all pixels are ignored: they are not in the loss."""
        valid = labels != IGNORE
        correct = logits.detach().argmax(1) == labels.repeat(len(logits) // len(labels), 1, 1)
        accuracy = correct.sum() / (valid.sum() * (len(logits) // len(labels))).clamp(min=1)
        return torch.stack([accuracy, (~valid.flatten(1).any(1)).sum().float()])

    def skipped(self, images: int) -> dict[str, Any]:
        return {"skipped_crops": images}

    def evaluate(
        self, network: nn.Module, examples: Examples, world: World, submodels: dict[str, list[int]] | None = None
    ) -> Result:
        """Evaluate at a single scale by sliding window. `cosub evaluate --keep` evaluates submodels."""
        workers = self.recipe.runtime.workers or 0
        return evaluate(network, _scenes(examples), self.source.classes, self.recipe, world, workers=workers)


def _scenes(examples: Examples) -> SceneExamples:
    assert isinstance(examples, SceneExamples)
    return examples
