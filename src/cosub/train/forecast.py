"""How long a run from weights will take here: one micro-step and one evaluation are timed before the first step."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import nn

from cosub.data.transforms import normalize
from cosub.evaluation.accuracy import SHARES
from cosub.runs.tables import number_of
from cosub.train.choosing import chooses_before, evaluation_due
from cosub.train.finite import copied_buffers, restore_buffers
from cosub.train.trainer import Trainer

Value = TypeVar("Value")

_EVALUATED = 16  # images that are timed


def forecast(trainer: Trainer) -> str:
    """A sentence on the time of a new run from weights, which is left as it was.

    Empty for other runs, with several processes, and on a GPU, whose first steps are slow.
    """
    world, recipe = trainer.world, trainer.recipe
    if trainer.state.step or not recipe.weights or world.size > 1 or world.device.type != "cpu":
        return ""
    with _untouched(trainer.networks.trained):
        step, image = _seconds(trainer)
    source = trainer.source
    times = chooses_before(recipe) + sum(evaluation_due(recipe, epochs) for epochs in range(1, recipe.epochs + 1))
    images = times * len(source.validation_or_test.labels) + len(source.test.labels) * (1 + sum(SHARES))
    total = step * trainer.total_steps + image * images
    return (
        f"time: about {_told(total)} on this machine, as busy as it is now: "
        f"{number_of(trainer.total_steps, 'step')} of {_told(step)}, and {_told(image * images)} for evaluations"
    )


def _seconds(trainer: Trainer) -> tuple[float, float]:
    """Of a step with the loading of its images, and of the evaluation of an image."""
    networks, part, workers = trainer.networks, trainer.micro_step, trainer.recipe.runtime.workers or 0
    batches = trainer.batches(steps=1, workers=0)
    loading, batch = _timed(lambda: next(batches))
    networks.student.train()
    compute, _ = _timed(lambda: part.run(networks, networks.trained, batch, 0, 0))
    images = normalize(batch.images[:_EVALUATED], trainer.recipe.inputs)
    with torch.no_grad():
        evaluating, _ = _timed(lambda: networks.student.eval()(images))
    step = max(compute, loading / workers) if workers else compute + loading
    return step * trainer.share.micro_steps, evaluating / len(images) + loading / len(batch.images) / max(workers, 1)


def _timed(work: Callable[[], Value]) -> tuple[float, Value]:
    started = time.perf_counter()
    value = work()
    return time.perf_counter() - started, value


@contextmanager
def _untouched(networks: Mapping[str, nn.Module]) -> Iterator[None]:
    """Afterwards buffers, modes and torch's generator are as before, and there is no gradient."""
    buffers, modes = copied_buffers(networks), {name: network.training for name, network in networks.items()}
    with torch.random.fork_rng(devices=[]):
        yield
    restore_buffers(networks, buffers)
    for name, network in networks.items():
        network.zero_grad(set_to_none=True)
        network.train(modes[name])


def _told(seconds: float) -> str:
    if seconds >= 100:
        return f"{seconds / 60:.0f} min"
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.2g} s"
