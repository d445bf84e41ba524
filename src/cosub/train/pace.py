"""Seconds of a training step of several recipes, measured in turns, so that what else a machine does falls on all."""

import dataclasses
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch

from cosub.data.sources import Part
from cosub.recipes.recipe import Recipe
from cosub.runs import cpu, distributed
from cosub.runs.folder import RunFolder
from cosub.runs.progress import Reporter
from cosub.runs.timing import seconds_of
from cosub.train.logs import Window
from cosub.train.parallel import parallel
from cosub.train.process import PRELOADED
from cosub.train.tasks import task_type
from cosub.train.trainer import Trainer
from cosub.train.workers import with_workers

_TURNS = 2
_WARM, _BLOCKS = 2, 3  # of a turn: the first steps, and the parts that are timed
_EVALUATED = 128  # images
_ENDLESS = 10**6  # epochs


@dataclass(frozen=True)
class Paces:
    """What recipes cost here."""

    step: Mapping[str, float]
    """Seconds of an optimizer step of each recipe, with loading its images: medians over parts of turns."""
    image: float
    """Seconds for which the full network is evaluated on an image."""


def measure(recipes: Mapping[str, Recipe], seconds: float, jobs: int = 1) -> Paces:
    """Train steps of all recipes in turn for about so many seconds. Nothing is written, and no weights are read.

    Each turn has processes of its own, as a run has. In one process that held all networks, memory was not reused as
    in a run: steps that gather rows took up to a fifth longer, and masked ones no longer (LOG.md, 2026-11-27).

    Args:
        recipes: by name.
        seconds: of training; a turn has a few steps at least.
        jobs: processes at once: as many as there will be runs, since they slow each other down. Of several, each has
            one thread.

    Raises:
        InputError: if a recipe cannot be run here.
    """
    recipes = {name: dataclasses.replace(recipe, weights="", head="zero") for name, recipe in recipes.items()}
    share = seconds / (_TURNS * len(recipes))
    taken: dict[str, list[float]] = {name: [] for name in recipes}
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    with ProcessPoolExecutor(jobs, context, max_tasks_per_child=1) as pool:

        def together(work: Callable[..., list[float]], *arguments: object) -> list[float]:
            started = [pool.submit(_alone, jobs > 1, work, *arguments) for _ in range(jobs)]
            return [value for job in started for value in job.result()]

        for _ in range(_TURNS):
            for name, recipe in recipes.items():
                taken[name] += together(time_steps, recipe, share)
        evaluated = together(time_evaluation, next(iter(recipes.values())))
    return Paces({name: statistics.median(found) for name, found in taken.items()}, statistics.mean(evaluated))


def _alone(one_thread: bool, work: Callable[..., list[float]], *arguments: object) -> list[float]:
    cpu.keep_freed_memory()
    if one_thread:
        torch.set_num_threads(1)
    return work(*arguments)


def time_steps(recipe: Recipe, seconds: float) -> list[float]:
    """Seconds of a step of a recipe, in parts of about so long together, without the first steps.

    A GPU is waited for at the ends of a part alone. In a run it computes while the next images are loaded, which is
    free where loading takes longer.
    """
    trainer = _ready(dataclasses.replace(recipe, epochs=_ENDLESS))
    runners = parallel(trainer.networks.trained, recipe.resolution, trainer.world)
    batches, window = trainer.batches(), Window(recipe.batch_size)

    def step() -> None:
        trainer.train_step(runners, batches, window)
        trainer.state.step += 1

    def block() -> None:
        until = time.monotonic() + seconds / _BLOCKS
        step()
        while time.monotonic() < until:
            step()

    for _ in range(_WARM):
        step()
    taken: list[float] = []
    for _ in range(_BLOCKS):
        before = trainer.state.step
        whole = seconds_of(trainer.world.device, block)
        taken.append(whole / (trainer.state.step - before))
    return taken


def time_evaluation(recipe: Recipe) -> list[float]:
    """Seconds for which the full network is evaluated on an image."""
    trainer = _ready(recipe)
    images = trainer.source.validation_or_test
    some = Part(images, range(min(_EVALUATED, len(images.labels))))
    trainer.evaluate(some)  # a GPU's first takes a second more
    return [seconds_of(trainer.world.device, trainer.evaluate, some) / len(some.labels)]


def _ready(recipe: Recipe) -> Trainer:
    world = distributed.join(recipe.runtime.device, recipe.runtime.timeout)
    source = task_type(recipe).open(recipe)
    with tempfile.TemporaryDirectory() as nowhere:
        trainer = Trainer(with_workers(recipe, world), source, world, RunFolder(Path(nowhere) / "none"), Reporter())
        trainer.prepare()
        return trainer
