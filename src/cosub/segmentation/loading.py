"""Scenes for training, by key, and for evaluation, one at a time."""

from typing import Any

import torch
from jaxtyping import UInt8
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms.v2 import functional

from cosub.data.decoding import BadImage, rgb
from cosub.data.loading import TrainingSet, context, leave_signals_to_the_trainer
from cosub.data.transforms import Transform
from cosub.segmentation.losses import IGNORE
from cosub.segmentation.scenes import SceneExamples
from cosub.segmentation.transforms import TrainingCrop

Crop = tuple[UInt8[Tensor, "3 R R"], UInt8[Tensor, "R R"]]


class SceneSet(TrainingSet):
    """Crops of scenes with their labels."""

    def __init__(self, examples: SceneExamples, crop: TrainingCrop, seed: int) -> None:
        super().__init__(examples, Transform(rgb, functional.pil_to_tensor), seed)
        self.scenes, self.crop = examples, crop

    def example(self, index: int) -> Crop:
        return self.crop(*self.scenes.pair(index))

    def blank(self, index: int) -> Crop:
        side = self.crop.resolution
        return torch.zeros(3, side, side, dtype=torch.uint8), torch.full((side, side), IGNORE, dtype=torch.uint8)


class ScenesInOrder(Dataset[Any]):
    """Whole images and their labels; of an unreadable one its name."""

    def __init__(self, examples: SceneExamples, indices: range) -> None:
        self.examples, self.indices = examples, indices

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, item: int) -> tuple[UInt8[Tensor, "3 H W"], UInt8[Tensor, "H W"]] | str:
        try:
            image, labels = self.examples.pair(self.indices[item])
        except BadImage as error:
            return str(error)
        return functional.pil_to_tensor(image), labels


def scene_loader(examples: SceneExamples, indices: range, workers: int) -> DataLoader[Any]:
    dataset = ScenesInOrder(examples, indices)
    return DataLoader(
        dataset,
        batch_size=None,
        num_workers=workers,
        multiprocessing_context=context(workers),
        worker_init_fn=leave_signals_to_the_trainer,
    )
