"""A run's folder: its files, who may write to it, and how its network is loaded."""

import errno
import fcntl
import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import nn

from cosub.data.atomic import written_atomically
from cosub.errors import InputError, RunError
from cosub.recipes.files import as_begun, differences, dump, identity, read, require_run, with_limits
from cosub.recipes.recipe import Recipe
from cosub.runs.progress import Reporter

_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)
"""Of an OSError: the file system has no locks, as Lustre without `-o flock` and NFS without a lock daemon."""


@dataclass(frozen=True)
class RunFolder:
    path: Path

    @property
    def recipe(self) -> Path:
        return self.path / "recipe.json"

    @property
    def summary(self) -> Path:
        return self.path / "summary.json"

    @property
    def weights(self) -> Path:
        return self.path / "model.safetensors"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    def as_begun(self, recipe: Recipe) -> Recipe:
        """The recipe by the rules of the run that this folder holds, if any (`files.as_begun`)."""
        return as_begun(recipe, read(self.recipe)) if self.recipe.exists() else recipe

    def check(self, recipe: Recipe) -> None:
        """Check that this recipe may run in this folder: it is new, empty, or holds a run of the same recipe.

        Raises:
            InputError: if the folder holds something else.
        """
        _require_utf8(self.path)
        if self.path.exists() and not self.path.is_dir():
            raise InputError(f"out: {self.path}: is a file; name a folder with --out")
        if self.recipe.exists():
            begun = read(self.recipe)
            if identity(begun) != identity(recipe):
                fields = ", ".join(differences(begun, recipe)[:5])
                raise InputError(
                    f"out: {self.path}: holds a run of another recipe (it differs in {fields}); name another --out"
                )
        elif self.path.is_dir() and any(not path.name.startswith(".") for path in self.path.iterdir()):
            raise InputError(f"out: {self.path}: is not empty and holds no run; name another --out")

    def claim(self, recipe: Recipe) -> None:
        """Make the folder and write the recipe into it, unless it has it already."""
        self.check(recipe)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            if not self.recipe.exists():
                write_atomically(self.recipe, dump(recipe))
        except OSError as error:
            raise InputError(f"out: {self.path}: cannot be written ({error.strerror}); name another --out") from error

    def allow(self, recipe: Recipe) -> None:
        """Let the run have the recipe's limits from now on; verbs that read its images later allow as many bad ones."""
        begun = read(self.recipe)
        if (allowed := with_limits(begun, recipe)) != begun:
            write_atomically(self.recipe, dump(allowed))

    @contextmanager
    def lock(self, wait: float, reporter: Reporter) -> Iterator[None]:
        """Lock the folder while this process works on it. The system unlocks it when the process dies.

        Waits up to `wait` seconds for another process: after a restart, the previous one may not have ended.
        On a file system without locks it warns, and locks nothing.

        Raises:
            InputError: if another process works on it for longer, or nothing can be written there.
        """
        with _opened(self.path / ".lock") as file:
            deadline = time.monotonic() + wait
            free = _locked(file.fileno())
            if free is None:
                reporter.warn(
                    f"out: {self.path}: its file system cannot lock files, so nothing keeps a second command out of "
                    "this run: start it only once, or name an --out on another file system"
                )
                yield
                return
            if not free:
                reporter.say(f"waiting for another process that still works on {self.path}")
            while not free:
                if time.monotonic() >= deadline:
                    raise InputError(
                        f"out: {self.path}: another process works on this run; wait, or name another --out"
                    )
                time.sleep(0.2)
                free = _locked(file.fileno())
            try:
                yield
            finally:  # processes that were forked meanwhile, as those that load images, have the file open too
                fcntl.flock(file, fcntl.LOCK_UN)

    def state(self) -> str:
        """The state in the summary, e.g. "finished"; empty without a summary."""
        return self.read_summary().get("state", "") if self.summary.exists() else ""

    def read_summary(self) -> dict[str, Any]:
        try:
            found = json.loads(self.summary.read_text())
        except (OSError, ValueError, RecursionError) as error:
            raise InputError(f"run: {self.summary}: cannot be read ({error})") from error
        if not isinstance(found, dict):
            raise InputError(f"run: {self.summary}: is not a summary")
        return found

    def read_classes(self, field: str = "run") -> tuple[str, ...]:
        """The names of the classes, which lie in the file of weights.

        Raises:
            InputError: if there are no weights yet, or they cannot be read, naming `field`.
        """
        if not self.weights.exists():
            raise InputError(
                f"{field}: {self.path}: has no model.safetensors yet; finish it with the same train command"
            )
        with _readable(self.weights, field), safe_open(self.weights, "pt") as file:
            return tuple(json.loads((file.metadata() or {})["classes"]))

    def write_summary(self, summary: dict[str, Any]) -> None:
        write_atomically(self.summary, json.dumps(summary, indent=2) + "\n")


