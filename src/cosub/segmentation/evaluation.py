"""Mean intersection over union: sliding window or whole image, one scale or several, each pixel counted once.

Evaluation is written as generators that yield images and are sent logits, so that all processes run the network equally
often, which a sharded one needs.
"""

import math
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn
from torchvision.transforms.v2 import functional

from cosub.attachment import active, layers_per_block
from cosub.data.transforms import normalize
from cosub.errors import InputError
from cosub.evaluation.accuracy import check_bad
from cosub.recipes.recipe import Recipe
from cosub.recipes.tasks import Segmentation
from cosub.runs.distributed import World
from cosub.runs.network import evaluating
from cosub.segmentation.loading import scene_loader
from cosub.segmentation.losses import IGNORE
from cosub.segmentation.methods import enlarged
from cosub.segmentation.metric import MIOU
from cosub.segmentation.network import Segmenter
from cosub.segmentation.scenes import SceneExamples
from cosub.segmentation.transforms import fitted
from cosub.submodel import keep_layers

SCALES = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)
STRIDE = 2 / 3  # of the window's side: 341 of 512, as by the authors of BEiT and ConvNeXt
_WINDOWS = 8  # per batch

Work = Generator[Tensor, Tensor, Any]


@dataclass(frozen=True)
class Mode:
    """How an image is evaluated. Multi-scale is `Mode(scales=SCALES, flip=True)`."""

    whole: bool = False
    """Whether the network sees the whole image, instead of windows of the training crop's size."""
    scales: tuple[float, ...] = (1.0,)
    flip: bool = False


SINGLE, MULTI = Mode(), Mode(scales=SCALES, flip=True)


@dataclass(frozen=True)
class ClassScore:
    """Scores of one class over all pixels. `iou` is None if it neither occurs nor is predicted, `accuracy` if it does
    not occur."""

    name: str
    iou: float | None
    accuracy: float | None
    pixels: int


@dataclass(frozen=True)
class Result:
    """Means over classes (`miou`, `mean_accuracy`) and over pixels (`accuracy`), in [0, 1]."""

    miou: float
    mean_accuracy: float
    accuracy: float
    classes: tuple[ClassScore, ...]
    num_images: int
    bad: list[str]
    matrix: Int[Tensor, "C C"] = field(compare=False, repr=False)
    """`matrix[label, prediction]` in pixels."""
    scenes: Mapping[int, float] = field(default_factory=dict, compare=False, repr=False)
    """Of this process: the pixel accuracy of each scene that has a label, by its place in the set."""

    @property
    def headline(self) -> dict[str, float]:
        return {MIOU.key: self.miou}

    @property
    def summary(self) -> dict[str, Any]:
        """Plain values for a run's summary."""
        return {
            "miou": self.miou,
            "mean_accuracy": self.mean_accuracy,
            "accuracy": self.accuracy,
            "iou": {score.name: score.iou for score in self.classes},
            "num_images": self.num_images,
        }


@dataclass(frozen=True)
class Viewer:
    """From an image to the probability of each class at each pixel."""

    recipe: Recipe
    mode: Mode
    multiple: int
    """The height and width of the network's input are multiples of it."""
    device: torch.device

    def probabilities(self, image: UInt8[Tensor, "3 H W"]) -> Work:
        """Yields inputs of the network; returns `(C, H, W)`, the mean over scales and flips."""
        task = self.recipe.task
        assert isinstance(task, Segmentation)
        look = self._whole if self.mode.whole else self._slide
        total, views = torch.zeros((), device=self.device), 0
        for scale in self.mode.scales:
            size = list(fitted((image.shape[1], image.shape[2]), task.short_side, scale))
            scaled = functional.resize(image, size, antialias=True)[None].to(self.device)
            scaled = normalize(scaled, self.recipe.inputs)
            for flipped in (False, True) if self.mode.flip else (False,):
                logits = yield from look(scaled.flip(3) if flipped else scaled)
                logits = logits.flip(3) if flipped else logits
                total = total + enlarged(logits, image.shape[1:]).softmax(1)[0]
                views += 1
        return total / views

    def _whole(self, view: Float[Tensor, "1 3 h w"]) -> Work:
        """Logits `(1, C, h, w)` of the whole view."""
        height, width = view.shape[2:]
        size = [math.ceil(side / self.multiple) * self.multiple for side in (height, width)]
        logits = yield _padded(view, *size)
        return enlarged(logits.float(), tuple(size))[:, :, :height, :width]

    def _slide(self, view: Float[Tensor, "1 3 h w"]) -> Work:
        """Logits `(1, C, h, w)`: at each pixel the mean over the windows that cover it."""
        side = self.recipe.resolution
        height, width = view.shape[2:]
        view = _padded(view, max(height, side), max(width, side))
        places = [(top, left) for top in starts(view.shape[2], side) for left in starts(view.shape[3], side)]
        total, times = torch.zeros((), device=self.device), torch.zeros(view.shape[2:], device=self.device)
        for first in range(0, len(places), _WINDOWS):
            chunk = places[first : first + _WINDOWS]
            logits = yield torch.cat([view[:, :, top : top + side, left : left + side] for top, left in chunk])
            logits = logits.float()  # sums of bf16 would change one pixel in a hundred
            if total.dim() == 0:
                total = logits.new_zeros(1, logits.shape[1], *view.shape[2:])
            for (top, left), window in zip(chunk, enlarged(logits, (side, side)), strict=True):
                total[0, :, top : top + side, left : left + side] += window
                times[top : top + side, left : left + side] += 1
        return (total / times)[:, :, :height, :width]


