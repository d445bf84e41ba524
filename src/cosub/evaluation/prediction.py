"""What a classifier makes of images, prepared as its run prepares images."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from cosub.data.decoding import Read, decode, rgb
from cosub.data.loading import Batch, TestSet, test_loader
from cosub.data.pixels import by_rule
from cosub.data.transforms import evaluation, normalize
from cosub.evaluation.accuracy import logits_of
from cosub.recipes.recipe import Recipe


class Likely(NamedTuple):
    """A batch of files that could be read, the probability of each class for each of them, and what could not."""

    paths: list[Path]
    probabilities: Float[Tensor, "B C"]
    bad: list[str]


@dataclass(frozen=True)
class _Files:
    """Image files as a set; the label of each is its place, by which it is known again in a batch."""

    paths: Sequence[Path]

    @property
    def labels(self) -> range:
        return range(len(self.paths))

    def image(self, index: int, read: Read = rgb) -> Any:
        return decode(lambda: self.paths[index], self.name(index), read)

    def name(self, index: int) -> str:
        return str(self.paths[index])


def predict_files(
    network: nn.Module,
    recipe: Recipe,
    paths: Sequence[Path],
    kept: Sequence[int] | None = None,
    batch_size: int = 256,
    workers: int = 0,
) -> Iterator[Likely]:
    """Batches of the files, in order. Arguments as for `probabilities`; `workers` are processes that load images."""
    files = by_rule(_Files(paths), recipe.data)
    dataset = TestSet(files, evaluation(recipe.resolution, recipe.inputs), range(len(paths)))
    for batch in test_loader(dataset, batch_size, workers, _device(network).type == "cuda"):
        if isinstance(batch, Batch):
            read = [paths[place] for place in batch.labels.tolist()]
            yield Likely(read, probabilities(network, recipe, batch.images, kept), batch.bad)
        else:
            yield Likely([], torch.empty(0, 0), batch)


def probabilities(
    network: nn.Module, recipe: Recipe, pixels: UInt8[Tensor, "B 3 H W"], kept: Sequence[int] | None = None
) -> Float[Tensor, "B C"]:
    """The probability of each class for each image, computed on the network's device, on the CPU.

    Args:
        network: in eval mode.
        recipe: says how images are normalised.
        pixels: resized and cropped by `evaluation`.
        kept: the residual layers of a submodel; None for all.
    """
    with torch.inference_mode():
        images = normalize(pixels.to(_device(network), non_blocking=True), recipe.inputs)
        return logits_of(network, images, kept).softmax(1).cpu()


def _device(network: nn.Module) -> torch.device:
    return next(network.parameters()).device
