"""The runs of a study, several at once, each in a process of its own; what is finished is not trained again."""

import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from cosub.errors import CosubError, InputError, RunError, Stopped
from cosub.paper.studies.calibration import calibration_of
from cosub.paper.studies.grid import Run, Study
from cosub.paper.studies.ledger import Ledger, commit
from cosub.recipes.changes import changed
from cosub.recipes.recipe import Recipe
from cosub.runs import cpu
from cosub.runs.folder import RunFolder
from cosub.train import checkpoint
from cosub.train.process import PRELOADED
from cosub.train.signals import StopRequest

_STOPPED = Stopped("").status


@dataclass(frozen=True)
class Place:
    """Where a study's runs lie and are recorded."""

    out: Path
    ledger: Ledger
    data: str = ""
    """Where the images are, for recipes that need to be told."""
    workers: int | None = None
    """Processes that load images, for each run."""

    def recipe(self, run: Run) -> Recipe:
        """The recipe of a run as it is trained here."""
        recipe = changed(run.ready(self.out), {"runtime.workers": self.workers})
        return replace(recipe, data=recipe.data.at(self.data))

    def state(self, run: Run) -> str:
        """recorded, finished (in its folder, not recorded), interrupted, or new."""
        folder = RunFolder(run.folder(self.out))
        done = folder.state() == "done"
        if self.ledger.find(run) is not None and (done or not run.study.weights):
            return "recorded"
        if done:
            return "finished"
        return "interrupted" if checkpoint.exist(folder.checkpoints) else "new"


def needed(study: Study, seeds: int, place: Place) -> list[Run]:
    """The runs that are still to be trained, in order; those that others use come before them.

    A cell that is there for others alone is left out where those are finished.
    """
    found: dict[Path, Run] = {}

    def add(run: Run, folder: bool) -> None:
        done = RunFolder(run.folder(place.out)).state() == "done" if folder else place.state(run) in _DONE
        if done or run.folder(place.out) in found:
            return
        for used in run.used.values():
            add(used, folder=True)
        found[run.folder(place.out)] = run

    for run in study.runs(seeds):
        if run.cell.shown:
            add(run, folder=False)
    return list(found.values())


_DONE = ("recorded", "finished")


def collect(study: Study, seeds: int, place: Place) -> None:
    """Record what is finished in its folder and not recorded: another study's, or of a command that was killed."""
    place.ledger.reload()
    for run in study.runs(seeds):
        if run.cell.shown and place.ledger.find(run) is None and place.state(run) == "finished":
            place.ledger.record(run, run.folder(place.out))


class RunsFailed(RunError):
    """Some runs ended with an error."""

    def __init__(self, message: str, left: int) -> None:
        super().__init__(message)
        self.left = left
        """Others that the time was too short for."""


@dataclass
class Job:
    run: Run
    process: Any
    log: Path


def work(
    runs: list[Run], place: Place, jobs: int, minutes: float | None, say: Callable[[str], None], patience: float = 1.0
) -> int:
    """Train runs, `jobs` at a time, and record each as it ends; how many are left when the minutes are over.

    What then runs is stopped with a checkpoint and goes on next time, as it is when a signal comes.

    Raises:
        Stopped: by a signal.
        RunsFailed: if runs failed; of the others as many were trained as time allowed.
    """
    commit()  # of the code that is loaded now: it may be another one when a run ends
    threads = 1 if jobs > 1 else 0
    deadline = time.monotonic() + 60 * minutes if minutes is not None else float("inf")
    waiting, working, failed, left = list(runs), list[Job](), list[Job](), 0
    stop, stopping = StopRequest(), False
    with stop.listening(), _ending(working):
        while working or (waiting and not stopping):
            while waiting and not stopping and len(working) < jobs and (run := _first_ready(waiting, working, place)):
                waiting.remove(run)
                working.append(_start(place.recipe(run), run, place, threads))
            if not working:
                break  # what is left uses runs that failed
            wait([job.process.sentinel for job in working], timeout=patience)
            if not stopping and (stop.asked or time.monotonic() >= deadline):
                stopping = True
                for job in working:
                    job.process.terminate()
            for job in [job for job in working if job.process.exitcode is not None]:
                working.remove(job)
                if job.process.exitcode == 0:
                    _record(job, place, f"{len(waiting) + len(working)} left", say)
                elif stopping and job.process.exitcode in (_STOPPED, -15):
                    left += 1
                else:
                    failed.append(job)
                    say(f"FAILED {job.run}: {_last_line(job.log)}")
    if failed:
        raise RunsFailed(
            f"{len(failed)} of {len(runs)} runs failed; the first: {_last_line(failed[0].log)} ({failed[0].log})",
            left + len(waiting),
        )
    if stop.asked:
        raise Stopped(f"stopped with {left + len(waiting)} runs left; the same command goes on")
    return left + len(waiting)


@contextmanager
def _ending(working: list[Job]) -> Iterator[None]:
    """End the runs that are at work where an error is raised, such as that of a ledger that cannot be written."""
    try:
        yield
    except BaseException:
        for job in working:
            job.process.terminate()
        raise


def _first_ready(waiting: Iterable[Run], working: Iterable[Job], place: Place) -> Run | None:
    """The first run whose used runs are finished, and that no process works on under another name."""
    busy = {job.run.folder(place.out) for job in working}
    for run in waiting:
        used = [used.folder(place.out) for used in run.used.values()]
        if run.folder(place.out) not in busy and all(RunFolder(folder).state() == "done" for folder in used):
            return run
    return None


def _start(recipe: Recipe, run: Run, place: Place, threads: int) -> Job:
    log = place.out / "logs" / f"{run.folder(place.out).name}.log"
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"out: {place.out}: cannot be written ({error.strerror}); name another --out") from error
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["cosub.paper.studies.work", *PRELOADED])
    process = context.Process(target=_train, args=(recipe, run.study.calibrated, str(log), threads))
    process.start()
    return Job(run, process, log)


def _train(recipe: Recipe, calibrated: bool, log: str, threads: int) -> None:
    """In a process of its own: what it says goes to a file."""
    import torch

    from cosub.train.launch import train

    cpu.keep_freed_memory()
    with open(log, "a") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    if threads:
        torch.set_num_threads(threads)
    try:
        train(recipe)
        if calibrated:
            calibration_of(Path(recipe.runtime.out))
    except CosubError as error:
        print(f"cosub: {error}", file=sys.stderr)
        sys.exit(error.status)
    except KeyboardInterrupt:  # of a terminal, which asks all processes, outside of training
        sys.exit(_STOPPED)


def _record(job: Job, place: Place, left: str, say: Callable[[str], None]) -> None:
    if not job.run.cell.shown:
        say(f"{job.run}: trained, for others to use; {left}")
        return
    place.ledger.reload()
    line = place.ledger.find(job.run) or place.ledger.record(job.run, job.run.folder(place.out))
    chooses = line["validation_top1"] is not None  # then nobody need see the test images' before the table
    found = f"validation top-1 {line['validation_top1']:.2%}" if chooses else f"top-1 {line['top1']:.2%}"
    say(f"{job.run}: {found}, {line['seconds']:.0f} s; {left}")


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").split("\n") if log.exists() else []
    return next((line for line in reversed(lines) if line.strip()), "no output")
