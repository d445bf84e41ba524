"""A comparison from beginning to end: short runs that choose, the runs of the table, what came out."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cosub.comparison.page import write
from cosub.comparison.plan import LEARNING_RATES, RATES, Plan, jobs_of, settle
from cosub.comparison.request import MOST_SEEDS, Request
from cosub.comparison.result import Comparison, result
from cosub.paper.studies.arms import ARMS, FIRST
from cosub.paper.studies.grid import Cell, Study
from cosub.paper.studies.ledger import Ledger
from cosub.paper.studies.report import chosen, rows
from cosub.paper.studies.work import Place, RunsFailed, collect, needed, work
from cosub.recipes.changes import changed
from cosub.runs.tables import number_of

PILOT = MOST_SEEDS
"""The seed of the runs that choose. It is never one of the table's, whose seeds lie below."""

Say = Callable[[str], None]


def compare(request: Request, say: Say) -> tuple[Comparison, Path]:
    """Continue a comparison for the request's minutes; writes comparison.md and comparison.png into its folder.

    Gives what came out, and the folder.

    Raises:
        InputError: for wrong input; nothing was trained.
        RunError: if runs failed; the others were trained.
        Stopped: by a signal; the same request goes on.
    """
    started = time.monotonic()
    out = Path(request.out or f"out/compare-{Path(request.folder).resolve().name}")
    jobs = jobs_of(request)
    plan = settle(request, out, jobs, say, lambda: time.monotonic() - started)
    place = Place(out / "runs", Ledger(out / "runs.jsonl"), request.folder, request.workers)
    carry = _Carrier(place, jobs, started + 60 * request.minutes, say)
    pilots, table = short_runs(plan), None
    try:
        left = _choose(carry, pilots, plan)
        if not left:
            table = whole_runs(plan, place.ledger)
            left = carry.on(table, plan.seeds, "for the table")
    except RunsFailed as error:
        write(result(plan, table, place.ledger, error.left), out)
        raise
    found = result(plan, table, place.ledger, left)
    write(found, out)
    return found, out


def _choose(carry: "_Carrier", pilots: Study, plan: Plan) -> int:
    """Train the short runs; how many are left. One that diverges, at the higher learning rate, is not chosen.

    Raises:
        RunsFailed: if no run of an arm came to its end.
    """
    try:
        return carry.on(pilots, 1, "to choose drop rates and learning rates")
    except RunsFailed as error:
        ended = {row.cell.series for row in rows(pilots, carry.place.ledger, 1) if row.lines}
        if ended != set(plan.arms):
            raise
        carry.say(f"{error}; it is not chosen")
        return error.left


class _Carrier:
    """Trains what is missing of a study until the time is over."""

    def __init__(self, place: Place, jobs: int, deadline: float, say: Say) -> None:
        self.place, self.jobs, self.deadline, self.say = place, jobs, deadline, say

    def on(self, study: Study, seeds: int, what: str) -> int:
        """How many runs are left."""
        collect(study, seeds, self.place)
        missing = needed(study, seeds, self.place)
        if not missing:
            return 0
        self.say(f"{number_of(len(missing), 'run')} {what}, {self.jobs} at a time; logs in {self.place.out / 'logs'}")
        return work(missing, self.place, self.jobs, (self.deadline - time.monotonic()) / 60, self.say)


def short_runs(plan: Plan) -> Study:
    """Each arm at each rate and learning rate."""
    cells = [
        _cell(plan, arm, rate, plan.recipe.lr * factor, short=True)
        for arm in plan.arms
        for rate in RATES
        for factor in LEARNING_RATES
    ]
    return Study("compare", "Choice", "", tuple(cells), first_seed=PILOT)


def whole_runs(plan: Plan, ledger: Ledger) -> Study:
    """Each arm at the rate and learning rate that did best for it on validation images."""
    found = rows(short_runs(plan), ledger, 1)
    cells: list[Cell] = []
    for arm in plan.arms:
        best = chosen([row for row in found if row.cell.series == arm])
        assert best is not None
        recipe = best.cell.recipe
        cells.append(_cell(plan, arm, recipe.drop_rate, recipe.lr, short=False))
    return Study("compare", "Comparison", "", tuple(cells))


def _cell(plan: Plan, arm: str, rate: float, lr: float, short: bool) -> Cell:
    epochs = plan.epochs(arm, rate, short)
    values: dict[str, Any] = {"drop_rate": rate, "lr": lr, "epochs": epochs, "optimizer.warmup_epochs": epochs / 10}
    name = f"{arm}, rate {rate:g}, learning rate {lr:g}" if short else arm
    baseline = "" if short or arm == FIRST else FIRST
    return Cell(name, changed(ARMS[arm].recipe(plan.recipe), values), baseline, series=arm)
