"""Sets of images to evaluate on: named, subsampled, halved, loaded into memory."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from cosub.choices import Choose
from cosub.data.marks import mark
from cosub.data.pixels import digest
from cosub.data.sources import BadImage, Examples, Part, Source, all_images, open_source, with_validation
from cosub.data.transforms import evaluation, normalize
from cosub.errors import InputError
from cosub.evaluation.accuracy import check_bad
from cosub.recipes.data import DataConfig
from cosub.recipes.inputs import Inputs
from cosub.recipes.recipe import Recipe
from cosub.seeds import derive


@dataclass(frozen=True)
class Images:
    """A set in memory, decoded and cropped. Unreadable images are left out and named in `bad`.

    `inputs` says how they are normalised. `digests` holds a hash of each decoded image.
    """

    pixels: UInt8[Tensor, "N 3 H W"]
    labels: Int64[Tensor, "N"]
    inputs: Inputs
    digests: frozenset[bytes] = frozenset()
    bad: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    def batches(self, size: int, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
        """Normalised images and their labels, in order."""
        for pixels, labels in zip(self.pixels.split(size), self.labels.split(size), strict=True):
            yield normalize(pixels.to(device, non_blocking=True), self.inputs), labels.to(device, non_blocking=True)


def images_of_run(
    data: DataConfig, classes: tuple[str, ...], name: str = "test", path: str = "", choose: Choose = "last"
) -> Examples:
    """The test or training images of a run's data, or other images of the same classes.

    Args:
        data: the run's.
        classes: the run's, in order.
        name: "test", "train", or the path of another set, as in `images_in`.
        path: where the run's data are now; empty: where they were in training.
        choose: the run's. If best, the validation images are none of the training images.

    Raises:
        InputError: if there are no images, or they have other classes.
    """
    if name not in ("test", "train"):
        return images_in(data, classes, name)
    source = source_of_run(data, classes, path, choose)
    return source.train if name == "train" else source.test


def images_in(data: DataConfig, classes: tuple[str, ...], path: str) -> Examples:
    """Images of a run's classes at a path: the test split there, or all of a folder without splits.

    Raises:
        InputError: if there are no images, or they have other classes.
    """
    found = all_images(data.at(path), classes)
    return source_of_run(data, classes, path).test if found is None else found


def has_moved_to(recipe: Recipe, classes: tuple[str, ...], path: str, fingerprint: str) -> bool:
    """Whether the data of a run lie at a path now.

    Args:
        recipe: the run's.
        classes: the run's.
        path: where they may be.
        fingerprint: of the run's data, by its summary; empty: unknown.
    """
    if not fingerprint or recipe.data.EMBEDDED:
        return False
    try:
        source = source_of_run(recipe.data, classes, path, recipe.choose)
    except InputError:
        return False
    return mark(source, recipe.data.at(path)) == fingerprint


def source_of_run(data: DataConfig, classes: tuple[str, ...], path: str = "", choose: Choose = "last") -> Source:
    """The data of a run, which may now be at another path. Arguments are those of `images_of_run`.

    Raises:
        InputError: if they are not there, or have other classes.
    """
    if path and data.EMBEDDED:
        raise InputError(
            f"data.path: {path}: the run was trained on the embedded {data.kind}, which have no path; leave it out"
        )
    data = data.at(path)
    source = open_source(data)
    if source.classes != classes:
        raise InputError(
            f"data.path: {data.place}: has {len(source.classes)} classes, not those of the run "
            f"({', '.join(classes[:3])}, ...)"
        )
    return with_validation(source) if choose == "best" else source


def subsample(examples: Examples, number: int, seed: int) -> Examples:
    """`number` of the examples, drawn by the seed, in order; all of them for 0, or if there are no more."""
    if not 0 < number < len(examples.labels):
        return examples
    return Part(examples, sorted(draw_indices(len(examples.labels), seed)[:number]))


def draw_indices(number: int, seed: int, purpose: str = "images") -> list[int]:
    """The indices below `number`, shuffled. `purpose` is part of the seed."""
    generator = torch.Generator().manual_seed(derive(purpose, seed))
    return torch.randperm(number, generator=generator).tolist()


def halves(examples: Examples, seed: int) -> tuple[Examples, Examples]:
    """Two random halves of a set; the first has one more of an odd number.

    Raises:
        InputError: if there are fewer than two examples.
    """
    if len(examples.labels) < 2:
        raise InputError(f"images: {len(examples.labels)}: are too few for two halves; take a larger set or --limit")
    order = draw_indices(len(examples.labels), seed)
    return Part(examples, sorted(order[::2])), Part(examples, sorted(order[1::2]))


def load_into_memory(
    examples: Examples, resolution: int, inputs: Inputs, bad_share: float = 0.01, what: str = "images"
) -> Images:
    """Decode and crop a set as for evaluation. An image takes `3 * resolution ** 2` bytes.

    Raises:
        RunError: if more images than `bad_share` cannot be read.
        InputError: if none can be read; `what` names the set.
    """
    transform = evaluation(resolution, inputs)
    pixels, labels, digests, bad = [], [], set(), []
    for index, label in enumerate(examples.labels):
        try:
            image = examples.image(index)
        except BadImage as error:
            bad.append(str(error))
            continue
        pixels.append(torch.as_tensor(transform(image)))
        labels.append(label)
        digests.add(digest(image))
    check_bad(bad, len(examples.labels), bad_share)
    if not pixels:
        raise InputError(f"{what}: none of the {len(examples.labels)} images can be read; name others")
    return Images(torch.stack(pixels), torch.tensor(labels), inputs, frozenset(digests), tuple(bad))
