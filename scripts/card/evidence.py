"""The arms of docs/evidence.md on a GPU: 5,000 and 45,000 images, three seeds, several runs side by side."""

import os
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from cosub.paper.studies.arms import arms
from cosub.paper.studies.grid import Run
from cosub.paper.studies.ledger import Ledger
from cosub.paper.studies.report import rows, table
from cosub.paper.studies.work import Place, RunsFailed, collect, needed, work
from cosub.recipes import get
from cosub.recipes.changes import changed
from cosub.recipes.data import Digits
from cosub.recipes.recipe import Recipe

RECIPES = ("cifar10-5000", "cifar10-45000")
SEEDS = 3
JOBS = 4
"""Runs side by side on one GPU: a small network alone leaves most of it idle."""


def recipes(device: str, tiny: bool) -> list[Recipe]:
    """Those of the experiment; tiny, on a few digits."""
    found = [changed(get(name), {"runtime.device": device}) for name in RECIPES]
    data = Digits(train_images=40, validation_images=20, balanced=True, on_device=True)
    small = {"batch_size": 20, "group_size": 20, "epochs": 2, "resolution": 8, "model_args.depth": 2, "data": data}
    return [changed(recipe, small) for recipe in found] if tiny else found


def run(chosen: Iterable[Recipe], out: Path, data: str, minutes: float, jobs: int = JOBS, seeds: int = SEEDS) -> int:
    """Train what is left for so many minutes; print tables. The same call goes on. Gives how many runs are left.

    Writes run folders into OUT/runs, and a line for each finished run to OUT/runs.jsonl.
    """
    end, left = time.monotonic() + 60 * minutes, 0
    place = Place(out / "runs", Ledger(out / "runs.jsonl"), data)
    for recipe in chosen:
        study = arms(recipe)
        collect(study, seeds, place)
        remaining = (end - time.monotonic()) / 60
        if remaining > 0:
            _train(needed(study, seeds, place), place, jobs, remaining)
        left += len(needed(study, seeds, place))  # runs that failed among them
        found = rows(study, place.ledger, seeds)
        print(f"{recipe.name}\n{table(found)}\n{_speed(recipe, place.ledger)}", flush=True)
    return left


def _train(waiting: list[Run], place: Place, jobs: int, minutes: float) -> None:
    """Runs that fail are named, and the others go on."""
    try:
        work(waiting, place, jobs, minutes, print)
    except RunsFailed as error:
        print(error)


def _speed(recipe: Recipe, ledger: Ledger) -> str:
    """Of all arms: images per second of training, of one run, while others ran beside it."""
    lines = [line for line in ledger.lines if line["recipe"] == recipe.name]
    speeds = [line["steps"] * recipe.batch_size / line["seconds"] for line in lines if line["seconds"]]
    return f"{min(speeds):,.0f} to {max(speeds):,.0f} images/s a run" if speeds else "nothing is finished yet"


def data_path() -> str:
    """Where CIFAR-10 is. Exits if COSUB_DATA does not say it."""
    path = Path(os.environ.get("COSUB_DATA", "")) / "cifar10"
    if "COSUB_DATA" not in os.environ or not path.is_dir():
        sys.exit("COSUB_DATA: names no folder that holds cifar10; set it")
    return str(path)
