"""Runs in processes of their own, which are held or killed where a case wants it, and what is left of them."""

import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from tiny import SPAWN, run, tiny, weights

from cosub.recipes.config import Digits, Recipe
from cosub.run import RunFolder

STEPS = 12
ORPHANS = 20.0  # seconds in which the workers of a killed process must be gone: they look for it every five


def short(out: Path, **changes: Any) -> Recipe:
    """Twelve steps in three epochs, an evaluation after each, a checkpoint every two steps."""
    changes = {"data": Digits(train_images=256), "epochs": 3, "checkpoint_every": 2, "evaluate_every": 1, **changes}
    return tiny(out, **changes)


@dataclass(frozen=True)
class Moment:
    """The `count`-th time that a run comes to a place; where the parent kills it, so many seconds after."""

    place: str
    count: int = 1
    delay: float = 0.0

    def __str__(self) -> str:
        return f"{self.place} {self.count}"


class Child:
    """A process with a session of its own. It says when the moment has come, and waits there if it is to be held."""

    def __init__(self, recipe: Recipe, moment: Moment | None = None, hold: bool = False, wait: float = 60.0) -> None:
        self.said = Path(recipe.runtime.out).with_suffix(f".{time.monotonic_ns()}.err")
        self.pipe, theirs = SPAWN.Pipe()
        self.process = SPAWN.Process(target=_child, args=(recipe, moment, hold, wait, str(self.said), theirs))
        self.process.start()
        theirs.close()
        assert self.process.pid is not None
        self.pid = self.process.pid

    def come(self, timeout: float = 300.0) -> bool:
        """Wait for the moment; False if the process ended before."""
        try:
            return self.pipe.poll(timeout) and bool(self.pipe.recv())
        except EOFError:
            return False

    def release(self) -> None:
        self.pipe.send(True)

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)

    def end(self) -> int:
        """Its exit status, negative for a signal."""
        self.process.join(600)
        code = self.process.exitcode
        assert code is not None, "the run does not end"
        return code

    @property
    def errors(self) -> str:
        return self.said.read_text() if self.said.exists() else ""

    def orphans(self, patience: float = ORPHANS) -> list[int]:
        """Processes of its session that are still there after it has ended."""
        deadline = time.monotonic() + patience
        while (found := session(self.pid)) and time.monotonic() < deadline:
            time.sleep(0.2)
        return found


def session(leader: int) -> list[int]:
    """The living processes of a session."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            state, _, _, number = (entry / "stat").read_text().rpartition(") ")[2].split()[:4]
        except (OSError, ValueError):
            continue
        if int(number) == leader and state != "Z":
            found.append(int(entry.name))
    return found


def undisturbed(recipe: Recipe) -> Path:
    child = Child(recipe)
    assert child.end() == 0, child.errors
    return Path(recipe.runtime.out)


def compared(out: Path, reference: Path) -> str:
    """What differs between a run and the undisturbed one; empty where all is equal to the bit."""
    if RunFolder(out).state() != "done":
        return f"ended as {RunFolder(out).state() or 'nothing'}"
    ours, theirs = weights(out), weights(reference)
    if ours.keys() != theirs.keys() or not all(torch.equal(ours[name], theirs[name]) for name in theirs):
        return "other weights than the undisturbed run's"
    ours, theirs = RunFolder(out).read_summary(), RunFolder(reference).read_summary()
    differ = [name for name in ("steps", "top1", "top5", "top1_submodels", "num_images") if ours[name] != theirs[name]]
    return f"summary differs in {', '.join(differ)}" if differ else ""


def _child(recipe: Recipe, moment: Moment | None, hold: bool, wait: float, said: str, pipe: Connection) -> None:
    from cosub import launch
    from cosub.errors import CosubError

    os.setsid()
    torch.set_num_threads(1)
    launch.LOCK_WAIT = wait
    sys.stderr = Path(said).open("w", buffering=1)
    os.dup2(sys.stderr.fileno(), 2)
    if moment is not None:
        watch(moment, _told(pipe, hold))
    try:
        run(recipe)
    except CosubError as error:
        print(f"cosub: {error}", file=sys.stderr)
        sys.exit(error.status)


def _told(pipe: Connection, hold: bool) -> Callable[[], None]:
    def tell() -> None:
        pipe.send(True)
        if hold:
            pipe.recv()

    return tell


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def watch(moment: Moment, tell: Callable[[], None]) -> None:
    """Make this process come to a place: it tells, or where the moment is too short for others to hit, kills itself."""
    from cosub import checkpoint, launch, trainer

    left = [moment.count]

    def now() -> bool:
        left[0] -= 1
        return left[0] == 0

    def before(owner: Any, name: str, action: Callable[..., None], when: Callable[..., bool] = lambda *_: True) -> None:
        original = getattr(owner, name)

        def replaced(*args: Any, **more: Any) -> Any:
            if when(*args) and now():
                action(*args)
            return original(*args, **more)

        setattr(owner, name, replaced)

    match moment.place:
        case "start":
            tell()
        case "recipe":
            before(launch.RunFolder, "claim", _half_of_the_recipe)
        case "step":
            before(trainer.Trainer, "_train_step", lambda *_: tell())
        case "evaluation":
            before(trainer, "evaluate", lambda *_: tell())
        case "weights":
            _half(checkpoint, "save_file", now)
        case "state":
            _half(torch, "save", now)
        case "checkpoint.json":
            before(Path, "write_text", _half_of_a_text, lambda path, *_: path.name == "checkpoint.json")
        case "rename":
            before(Path, "rename", lambda *_: die(), lambda path, *_: path.name.startswith(".step-"))
        case "old":
            before(shutil, "rmtree", lambda *_: die(), lambda path, *_: path.name.startswith("step-"))
        case "half of the old":
            before(shutil, "rmtree", _half_of_a_folder, lambda path, *_: path.name.startswith("step-"))
        case "model":
            before(launch, "save_weights", lambda _weights, path, *_: (path.write_bytes(bytes(100)), die()))
        case "curves":
            before(launch, "plot_runs", lambda *_: die())
        case "summary":
            before(Path, "replace", lambda *_: die(), lambda path, *_: ".summary.json" in path.name and _written(path))


def _written(path: Path) -> bool:
    return '"done"' in path.read_text()


def _half(owner: Any, name: str, now: Callable[[], bool]) -> None:
    """Let a function write its file, leave half of it, and die."""
    original = getattr(owner, name)

    def replaced(content: Any, path: Any, *args: Any, **more: Any) -> None:
        original(content, path, *args, **more)
        if now():
            os.truncate(path, Path(path).stat().st_size // 2)
            die()

    setattr(owner, name, replaced)


def _half_of_the_recipe(folder: RunFolder, _recipe: Recipe) -> None:
    folder.path.mkdir(parents=True)
    (folder.path / f".recipe.json.{os.getpid()}").write_text('{"format": 1, "na')
    die()


def _half_of_a_text(path: Path, text: str, *_: Any) -> None:
    with path.open("w") as file:
        file.write(text[: len(text) // 2])
    die()


def _half_of_a_folder(path: Path, *_: Any) -> None:
    for file in sorted(path.iterdir())[: random.Random(0).randint(1, 2)]:
        file.unlink()
    die()
