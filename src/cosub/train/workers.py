"""How many processes load images, where a recipe leaves it open."""

import math
import os

from cosub.recipes.changes import changed
from cosub.recipes.recipe import Recipe
from cosub.runs.distributed import World
from cosub.train.tasks.classification import MOST_EVALUATED

MOST = 16
PREFETCHED = 2  # batches of each worker, as DataLoader has by default


def with_workers(recipe: Recipe, world: World) -> Recipe:
    """The recipe with a number of loader workers.

    On a GPU one for each CPU of this process but one, at most 16, and no more than shared memory holds the batches of:
    containers have 64 MB of it by default. The processes of a machine share both. None where images lie in memory, and
    on a CPU, which training needs itself.
    """
    if recipe.runtime.workers is not None:
        return recipe
    needed = world.device.type == "cuda" and not (recipe.data.EMBEDDED or recipe.data.on_device)
    images = max(recipe.batch_size // (world.size * recipe.runtime.micro_steps), MOST_EVALUATED)
    batch = 3 * recipe.resolution**2 * images
    room = _shared_memory() / (2 * world.local_size * PREFETCHED * batch)  # half of it
    found = min(_cpus() // world.local_size - 1, int(room), MOST) if needed else 0
    return changed(recipe, {"runtime.workers": max(found, 0)})


def _shared_memory() -> float:
    """Free bytes of what loader workers pass images in."""
    try:
        place = os.statvfs("/dev/shm")
    except (OSError, AttributeError):  # another system, whose workers pass them in another way
        return math.inf
    return place.f_bavail * place.f_frsize


def _cpus() -> int:
    """That this process may use: a job of Slurm, or a container, may have some of the machine's."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
