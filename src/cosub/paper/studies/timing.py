"""What runs will take: by runs of the same shape that the ledger knows, or by a few steps of their own."""

import dataclasses
import json
import statistics
import time
from typing import Any

from cosub.paper.studies.grid import Study
from cosub.paper.studies.ledger import Line
from cosub.paper.studies.work import Place
from cosub.recipes.recipe import Recipe

_SHAPE = ("model", "model_args", "resolution", "drop_rate", "schedule", "rounding", "batch_size")
_WARM, _TIMED = 1, 3


def costs(study: Study, seeds: int, place: Place) -> list[dict[str, Any]]:
    """Every run of a study: its state, its steps, and seconds with their source for what is to be trained.

    The ledger's seconds were measured on its own device; own steps are those of one thread on the CPU, without
    loading images, and leave out evaluation.
    """
    known = _known(study, seeds, place)
    measured: dict[str, float] = {}
    listed = []
    for run in study.runs(seeds):
        recipe, state = run.recipe, place.state(run)
        steps, key = _steps(recipe), shape(recipe)
        seconds, source = known.get(key), "runs of this shape"
        if seconds is None and steps and state not in ("recorded", "finished"):
            if key not in measured:
                measured[key] = step_seconds(recipe)
            seconds, source = measured[key], "measured steps, one thread"
        listed.append(
            {
                "run": str(run),
                "state": state,
                "steps": steps,
                "seconds": None if seconds is None or steps is None else round(seconds * steps, 1),
                "source": source,
                "folder": str(run.folder(place.out)),
            }
        )
    return listed


def shape(recipe: Recipe) -> str:
    """What the time of a step depends on."""
    values = {name: value for name, value in dataclasses.asdict(recipe).items() if name in _SHAPE}
    return json.dumps([values, recipe.method.kind, recipe.data.kind], sort_keys=True)


def _known(study: Study, seeds: int, place: Place) -> dict[str, float]:
    """Seconds per step by shape, of this study's runs that are recorded, whichever study recorded them."""
    found: dict[str, list[float]] = {}
    for run in study.runs(seeds):
        line: Line | None = place.ledger.find(run)
        if line is not None:
            found.setdefault(shape(run.recipe), []).append(line["seconds"] / line["steps"])
    return {key: statistics.median(values) for key, values in found.items()}


def _steps(recipe: Recipe) -> int | None:
    """Optimizer steps of a run; None where the recipe does not say how many images there are."""
    number = getattr(recipe.data, "train_images", 0)
    return recipe.epochs * (number // recipe.batch_size) if number else None


def step_seconds(recipe: Recipe) -> float:
    """Seconds of a training step on the CPU with one thread: forward, loss, backward, optimizer."""
    import torch
    from torch.nn.functional import one_hot

    from cosub.runs.network import build_network
    from cosub.train.methods import build
    from cosub.train.methods.alike import networks_alike
    from cosub.train.optim import build_optimizer

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        method = build(recipe.method)
        networks = networks_alike(method, lambda: build_network(recipe, 10, method.copies).train())
        optimizer = build_optimizer(recipe, *networks.trained.values())
        images = torch.zeros(recipe.batch_size, 3, recipe.resolution, recipe.resolution)
        targets = one_hot(torch.arange(recipe.batch_size) % 10, 10).float()
        seconds = []
        for _ in range(_WARM + _TIMED):
            started = time.perf_counter()
            method(networks.all, images, targets)[0].backward()
            optimizer.step()
            method.after_step(networks.all)
            optimizer.zero_grad()
            seconds.append(time.perf_counter() - started)
        return statistics.median(seconds[_WARM:])
    finally:
        torch.set_num_threads(before)
