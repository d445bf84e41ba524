"""Seconds of a training step of several recipes, measured in turns, so that what else a machine does falls on all."""

import dataclasses
import itertools
import statistics
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cosub.data.sources import Part, Source
from cosub.recipes.recipe import Recipe
from cosub.runs import cpu, distributed
from cosub.runs.folder import RunFolder
from cosub.runs.progress import Reporter
from cosub.runs.timing import seconds_of
from cosub.train.logs import Window
from cosub.train.parallel import parallel
from cosub.train.tasks import task_type
from cosub.train.trainer import Trainer

_WARM, _TIMED = 1, 3  # turns: the first one, and the fewest that count
_EVALUATED = 128  # images
_ENDLESS = 10**6  # epochs


@dataclass(frozen=True)
class Paces:
    """What recipes cost here."""

    step: Mapping[str, float]
    """Seconds of an optimizer step of each recipe, with loading its images: medians."""
    image: float
    """Seconds for which the full network is evaluated on an image."""


def measure(recipes: Mapping[str, Recipe], seconds: float) -> Paces:
    """Train steps of all recipes in turn for about so many seconds, on the data of the first. Nothing is written.

    Raises:
        InputError: if a recipe cannot be run here.
    """
    cpu.keep_freed_memory()  # as a run does: else steps that gather rows look dearer beside masked ones than they are
    first, *_ = recipes.values()
    world = distributed.join(first.runtime.device, first.runtime.timeout)
    source = task_type(first).open(first)
    with tempfile.TemporaryDirectory() as nowhere:
        ready = {name: _Stepper(recipe, source, world, Path(nowhere) / "none") for name, recipe in recipes.items()}
        taken: dict[str, list[float]] = {name: [] for name in recipes}
        until = time.monotonic() + seconds
        for turn in itertools.count():
            if turn >= _WARM + _TIMED and time.monotonic() >= until:
                break
            for name, stepper in ready.items():
                taken[name].append(seconds_of(world.device, stepper.step))
        some = Part(source.validation_or_test, range(min(_EVALUATED, len(source.validation_or_test.labels))))
        trainer = next(iter(ready.values())).trainer
        evaluated = seconds_of(world.device, trainer.evaluate, some)
    medians = {name: statistics.median(found[_WARM:]) for name, found in taken.items()}
    return Paces(medians, evaluated / len(some.labels))


class _Stepper:
    """A recipe that trains a step when it is asked to."""

    def __init__(self, recipe: Recipe, source: Source, world: distributed.World, folder: Path) -> None:
        endless = dataclasses.replace(recipe, epochs=_ENDLESS)
        self.trainer = Trainer(endless, source, world, RunFolder(folder), Reporter())
        self.trainer.prepare()
        self.runners = parallel(self.trainer.networks.trained, recipe.resolution, world)
        self.batches, self.window = self.trainer.batches(), Window(recipe.batch_size)

    def step(self) -> None:
        self.trainer.train_step(self.runners, self.batches, self.window)
        self.trainer.state.step += 1
