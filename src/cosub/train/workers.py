"""How many processes load images, where a recipe leaves it open."""

import os

from cosub.recipes.changes import changed
from cosub.recipes.recipe import Recipe
from cosub.runs.distributed import World

MOST = 16


def with_workers(recipe: Recipe, world: World) -> Recipe:
    """The recipe with a number of loader workers.

    On a GPU one for each CPU of this process but one, at most 16; the processes of a machine share its CPUs. None where
    images lie in memory, and on a CPU, which training needs itself.
    """
    if recipe.runtime.workers is not None:
        return recipe
    needed = world.device.type == "cuda" and not (recipe.data.EMBEDDED or recipe.data.on_device)
    free = _cpus() // world.local_size - 1 if needed else 0
    return changed(recipe, {"runtime.workers": min(max(free, 0), MOST)})


def _cpus() -> int:
    """That this process may use: a job of Slurm, or a container, may have some of the machine's."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