@contextmanager
def _readable(weights: Path, field: str) -> Iterator[None]:
    try:
        yield
    except (SafetensorError, OSError, KeyError, ValueError, TypeError, RecursionError) as error:
        raise InputError(f"{field}: {weights}: cannot be read ({error})") from error


def _opened(lock: Path) -> IO[str]:
    try:
        return lock.open("w")
    except OSError as error:
        raise InputError(f"out: {lock.parent}: cannot be written ({error.strerror}); name another --out") from error


def _locked(descriptor: int) -> bool | None:
    """Whether this process now has the lock; None where the file system has no locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        return None
    return True


def _require_utf8(folder: Path) -> None:
    try:
        os.fspath(folder).encode()
    except UnicodeEncodeError as error:  # TensorBoard and safetensors take no other name
        raise InputError(f"out: {folder}: its name is not UTF-8; name another with --out") from error


def require_writable(run: str, field: str) -> None:
    """Raise InputError, naming `field`, if nothing can be written into a run's folder."""
    if not os.access(run, os.W_OK):
        raise InputError(f"{field}: {run}: cannot be written to; leave it out, or copy the run")


def require_free(folder: Path) -> None:
    """Raise InputError if the folder cannot be made, is not empty, or has a name that is not UTF-8."""
    _require_utf8(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"out: {folder}: exists and is not an empty folder; name another with --out, or empty it")
    if not folder.parent.is_dir():
        raise InputError(f"out: {folder}: {folder.parent} is not a folder; make it first, or name another with --out")
    if os.path.ismount(folder):
        raise InputError(f"out: {folder}: is a mounted volume, which no folder can be renamed to; name one inside it")


@contextmanager
def aside(folder: Path) -> Iterator[Path]:
    """A temporary folder beside `folder`. It becomes `folder` at the end, and is removed if an error is raised.

    Raises:
        InputError: as `require_free`, or if nothing can be written there.
    """
    require_free(folder)
    wanted, folder = folder, folder.resolve()  # "." gets its name
    place = folder.with_name(f".{folder.name}.{os.getpid()}")
    try:
        place.mkdir()
    except OSError as error:
        raise InputError(f"out: {wanted}: cannot be written ({error.strerror}); name another --out") from error
    try:
        yield place
    except BaseException:
        shutil.rmtree(place, ignore_errors=True)
        raise
    try:
        place.replace(folder)
    except OSError as error:
        raise RunError(f"{wanted}: cannot be put there ({error.strerror}); the result is whole, in {place}") from error


def write_atomically(path: Path, text: str) -> None:
    with written_atomically(path) as aside:
        aside.write_text(text, encoding="utf-8", errors="surrogateescape")


@dataclass(frozen=True)
class Trained:
    """A finished run: its recipe, the names of its classes, its network in eval mode."""

    recipe: Recipe
    classes: tuple[str, ...]
    network: nn.Module


def load(run: str | os.PathLike[str]) -> nn.Module:
    """The network of a run, attached, in eval mode, on the CPU.

    Its `pretrained_cfg` holds, in timm's words, how its images are prepared, and `label_names`:
    `timm.data.create_transform(**timm.data.resolve_model_data_config(network))` makes of an RGB image what the run saw.

    Raises:
        InputError: if the folder holds no finished run.
    """
    return load_run(run).network


def load_classifier(run: str | os.PathLike[str]) -> Trained:
    """`load_run`, for a run of classification.

    Raises:
        InputError: as `load_run`, and for a segmentation run.
    """
    trained = load_run(run)
    require_classification(trained.recipe, run)
    return trained


def require_classification(recipe: Recipe, run: str | os.PathLike[str]) -> None:
    """Raise InputError for a run of another task than classification."""
    if not recipe.task.PER_IMAGE:
        raise InputError(
            f"run: {run}: is a {recipe.task.kind} run, and this is for classification; `cosub evaluate {run} --show N` "
            "evaluates it and draws its predictions"
        )


def load_run(run: str | os.PathLike[str]) -> Trained:
    """The network of a run, with its recipe and classes.

    Raises:
        InputError: if the folder holds no finished run, or its weights do not fit its recipe.
    """
    from cosub.runs.network import build_network
    from cosub.runs.published import describe

    folder = RunFolder(Path(run).expanduser())
    require_run(folder.path)
    recipe = read(folder.recipe)
    classes = folder.read_classes()
    with _readable(folder.weights, "run"):
        weights = load_file(folder.weights)
    network = build_network(recipe, len(classes), copies=1).eval()
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise InputError(
            f"run: {folder.weights}: does not fit {folder.recipe} ({str(error).splitlines()[1].strip()})"
        ) from error
    if recipe.task.PER_IMAGE:
        describe(network, recipe, classes)
    return Trained(recipe, classes, network)