def starts(length: int, window: int) -> list[int]:
    """The first pixels of the windows along a side: a stride apart, the last window at the end."""
    stride = max(int(window * STRIDE), 1)
    return [min(index * stride, length - window) for index in range(math.ceil((length - window) / stride) + 1)]


def viewer(recipe: Recipe, network: nn.Module, mode: Mode, device: torch.device) -> Viewer:
    """A viewer for a recipe's network.

    Raises:
        InputError: for whole images and a network that takes only one size.
    """
    shape = _segmenter(network).shape
    if mode.whole and not shape.any_size:
        raise InputError(f"whole: {recipe.model} takes only images of {recipe.resolution} pixels; leave it out")
    return Viewer(recipe, mode, shape.stride, device)


def evaluate(
    network: nn.Module,
    examples: SceneExamples,
    classes: Sequence[str],
    recipe: Recipe,
    world: World,
    *,
    mode: Mode = SINGLE,
    layers: Sequence[int] | None = None,
    workers: int = 0,
) -> Result:
    """Evaluate a segmenter on a set of scenes, at the images' own resolution. `layers` are the residual layers to keep.

    Each process evaluates every world.size-th image; confusion matrices are summed and nothing is padded.

    Raises:
        InputError: as `viewer`.
        RunError: if more images than the recipe's share cannot be read.
    """
    look = viewer(recipe, network, mode, world.device)
    matrix = torch.zeros(len(classes), len(classes), dtype=torch.long, device=world.device)
    scenes: dict[int, float] = {}
    bad: list[str] = []
    places = range(world.rank, len(examples.labels), world.size)
    pairs = zip(places, scene_loader(examples, places, workers), strict=True)
    with evaluating(network), torch.no_grad():
        idle = torch.zeros(1, 3, recipe.resolution, recipe.resolution, device=world.device)
        drive(_evaluate(look, pairs, matrix, scenes, bad), network, world, idle, layers)
    bad = sorted(world.gather(set(bad)))
    check_bad(bad, len(examples.labels), recipe.bad_share)
    return replace(score(world.sum(matrix), classes, len(examples.labels) - len(bad), bad), scenes=scenes)


def _evaluate(
    look: Viewer, pairs: Iterator[tuple[int, Any]], matrix: Tensor, scenes: dict[int, float], bad: list[str]
) -> Work:
    for place, pair in pairs:
        if isinstance(pair, str):
            bad.append(pair)
            continue
        image, labels = pair
        found = yield from look.probabilities(image)
        labels = labels.to(look.device)
        counted = labels != IGNORE
        cells = labels[counted].long() * len(matrix) + found.argmax(0)[counted]
        counts = torch.bincount(cells, minlength=matrix.numel()).view_as(matrix)
        matrix += counts
        if number := len(cells):
            scenes[place] = int(counts.trace()) / number


def drive(work: Work, network: nn.Module, world: World, idle: Tensor, layers: Sequence[int] | None = None) -> Any:
    """Run the network on what `work` yields until all processes are done. Returns what the work returns."""
    result = None

    def following(logits: Tensor | None) -> Tensor | None:
        nonlocal result
        try:
            return next(work) if logits is None else work.send(logits)
        except StopIteration as end:
            result = end.value
            return None

    request = following(None)
    while world.any(request is not None):
        logits = _logits(network, idle if request is None else request, layers)
        if request is not None:
            request = following(logits)
    return result


def drive_alone(work: Work, network: nn.Module, look: Viewer, layers: Sequence[int] | None = None) -> Any:
    """`drive` in a single process."""
    alone, side = World(0, 1, look.device), look.recipe.resolution
    with torch.no_grad():
        return drive(work, network, alone, torch.zeros(1, 3, side, side, device=look.device), layers)


def score(matrix: Int[Tensor, "C C"], classes: Sequence[str], num_images: int, bad: list[str]) -> Result:
    """Scores from a confusion matrix of pixels, `matrix[label, prediction]`.

    A class that neither occurs nor is predicted is excluded from the means.
    """
    counts = matrix.double().cpu()
    correct, labelled, predicted = counts.diagonal(), counts.sum(1), counts.sum(0)
    iou, accuracy = correct / (labelled + predicted - correct), correct / labelled
    scores = tuple(
        ClassScore(name, _number(iou[index]), _number(accuracy[index]), int(labelled[index]))
        for index, name in enumerate(classes)
    )
    miou, mean, pixels = (
        _number(value) or 0.0 for value in (iou.nanmean(), accuracy.nanmean(), correct.sum() / labelled.sum())
    )
    return Result(miou, mean, pixels, scores, num_images, bad, matrix.cpu())


def _number(value: Tensor) -> float | None:
    return None if value.isnan() else round(float(value), 6)


def _logits(network: nn.Module, images: Tensor, layers: Sequence[int] | None) -> Tensor:
    if layers is None:
        return network(images).logits
    with active(network, keep_layers(layers, sum(layers_per_block(network)), len(images))):
        return network(images).logits


def _segmenter(network: nn.Module) -> Segmenter:
    """The segmenter, also from inside a wrapper."""
    return next(module for module in network.modules() if isinstance(module, Segmenter))


def _padded(view: Tensor, height: int, width: int) -> Tensor:
    """The view padded with the mean colour, right and below."""
    return F.pad(view, (0, width - view.shape[3], 0, height - view.shape[2]))
