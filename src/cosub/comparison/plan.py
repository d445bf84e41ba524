"""The plan of a comparison: what a step of each arm costs here, and how many epochs that makes. Measured once, kept."""

import json
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cosub.comparison.request import Request
from cosub.comparison.start import start
from cosub.data.sources import Source
from cosub.errors import InputError
from cosub.paper.studies.arms import ARMS, FIRST
from cosub.recipes.changes import changed
from cosub.recipes.files import parse
from cosub.recipes.recipe import Recipe
from cosub.runs.folder import write_atomically
from cosub.train.pace import Paces, measure
from cosub.train.steps import steps_per_epoch

RATES = (0.1, 0.3)
LEARNING_RATES = (0.5, 2.0)
"""As factors of the recipe's."""
SHORT = 0.5
"""Time of a run that serves to choose, as a share of the others'."""

_RESERVE = 0.1  # of the minutes, for what is slower than when it was measured
_MEASURING = 0.03  # of the minutes
_AROUND = 6.0  # seconds: a run's process, its network and its picture
_FEWEST = 3  # epochs
_AGAIN = 1.25  # minutes that are asked for, as a ratio to those needed: the next call measures anew


@dataclass(frozen=True)
class Plan:
    """Everything that the runs of a comparison are a function of."""

    asked: Mapping[str, Any]
    recipe: Recipe
    arms: tuple[str, ...]
    seeds: int
    seconds: float
    """Of training, for each run of the table."""
    steps: int
    """Of an epoch."""
    step_seconds: Mapping[str, float]
    """Of an optimizer step, by arm and drop rate (`pace_of`)."""
    validation_images: int
    test_images: int
    """0 where the folder has no images beside those used for model selection."""

    @property
    def images(self) -> int:
        """On which accuracy is measured."""
        return self.test_images or self.validation_images

    def epochs(self, arm: str, rate: float, short: bool) -> int:
        """As many as come nearest to the time: rounded down, an arm of few would get less of it."""
        seconds = self.seconds * (SHORT if short else 1.0)
        return max(1, round(seconds / (self.steps * self.step_seconds[pace_of(arm, rate)])))


def pace_of(arm: str, rate: float) -> str:
    """What the time of a step depends on: masking computes all rows at any rate."""
    return arm if arm == FIRST else f"{arm}, rate {rate:g}"


def settle(request: Request, out: Path, jobs: int, say: Callable[[str], None], spent: Callable[[], float]) -> Plan:
    """The plan that was kept in the folder, or a new one. `spent` gives the seconds since the command began.

    Raises:
        InputError: if the folder holds another comparison or something else, or there is too little time.
    """
    path = out / "plan.json"
    if path.exists():
        return _kept(path, request)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"out: {out}: is no comparison's folder, nor empty; name another with --out")
    recipe, source, lines = start(request)
    for line in lines:
        say(line)
    say(f"measuring what a step costs, with {jobs} process{'es' * (jobs > 1)}")
    paces = _measure(request, recipe, jobs)
    plan = _plan(request, recipe, source, paces, jobs, spent())
    try:
        out.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps(asdict(plan), indent=2) + "\n")
    except OSError as error:
        raise InputError(f"out: {out}: cannot be written ({error.strerror}); name another --out") from error
    return plan


def _kept(path: Path, request: Request) -> Plan:
    try:
        values = json.loads(path.read_text())
        recipe = parse(values.pop("recipe"), str(path))
        plan = Plan(recipe=recipe, **{**values, "arms": tuple(values["arms"])})
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise InputError(f"out: {path}: is not the plan of a comparison ({error}); name another --out") from error
    if other := [name for name, value in request.asked.items() if plan.asked.get(name) != value]:
        raise InputError(
            f"out: {path.parent}: holds another comparison (it differs in {', '.join(other)}); give what was given, or "
            "name another --out"
        )
    return plan


def _measure(request: Request, recipe: Recipe, jobs: int) -> Paces:
    recipes = {
        pace_of(arm, rate): changed(ARMS[arm].recipe(recipe), {"drop_rate": rate})
        for arm in request.arms
        for rate in RATES
    }
    return measure(recipes, 60 * request.minutes * _MEASURING, jobs)


def _plan(request: Request, recipe: Recipe, source: Source, paces: Paces, jobs: int, spent: float) -> Plan:
    """All runs together take the minutes, less a reserve.

    Raises:
        InputError: if a short run of the slowest arm has fewer than three epochs then.
    """
    steps = steps_per_epoch(recipe, len(source.train.labels))
    tested = 0 if source.test is source.validation_or_test else len(source.test.labels)
    validated = len(source.validation_or_test.labels)
    short = math.ceil(len(request.arms) * len(RATES) * len(LEARNING_RATES) / jobs)
    whole = math.ceil(len(request.arms) * request.seeds / jobs)
    # Twice on training and validation images; on those of the test with two submodels besides.
    images = 2 * len(source.train.labels) + 2 * validated + 3 * len(source.test.labels)
    around = (short + whole) * (_AROUND + images * paces.image)
    available = 60 * request.minutes * (1 - _RESERVE) - spent - around
    seconds = available / (SHORT * short + whole)
    least = _FEWEST / SHORT * steps * max(paces.step.values())
    if seconds < least:
        needed = math.ceil(_AGAIN * (least * (SHORT * short + whole) + spent + around) / (1 - _RESERVE) / 60)
        runs = len(request.arms) * (len(RATES) * len(LEARNING_RATES) + request.seeds)
        raise InputError(
            f"minutes: {request.minutes:g}: too few for {runs} runs of at least {_FEWEST} epochs on this machine; take "
            f"--minutes {needed}, fewer --seeds or --arms, a smaller --resolution or a smaller --model"
        )
    return Plan(
        request.asked, recipe, request.arms, request.seeds, seconds, steps, paces.step, validated, tested
    )  # fmt: skip


def jobs_of(request: Request) -> int:
    """Runs at a time."""
    import torch

    if request.jobs or torch.cuda.is_available():
        return request.jobs or 1
    return min(len(os.sched_getaffinity(0)), len(request.arms) * request.seeds)
