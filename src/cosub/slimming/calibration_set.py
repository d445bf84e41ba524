"""The images that layers are chosen on: of the training split or a folder, and none of them a test image."""

from pathlib import Path

from cosub.data.pixels import as_read, digest
from cosub.data.sources import BadImage, Examples, Part, Source, all_images
from cosub.errors import InputError
from cosub.evaluation.images import Images, draw_indices, load_into_memory, source_of_run
from cosub.recipes.data import Folder, Hub
from cosub.recipes.recipe import Recipe

COMPARED = 5000  # test images that calibration images are compared with: decoding all of a large set takes minutes
SHARED = 0.01  # photographs that a training and a test set have in common by accident are fewer


def calibration_images(source: Source, recipe: Recipe, path: str, number: int, seed: int) -> Images:
    """Images to choose layers on: of the training split, or of a folder.

    They are compared with the test images, up to 5,000 of them at random, by a hash of the decoded pixels: paths say
    nothing where a set was copied. Copies that were encoded anew are not found.

    Raises:
        InputError: if the folder holds no such images, or more than one in a hundred, reckoned from those that were
            compared, are test images.
    """
    examples = _elsewhere(path, source.classes, recipe) if path else source.train
    images = load_at_random(examples, number, recipe, seed, "calibration")
    compared = draw_indices(len(source.test.labels), seed, "comparison")[:COMPARED]
    common = sum(_digest_of(source.test, index) in images.digests for index in compared)
    if common * len(source.test.labels) > SHARED * len(images) * len(compared):
        raise InputError(
            f"calibration: {path or 'the training split'}: {common} of {len(compared)} test images are among its "
            f"{len(images)} images, and the test set is not used for model selection; name training images"
        )
    return images


def load_at_random(examples: Examples, number: int, recipe: Recipe, seed: int, purpose: str) -> Images:
    """So many images drawn at random, or all where there are fewer, in random order. Unreadable ones are left out.

    `purpose` is part of the seed.

    Raises:
        InputError: if none can be read.
    """
    drawn = Part(examples, draw_indices(len(examples.labels), seed, purpose)[:number])
    return load_into_memory(drawn, recipe.resolution, recipe.inputs, bad_share=1.0, what=purpose)


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
        return source_of_run(config, classes).train if found is None else found
    except InputError as error:
        raise InputError(f"calibration: {str(error).removeprefix('data.path: ').removeprefix('data: ')}") from error
