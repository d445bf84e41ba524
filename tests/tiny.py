"""Tiny runs for tests, in this process or in one that may be killed."""

import dataclasses
import json
import multiprocessing
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from cosub.api.parsing import options_of
from cosub.recipes import get
from cosub.recipes.augmentation import Augment
from cosub.recipes.recipe import Recipe

# The server that forks children imports what they need once; it has no threads, so forking it is safe.
SPAWN = multiprocessing.get_context("forkserver")
SPAWN.set_forkserver_preload(["cosub.train.launch", "timm", "sklearn.datasets", "sklearn.model_selection"])

TINY = {"patch_size": 4, "embed_dim": 16, "depth": 2, "num_heads": 2, "proj_drop_rate": 0.1}


def tiny(out: Path, **changes: Any) -> Recipe:
    """A run of 22 steps of four groups, with everything that draws random numbers switched on."""
    recipe = dataclasses.replace(
        get("digits"),
        model_args=TINY,
        drop_rate=0.5,
        epochs=1,
        group_size=16,
        augment=Augment(crop="simple", policy="3a", mixup=0.8, cutmix=1.0),
    )
    runtime = {key: changes.pop(key) for key in list(changes) if hasattr(recipe.runtime, key)}
    runtime = dataclasses.replace(recipe.runtime, out=str(out), **runtime)
    return dataclasses.replace(recipe, runtime=runtime, **changes)


def run(recipe: Recipe) -> dict[str, Any]:
    from cosub.train.launch import train

    return train(recipe)


@contextmanager
def before_steps(act: Callable[[Any], object]) -> Iterator[None]:
    """Call `act(trainer)` before each step of all runs in this process; its number is `trainer.state.step`."""
    from cosub.train.trainer import Trainer

    train_step = Trainer.train_step

    def acting(self: Any, *args: Any) -> Any:
        act(self)
        return train_step(self, *args)

    Trainer.train_step = acting  # type: ignore[method-assign]
    try:
        yield
    finally:
        Trainer.train_step = train_step  # type: ignore[method-assign]


def run_and_kill(recipe: Recipe, step: int, where: str = "step") -> None:
    """Run in a process of its own that gets SIGKILL at step `step`; return when it is gone.

    `where`: after the step, its first micro-step, or the next checkpoint.
    """
    process = SPAWN.Process(target=_killed, args=(recipe, step, where))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL, f"the run ended with {process.exitcode} before step {step}"


def _killed(recipe: Recipe, step: int, where: str) -> None:
    from cosub.train.micro_step import MicroStep
    from cosub.train.trainer import Trainer

    places = {"step": (Trainer, "train_step"), "checkpoint": (Trainer, "save"), "micro-step": (MicroStep, "run")}
    kind, name = places[where]
    method, trainers = getattr(kind, name), []

    def until(*args: Any) -> Any:
        value = method(*args)
        if trainers[-1].state.step >= step:
            os.kill(os.getpid(), signal.SIGKILL)
        return value

    setattr(kind, name, until)
    with before_steps(trainers.append):
        run(recipe)


def weights(out: Path) -> dict[str, Any]:
    return load_file(out / "model.safetensors")


def logged(out: Path) -> list[dict[str, float]]:
    """What a run reported of its steps."""
    lines = map(json.loads, (out / "metrics.jsonl").read_text().splitlines())
    return [{name: line[name] for name in ("loss", "accuracy", "grad_norm")} for line in lines if "loss" in line]


def together(processes: int, target: Callable[..., None], *arguments: Any) -> list[int | None]:
    """Call a function in several processes that answer each other; their exit codes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    started = []
    for rank in range(processes):
        place = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(processes)}
        place |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        started.append(SPAWN.Process(target=_placed, args=(place, target, arguments)))
        started[-1].start()
    for process in started:
        process.join()
    return [process.exitcode for process in started]


def _placed(place: dict[str, str], target: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    import torch

    from cosub.errors import CosubError
    from cosub.runs.distributed import leaving

    os.environ |= place
    torch.set_num_threads(1)
    try:
        with leaving():
            target(*arguments)
    except CosubError as error:
        print(error, file=sys.stderr)
        sys.exit(error.status)


def run_together(recipe: Recipe, processes: int, stop_at: int = -1) -> dict[str, Any]:
    """Run in several processes; what the first one saw of its trainer.

    With `stop_at`, the last process gets SIGTERM in the step after that many.
    """
    facts = Path(recipe.runtime.out).with_suffix(".facts")
    codes = together(processes, _seen, recipe, str(facts), stop_at)
    assert set(codes) == {0 if stop_at < 0 else 75}
    return json.loads(facts.read_text())


def _seen(recipe: Recipe, facts: str, stop_at: int) -> None:
    from torch.distributed.tensor import DTensor

    from cosub.train.trainer import Trainer

    fit = Trainer.fit

    def seen(self: Any) -> None:
        kinds = {isinstance(parameter, DTensor) for parameter in self.network.parameters()}
        if self.world.main:
            Path(facts).write_text(json.dumps({"processes": self.world.size, "sharded": sorted(kinds)}))
        fit(self)

    def signal_last(trainer: Any) -> None:
        if trainer.state.step == stop_at and trainer.world.rank == trainer.world.size - 1:
            os.kill(os.getpid(), signal.SIGTERM)

    Trainer.fit = seen  # type: ignore[method-assign]
    with before_steps(signal_last):
        run(recipe)


def call(capsys: Any, *words: object) -> tuple[int, str, str]:
    """The command line in this process: status, standard output, standard error."""
    from cosub.cli import main

    capsys.readouterr()  # what came before
    status = main([str(word) for word in words])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def recipe_flags(recipe: Recipe) -> list[str]:
    """All flags of `cosub train` for a recipe, its method and its source, those of --dry-run aside."""
    return sorted(["--dry-run", "--json", "--method", "--model-args", "--pretrained", "--source", *options_of(recipe)])
