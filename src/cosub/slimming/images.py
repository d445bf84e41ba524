"""Images held in memory as a network sees them: those that layers are chosen on, and those of a frontier."""

import dataclasses
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from cosub.data.pixels import as_read
from cosub.data.sources import BadImage, Examples, Source, all_images, open_source
from cosub.data.transforms import evaluation, normalize
from cosub.errors import InputError
from cosub.recipes.data import Folder, Hub
from cosub.recipes.inputs import Inputs
from cosub.recipes.recipe import Recipe
from cosub.seeds import derive

COMPARED = 5000  # test images that calibration images are compared with: decoding all of a large set takes minutes
SHARED = 0.01  # photographs that a training and a test set have in common by accident are fewer


@dataclass(frozen=True)
class Images:
    """`pixels` is `(N, 3, H, W)` of uint8, `labels` `(N,)`; `digests` tell the images as they were decoded."""

    pixels: Tensor
    labels: Tensor
    digests: frozenset[bytes]
    inputs: Inputs

    def __len__(self) -> int:
        return len(self.labels)

    def batches(self, size: int, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
        """Normalised images and their labels, in order."""
        for pixels, labels in zip(self.pixels.split(size), self.labels.split(size), strict=True):
            yield normalize(pixels.to(device), self.inputs), labels.to(device)


def hold(examples: Examples, indices: Sequence[int], recipe: Recipe, what: str = "calibration") -> Images:
    """Decode and crop as for an evaluation. Images that cannot be read are left out.

    Raises:
        InputError: if none can be read; `what` says of which.
    """
    transform = evaluation(recipe.resolution, recipe.inputs)
    pixels, labels, digests = [], [], set()
    for index in indices:
        try:
            image = examples.image(index)
        except BadImage:
            continue
        pixels.append(torch.as_tensor(transform(image)))
        labels.append(examples.labels[index])
        digests.add(digest(image))
    if not pixels:
        remedy = "name others with --calibration PATH" if what == "calibration" else "mend them"
        raise InputError(f"{what}: none of the {len(indices)} images can be read; {remedy}")
    return Images(torch.stack(pixels), torch.tensor(labels), frozenset(digests), recipe.inputs)


def some(number: int, of: int, seed: int, purpose: str) -> list[int]:
    """So many indices at random, or all where there are fewer, in random order."""
    generator = torch.Generator().manual_seed(derive(purpose, seed))
    return torch.randperm(of, generator=generator)[:number].tolist()


def calibration_images(source: Source, recipe: Recipe, path: str, number: int, seed: int) -> Images:
    """Images to choose layers on: of the training split, or of a folder.

    They are compared with the test images, up to 5,000 of them at random, by a hash of the decoded pixels: paths say
    nothing where a set was copied. Copies that were encoded anew are not found.

    Raises:
        InputError: if the folder holds no such images, or more than one in a hundred, reckoned from those that were
            compared, are test images.
    """
    examples = _elsewhere(path, source.classes, recipe) if path else source.train
    images = hold(examples, some(number, len(examples.labels), seed, "calibration"), recipe)
    compared = some(COMPARED, len(source.test.labels), seed, "comparison")
    common = sum(_digest_of(source.test, index) in images.digests for index in compared)
    if common * len(source.test.labels) > SHARED * len(images) * len(compared):
        raise InputError(
            f"calibration: {path or 'the training split'}: {common} of {len(compared)} test images are among its "
            f"{len(images)} images, and what is chosen on them cannot be judged by them; name training images"
        )
    return images


def source_of(recipe: Recipe, path: str, classes: tuple[str, ...]) -> Source:
    """The data of a run, which may lie elsewhere now.

    Raises:
        InputError: if they are not there, or have other classes.
    """
    data = recipe.data
    if path and data.kind == "digits":
        raise InputError("data.path: the run was trained on the embedded digits, which have no path; leave it out")
    source = open_source(dataclasses.replace(data, path=path) if path else data)
    if source.classes != classes:
        raise InputError(
            f"data.path: {path or getattr(data, 'path', '')}: has {len(source.classes)} classes that are not those of "
            f"the run ({', '.join(classes[:3])}, ...)"
        )
    return source


def digest(image: Image.Image) -> bytes:
    return hashlib.blake2b(repr(image.size).encode() + image.tobytes(), digest_size=16).digest()


def _digest_of(examples: Examples, index: int) -> bytes:
    try:
        return digest(examples.image(index))
    except BadImage:
        return b""


def _elsewhere(path: str, classes: tuple[str, ...], recipe: Recipe) -> Examples:
    """The training images at a path, or all where there are no splits, with the labels of the run's classes."""
    folder = Path(path).expanduser()
    if not folder.is_dir():
        raise InputError(f"calibration: {path}: is not a folder; name one with images, or leave it out")
    parquet = any(folder.glob("*.parquet")) or any(folder.glob("*/*.parquet"))
    config = as_read(Hub(path=path) if parquet else Folder(path=path), recipe.data)
    try:
        found = all_images(config, classes)
        source = None if found is not None else open_source(config)
    except InputError as error:
        raise InputError(f"calibration: {str(error).removeprefix('data.path: ').removeprefix('data: ')}") from error
    if source is None:
        assert found is not None
        return found
    if source.classes != classes:
        raise InputError(f"calibration: {path}: has other classes than the run ({', '.join(classes[:3])}, ...)")
    return source.train
