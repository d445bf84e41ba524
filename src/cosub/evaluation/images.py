"""Sets of images to evaluate on: named, cut to a number, halved, held in memory."""

import dataclasses
from dataclasses import dataclass

import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from cosub.data.sources import BadImage, Examples, Part, all_images, open_source
from cosub.data.transforms import evaluation
from cosub.errors import InputError
from cosub.evaluation.classification import check_bad
from cosub.recipes.data import DataConfig, Digits
from cosub.recipes.inputs import Inputs
from cosub.seeds import derive


@dataclass(frozen=True)
class Images:
    """A set in memory, decoded and cropped once; unreadable images are left out and named."""

    pixels: UInt8[Tensor, "N 3 H W"]
    labels: Int64[Tensor, "N"]
    bad: list[str]


def images_of_run(data: DataConfig, classes: tuple[str, ...], name: str = "test", path: str = "") -> Examples:
    """The test or training images of a run's data, or other images of the same classes.

    Args:
        data: where the run found its images.
        classes: the run's, in order.
        name: "test", "train", or the path of another set: there, the test split, or all of a folder without splits.
        path: where the run's data lie now; empty: where the run found them.

    Raises:
        InputError: if there are no images, or they have other classes.
    """
    own = name in ("test", "train")
    where = path if own else name
    if where:
        if isinstance(data, Digits):
            raise InputError(
                f"data.path: {where}: the run was trained on the embedded digits, which have no path; leave it out"
            )
        data = dataclasses.replace(data, path=where)
        examples = None if own else all_images(data, classes)
        if examples is not None:
            return examples
    source = open_source(data)
    if source.classes != classes:
        raise InputError(
            f"data.path: {getattr(data, 'path', '')}: has {len(source.classes)} classes that are not those of the run "
            f"({', '.join(classes[:3])}, ...)"
        )
    return source.train if name == "train" else source.test


def some(examples: Examples, number: int, seed: int) -> Examples:
    """That many of the examples, drawn from the seed, in order; all of them if there are no more, or for 0."""
    if not 0 < number < len(examples.labels):
        return examples
    return Part(examples, sorted(_shuffled(len(examples.labels), seed)[:number]))


def halves(examples: Examples, seed: int) -> tuple[Examples, Examples]:
    """Two random halves of a set; of an odd number the first has one more.

    Raises:
        InputError: if there are fewer than two examples.
    """
    if len(examples.labels) < 2:
        raise InputError(f"images: {len(examples.labels)}: are too few for two halves; take a larger set or --limit")
    order = _shuffled(len(examples.labels), seed)
    return Part(examples, sorted(order[::2])), Part(examples, sorted(order[1::2]))


def in_memory(examples: Examples, resolution: int, inputs: Inputs, bad_share: float = 0.01) -> Images:
    """Decode and crop a set as an evaluation does: `3 * resolution ** 2` bytes an image.

    Raises:
        RunError: if more images than `bad_share` cannot be read.
    """
    transform = evaluation(resolution, inputs)
    pixels, labels, bad = [], [], []
    for index, label in enumerate(examples.labels):
        try:
            pixels.append(torch.as_tensor(transform(examples.image(index))))
            labels.append(label)
        except BadImage as error:
            bad.append(str(error))
    check_bad(bad, len(examples.labels), bad_share)
    if not pixels:
        raise InputError("images: none can be read; name another set")
    return Images(torch.stack(pixels), torch.tensor(labels), bad)


def _shuffled(number: int, seed: int) -> list[int]:
    generator = torch.Generator().manual_seed(derive("images", seed))
    return torch.randperm(number, generator=generator).tolist()
