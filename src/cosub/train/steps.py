"""How a run is divided: epochs into steps, and the batch of a step among processes."""

from cosub.data.loading import Slice, StepSampler, distinct_images
from cosub.errors import InputError
from cosub.recipes.recipe import Recipe


def steps_per_epoch(recipe: Recipe, num_images: int) -> int:
    """Whole batches in the training images. Images that are left over are in other epochs, which have other orders.

    Raises:
        InputError: if there are fewer images than in a batch.
    """
    if num_images < recipe.batch_size:
        raise InputError(
            f"batch_size: {recipe.batch_size}: is more than the {num_images} training images; "
            f"set --batch-size and --group-size to {num_images} or less"
        )
    return num_images // recipe.batch_size


def images_of_epoch(recipe: Recipe, steps: int) -> int:
    """Distinct images in an epoch of that many steps: fewer with repeated augmentation."""
    return steps * distinct_images(recipe.batch_size, recipe.augment.repeats)


def share(recipe: Recipe, rank: int, processes: int) -> Slice:
    """The groups of a process, divided into the recipe's micro-steps.

    Raises:
        InputError: if processes and micro-steps do not divide the groups of a batch.
    """
    parts = processes * recipe.runtime.micro_steps
    if recipe.num_groups % parts:
        smaller = f"take groups of {recipe.batch_size // parts} images (group_size), or "
        raise InputError(
            f"micro_steps: {recipe.runtime.micro_steps}: {processes} processes of {recipe.runtime.micro_steps} "
            f"micro-steps do not divide the {recipe.num_groups} groups of a batch; "
            f"{smaller if recipe.batch_size % parts == 0 else ''}change micro_steps, the number of processes, or the "
            "recipe's batch_size or group_size"
        )
    return Slice(rank, processes, recipe.runtime.micro_steps, recipe.num_groups)


def sampler_of(recipe: Recipe, num_images: int, part: Slice, steps: range) -> StepSampler:
    """The sampler of the images of a process in these steps."""
    return StepSampler(
        num_images, recipe.batch_size, recipe.group_size, recipe.seed, part, steps, recipe.augment.repeats
    )
