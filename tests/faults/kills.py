"""SIGKILL at twenty moments of a run, with 0, 1 and 4 workers and each method; the same command continues."""

import itertools
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from cosub.recipes.config import METHODS
from faults import Case
from faults.processes import STEPS, Child, Moment, compared, short, undisturbed

WORKERS = (0, 1, 4)
TAUGHT = {"distill", "cosub-distill"}


def moments(draw: random.Random) -> list[Moment]:
    """Twenty: in the first second, in steps, in each part of writing a checkpoint, in evaluations, in the results."""
    second = [Moment("start", delay=draw.uniform(0, 1)) for _ in range(2)]
    steps = [Moment("step", number, draw.uniform(0, 0.05)) for number in (1, *draw.sample(range(2, STEPS), 3), STEPS)]
    saves = [Moment(place, draw.randint(1, STEPS // 2)) for place in ("weights", "weights", "state", "checkpoint.json")]
    saves += [Moment("rename", draw.randint(1, STEPS // 2))]
    saves += [Moment(place, draw.randint(1, STEPS // 2 - 2)) for place in ("old", "half of the old")]
    evaluations = [Moment("evaluation", number, draw.uniform(0, 0.1)) for number in (1, 3)]
    return [Moment("recipe"), *second, *steps, *saves, *evaluations, *map(Moment, ("model", "curves", "summary"))]


def kill(out: Path, moment: Moment, reference: Path, **changes: Any) -> str:
    """Kill a run at a moment, continue it; what was lost."""
    recipe = short(out, **changes)
    child = Child(recipe, moment)
    if moment.place in ("start", "step", "evaluation"):
        if not child.come():
            return f"ended before the moment: {child.errors[-300:]}"
        child.process.join(moment.delay)
        child.kill()
    if (code := child.end()) != -9:
        return f"was not killed: {code} {child.errors[-300:]}"
    again = Child(recipe)  # at once, as a launcher would
    if code := again.end():
        return f"continuing ended with {code}: {again.errors[-300:]}"
    left = [*child.orphans(), *again.orphans()]
    return f"processes left: {left}" if left else compared(out, reference)


def kills(folder: Path, times: int | None = None, seed: int = 0) -> list[Case]:
    """A case for each number of workers: twenty moments (or `times` of them), the methods one after the other."""
    methods = methods_for(folder)
    references = {name: undisturbed(short(folder / f"whole-{name}", method=made)) for name, made in methods.items()}
    turn, cases = itertools.cycle(methods), []
    for workers in WORKERS:
        draw = random.Random(seed + workers)
        chosen = moments(draw) if times is None else draw.sample(moments(draw), times)
        case = Case(f"SIGKILL, then the same command, {workers} workers")
        tries = [(number, moment, next(turn)) for number, moment in enumerate(chosen)]
        next(turn)  # so that a moment meets other methods with other workers

        def one(what: tuple[int, Moment, str], workers: int = workers) -> tuple[str, str]:
            number, moment, name = what
            out = folder / f"killed-{workers}-{number}"
            return kill(out, moment, references[name], method=methods[name], workers=workers), f"{moment}, {name}"

        with ThreadPoolExecutor(2) as pool:
            for problem, title in pool.map(one, tries):
                case.count(problem, title)
        case.note = "all methods in turn; weights and summary equal to the undisturbed run's"
        cases.append(case)
    return cases


def methods_for(folder: Path) -> dict[str, Any]:
    """Each method, a finished run as the teacher of those that need one."""
    teacher = undisturbed(short(folder / "teacher", epochs=1))
    return {
        name: kind(teacher=str(teacher)) if name in TAUGHT else kind(weight=0.5) if name != "supervised" else kind()
        for name, kind in METHODS.items()
    }
