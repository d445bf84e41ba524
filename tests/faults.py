"""What `make faults` runs: accidents for real, and what was lost by them.

Each case kills processes, flips bytes, fills disks or feeds nonsense; tiny runs, a single thread. Something is lost
where a run does not go on to the same bits, a process stays behind, or a person would see more than one line. What was
lost goes to standard error; the table to docs/faults.md.

    python tests/faults.py [CASE ...] [--quick] [--page FILE]
"""

import argparse
import contextlib
import dataclasses
import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

from tiny import SPAWN, before_steps, recipe_flags, run, tiny, weights

from cosub.cli import main
from cosub.errors import CosubError
from cosub.recipes.data import Digits
from cosub.recipes.files import dump
from cosub.recipes.methods import METHODS
from cosub.recipes.recipe import Recipe
from cosub.train import checkpoint as checkpoints

SECONDS = 20  # of processor time that a command may take


@dataclass
class Case:
    """How often a fault was tried, and a line for each time that something was lost."""

    tries: int = 0
    lost: list[str] = field(default_factory=list)
    note: str = ""

    def check(self, fine: bool, what: str) -> None:
        self.tries += 1
        if not fine:
            self.lost.append(what)
        if not fine:
            print(f"{self.tries:>5}  {what[:1500]}", file=sys.stderr, flush=True)
        elif sys.stderr.isatty():
            print(f"{self.tries:>5}", end="\r", file=sys.stderr, flush=True)


# --- commands, in this process


@dataclass(frozen=True)
class Said:
    status: int
    error: str
    trace: str

    def fault(self, statuses: tuple[int, ...]) -> str:
        """What a person should not have seen; empty for nothing."""
        lines = [line for line in self.error.splitlines() if line.startswith("cosub: ")]
        if self.trace or "Traceback" in self.error:
            return self.trace or self.error
        if self.status not in statuses:
            return f"status {self.status}: {self.error[-300:]}"
        return "" if len(lines) == (self.status != 0) else f"{len(lines)} lines: {self.error[-300:]}"


class TooLong(BaseException):
    """Not an Exception: no handler may take it for a fault of the input."""


def command(words: list[str]) -> Said:
    def late(*_: Any) -> None:
        raise TooLong(f"took more than {SECONDS} s")

    status, trace, error = 0, "", io.StringIO()
    before = signal.signal(signal.SIGPROF, late)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(error), warnings.catch_warnings():
            status = main(words)
    except SystemExit as end:  # --help
        status = end.code if isinstance(end.code, int) else 0
    except BaseException as fault:
        trace = "".join(traceback.format_exception(fault)[-3:]) if not isinstance(fault, TooLong) else str(fault)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
    return Said(status, error.getvalue(), trace)


# --- nonsense


def _nonsense() -> Any:
    from hypothesis import strategies as st

    numbers = st.sampled_from([0, -1, 1, 3, 7, 2**31, 2**63, 10**30, -(2**70), 1e308, 1e-320, 0.5])
    words = st.one_of(
        st.text(max_size=8),
        st.sampled_from(
            [
                "",
                "nan",
                "inf",
                "-inf",
                "null",
                "١٢",
                "\uff2e\uff41\uff2e",
                "\x00",
                "\ud800",
                "é" * 300,
                "../..",
                "a\nb",
                "{}",
            ]
        ),
    )
    leaves = st.one_of(st.none(), st.booleans(), numbers, st.just(float("nan")), st.just(float("inf")), words)
    return st.recursive(
        leaves, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(words, inner, max_size=2), max_leaves=4
    )


def _places(values: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = values.items() if isinstance(values, dict) else []
    return [path, *(place for key, value in inner for place in _places(value, (*path, key)))]


def _changed(values: Any, place: tuple[Any, ...], action: str, value: Any) -> Any:
    """A copy with the value at a place replaced, removed, or given a key of nonsense."""
    values = json.loads(json.dumps(values))
    if not place:
        return values | {str(value): value} if action == "key" else value
    at = values
    for key in place[:-1]:
        at = at[key]
    if action == "remove":
        del at[place[-1]]
    elif action == "key":
        at[str(value)] = at.pop(place[-1])
    else:
        at[place[-1]] = [at[place[-1]]] if action == "nest" else value
    return values


def recipes(folder: Path, quick: bool) -> Case:
    """Recipes and command lines of nonsense: each plans a run, or ends with one line and status 2."""
    from hypothesis import HealthCheck, Phase, given, settings
    from hypothesis import strategies as st

    case, path = Case(), folder / "recipe.json"
    base = json.loads(dump(tiny(folder / "never")))
    digits = tiny(folder / "never")
    flags = recipe_flags(digits)
    unhelped = st.text(max_size=8).filter(lambda word: word not in ("-h", "--help"))
    settled = settings(
        max_examples=10 if quick else 170,
        database=None,
        deadline=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )

    def tried(words: list[str], about: str) -> None:
        said = command(words)
        case.check(not (fault := said.fault((0, 2))), f"{about}: {fault}")

    @settled
    @given(st.sampled_from(_places(base)), st.sampled_from(["value", "value", "remove", "key", "nest"]), _nonsense())
    def a_recipe(place: tuple[Any, ...], action: str, value: Any) -> None:
        path.write_text(json.dumps(_changed(base, place, action, value)))
        tried(["train", str(path), "--dry-run"], f"recipe {'.'.join(place)} {action} {value!r:.60}")

    @settled
    @given(st.lists(st.tuples(st.sampled_from(flags), _nonsense(), st.booleans()), max_size=2), st.none() | unhelped)
    def a_line(given_flags: list[tuple[str, Any, bool]], recipe: str | None) -> None:
        words = [] if recipe is None else [recipe]
        for flag, value, together in given_flags:
            words += [f"{flag}={value}"] if together else [flag, str(value)]
        tried(["train", *words, "--dry-run"], f"command {words!r:.120}")

    a_recipe()
    a_line()
    case.note = "plans a run, or one line and status 2, in 20 s of processor time"
    return case


# --- a finished run, a run that was killed, and what differs


def _finished(folder: Path, **changes: Any) -> Path:
    """One run to its end, made once a folder."""
    out = folder / "finished"
    if not out.exists():
        with contextlib.redirect_stderr(io.StringIO()):
            run(two_epochs(out, **changes))
    return out


def two_epochs(out: Path, **changes: Any) -> Recipe:
    """22 steps with an evaluation in the middle and a checkpoint every four."""
    changes = {"checkpoint_every": 4, "evaluate_every": 1, "keep_checkpoints": 2, **changes}
    return tiny(out, data=Digits(train_images=352), epochs=2, batch_size=32, **changes)


def _differs(ours: Path, theirs: Path) -> str:
    """Why two runs are not the same to the bit; empty where they are."""
    import torch

    mine, other = weights(ours), weights(theirs)
    if unequal := [name for name in other if name not in mine or not torch.equal(mine[name], other[name])]:
        return f"{len(unequal)} tensors differ, {unequal[0]} first"
    found, expected = _evaluated(ours), _evaluated(theirs)
    if found != expected:
        return f"evaluations (step, top-1) {found} and not {expected}"
    left = [path.name for path in (ours / "checkpoints").iterdir() if path.name.startswith(".")]
    return f"left over: {left}" if left else ""


def _evaluated(run: Path) -> list[tuple[int, float]]:
    """Step and top-1 of each evaluation in a run's metrics, in the order of the file."""
    lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return [(line["step"], line["top1"]) for line in lines if "top1" in line]


def _continued(recipe: Recipe, reference: Path) -> str:
    """Run to the end, quietly; why that is not the reference, or empty."""
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            run(recipe)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return _differs(Path(recipe.runtime.out), reference)


# --- processes that are killed

_MOMENTS: dict[str, tuple[tuple[str, int], ...]] = {
    "inside a step": (("cosub.train.micro_step.MicroStep.run", 20), ("cosub.train.finite.Updates.make", 20)),
    "inside a checkpoint": (
        ("cosub.train.checkpoint.save_weights", 5),
        ("cosub.train.checkpoint.torch.save", 5),
        ("cosub.train.checkpoint._sync", 20),
        ("pathlib.Path.rename", 5),
        ("cosub.train.checkpoint.shutil.rmtree", 7),
    ),
    "inside an evaluation": (
        ("cosub.train.trainer.Trainer.evaluate", 2),
        ("cosub.evaluation.accuracy.normalize", 4),
    ),
    "in the first second": (),
    "at the end": (
        ("cosub.train.launch.save_weights", 1),
        ("cosub.train.launch.plot_runs", 1),
        ("pathlib.Path.replace", 4),
        ("cosub.train.launch._write", 1),
    ),
}


def _dies(recipe: Recipe, target: str, nth: int, torn: bool) -> None:
    """A run in a session of its own that gets SIGKILL before the n-th call of a function, or after half its writing."""
    os.setsid()
    sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    if not target:
        run(recipe)
        return
    import importlib

    import cosub.train.launch  # noqa: F401

    names, calls = target.split("."), [0]
    owner: Any = importlib.import_module(names[0])
    for name in names[1:-1]:
        owner = getattr(owner, name)
    original = getattr(owner, names[-1])

    def until(*words: Any, **named: Any) -> Any:
        calls[0] += 1
        if calls[0] < nth:
            return original(*words, **named)
        if torn:
            original(*words, **named)
            for path in (word for word in words if isinstance(word, Path) and word.is_file()):
                os.truncate(path, path.stat().st_size // 2)
        os.kill(os.getpid(), signal.SIGKILL)
        return None

    setattr(owner, names[-1], until)
    run(recipe)


def _left(session: int) -> list[str]:
    """Processes of a session that still run."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            words = status.read_text().rpartition(")")[2].split()
            if int(words[3]) == session and words[0] != "Z":
                found.append(status.parent.name)
    return found


def _killed(recipe: Recipe, moment: str, chance: random.Random) -> tuple[str, str]:
    """Kill a run at a moment; where that was, and what is wrong with how it went."""
    target, most = chance.choice(_MOMENTS[moment] or (("", 1),))
    nth, torn = chance.randint(1, most), chance.random() < 0.5
    process = SPAWN.Process(target=_dies, args=(recipe, target, nth, torn))
    process.start()
    if not target:
        process.join(chance.uniform(0, 1))
        process.kill()
    process.join()
    where = f"{target.removeprefix('cosub.')} {nth}{' torn' if torn else ''}" if target else "by the clock"
    if process.exitcode != -signal.SIGKILL:
        return where, f"ended with {process.exitcode} before it was killed"
    assert process.pid is not None
    deadline = time.monotonic() + 20
    while (left := _left(process.pid)) and time.monotonic() < deadline:
        time.sleep(0.2)
    return where, f"{len(left)} processes left behind" if left else ""


def _method(name: str, teacher: Path) -> Any:
    kind = METHODS[name]
    return kind(teacher=str(teacher)) if hasattr(kind, "teacher") else kind()  # type: ignore[call-arg]


def kills(folder: Path, quick: bool) -> Case:
    """SIGKILL at random moments of runs of every method, with 0, 1 and 4 workers; then the same recipe again."""
    case, chance, references = Case(), random.Random(9), dict[str, Path]()
    moments = [*_MOMENTS, "inside a checkpoint", "inside a step"] * 3
    plan = [(moments[i], list(METHODS)[i % len(METHODS)], (0, 0, 1, 4)[i % 4]) for i in range(2 if quick else 20)]
    teacher = folder / "teacher"
    for number, (moment, name, workers) in enumerate(plan):
        if name not in references:
            if "distill" in name and not teacher.exists():
                _continued(two_epochs(teacher, method=_method("supervised", teacher)), teacher)
            references[name] = folder / f"{name}-whole"
            _continued(two_epochs(references[name], method=_method(name, teacher)), references[name])
        out = folder / f"killed-{number}"
        recipe = two_epochs(out, method=_method(name, teacher), workers=workers)
        where, wrong = _killed(recipe, moment, chance)
        wrong = wrong or _continued(recipe, references[name])
        case.check(not wrong, f"{name}, {workers} workers, {moment} ({where}): {wrong}")
        shutil.rmtree(out, ignore_errors=True)
    case.note = "continued to the same bits, no process left behind"
    return case


# --- damaged checkpoints


def _stopped(folder: Path) -> Path:
    """A run that was killed after its checkpoints of steps 16 and 20."""
    out = folder / "stopped"
    if not out.exists():
        process = SPAWN.Process(
            target=_dies, args=(two_epochs(out), "cosub.train.trainer.Trainer.train_step", 22, False)
        )
        process.start()
        process.join()
    return out


def _newest(out: Path) -> Path:
    return sorted((out / "checkpoints").glob("step-*"))[-1]


def _goes_on(case: Case, folder: Path, damage: Callable[[Path], object], about: str, whole: bool) -> None:
    """Damage a copy of the newest checkpoint; the one before must be found; `whole`: and the run end as it should."""
    out = folder / "damaged"
    shutil.rmtree(out, ignore_errors=True)
    shutil.copytree(_stopped(folder), out)
    damage(_newest(out))
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        found = checkpoints.latest(out / "checkpoints")
    wrong = "" if found is not None and found.step == 16 and len(seen) == 1 else f"found {found and found.step}"
    if whole and not wrong:
        wrong = _continued(two_epochs(out), _finished(folder))
    case.check(not wrong, f"{about}: {wrong}")


def _cut(path: Path, sixteenths: int) -> None:
    os.truncate(path, path.stat().st_size * sixteenths // 16)


def _flip(path: Path, place: float, bit: int) -> None:
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= 1 << bit
    path.write_bytes(content)


FILES = ("network.safetensors", "state.pt", "checkpoint.json")


def damage(folder: Path, quick: bool) -> Case:
    """The newest checkpoint cut at every sixteenth, with a flipped bit at 50 places, without a file."""
    case, chance = Case(note="goes on from the checkpoint before, with one warning"), random.Random(5)
    for file in FILES[:1] if quick else FILES:
        for part in (8,) if quick else range(16):
            _goes_on(case, folder, lambda at, f=file, p=part: _cut(at / f, p), f"{file} cut {part}/16", part == 8)
        _goes_on(case, folder, lambda at, f=file: (at / f).unlink(), f"{file} missing", not quick)
    for number in range(2 if quick else 50):
        file, place, bit = chance.choice(FILES), chance.random(), chance.randrange(8)
        about = f"{file} bit {bit} at {place:.4f} flipped"
        _goes_on(case, folder, lambda at, f=file, p=place, b=bit: _flip(at / f, p, b), about, number % 25 == 24)
    return case


def leftovers(folder: Path, quick: bool) -> Case:
    """Folders of checkpoints that were being written when a run was killed: also of steps that never come again."""
    case = Case(note="continued to the same bits, nothing of it stays")
    for step in (20, 21, 9999):
        out = folder / "left"
        shutil.rmtree(out, ignore_errors=True)
        shutil.copytree(_stopped(folder), out)
        aside = out / "checkpoints" / f".step-{step:08d}"
        shutil.copytree(_newest(out), aside)
        (aside / "state.pt").write_bytes(b"half")
        wrong = _continued(two_epochs(out), _finished(folder))
        case.check(not wrong, f"step {step}: {wrong}")
    return case


def _waits(recipe: Recipe, go: str) -> None:
    """A run that waits in its first step until a file appears."""
    sys.stderr = open(os.devnull, "w")  # noqa: SIM115

    def wait(_trainer: Any) -> None:
        Path(go).with_suffix(".there").touch()
        while not Path(go).exists():
            time.sleep(0.05)

    with before_steps(wait):
        run(recipe)


def two_at_once(folder: Path, quick: bool) -> Case:
    """A second command on a folder in which a run is under way."""
    case, out, go = Case(note="the second is refused, the first ends as it should"), folder / "twice", folder / "go"
    process = SPAWN.Process(target=_waits, args=(two_epochs(out), str(go)))
    process.start()
    while process.is_alive() and not go.with_suffix(".there").exists():
        time.sleep(0.05)
    with mock.patch("cosub.train.launch.LOCK_WAIT", 0.0):
        said = command(["train", str(out / "recipe.json"), "--out", str(out)])
    go.touch()
    process.join()
    fault = said.fault((2,)) or ("" if "another process works on this run" in said.error else said.error)
    case.check(not fault, f"second: {fault}")
    wrong = _differs(out, _finished(folder)) if process.exitcode == 0 else f"ended with {process.exitcode}"
    case.check(not wrong, f"first: {wrong}")
    return case


# --- run folders and files of weights that somebody else wrote


def _mutated(path: Path, chance: random.Random) -> str:
    """Change a file as an accident or a person would; what was done."""
    content, action = path.read_bytes(), chance.choice(["cut", "flip", "empty", "noise", "missing", "json", "json"])
    if action == "json" and path.suffix in (".json", ".jsonl"):
        kept, _, last = content.decode().strip().rpartition("\n")
        kept, last = (f"{kept}\n", last) if path.suffix == ".jsonl" else ("", content.decode())
        values = json.loads(last)
        place = chance.choice(_places(values))
        value = chance.choice(
            [None, -1, 0, 3, 2.5, 2**63, 10**30, "", "x", "\u0661", [], {}, [1, "a"], True, {"a": {"b": 1}}]
        )
        action = chance.choice(["value", "value", "remove", "key", "nest"])
        path.write_text(kept + json.dumps(_changed(values, place, action, value)))
        return f"{path.name} {'.'.join(map(str, place))} {action} {value!r}"
    if action in ("missing", "json"):
        path.unlink()
    else:
        at = chance.randrange(len(content)) if chance.random() < 0.5 else chance.randrange(min(len(content), 400))
        changed = bytes([content[at] ^ (1 << chance.randrange(8))])
        kinds = {"cut": content[:at], "flip": content[:at] + changed + content[at + 1 :], "empty": b""}
        path.write_bytes(kinds.get(action, chance.randbytes(64)))
    return f"{path.name} {action}"


_VERBS: dict[str, Callable[[Path], list[str]]] = {
    "evaluate": lambda out: ["evaluate", str(out)],
    "predict": lambda out: ["predict", str(out), str(out.parent / "image.png")],
    "plot": lambda out: ["plot", str(out)],
    "export": lambda out: ["export", str(out)],
    "slim": lambda out: f"slim {out} --keep 2 --strategy ends --images 64 --out {out / 'slim'}".split(),
    "analyse": lambda out: f"analyse population {out} --submodels 2 --limit 64 --out {out / 'analysis'}".split(),
    "train": lambda out: ["train", str(out / "recipe.json"), "--out", str(out)],
    "train again": lambda out: ["train", str(out / "recipe.json"), "--out", str(out)],
    "weights": lambda out: ["train", str(out.parent / "finished" / "recipe.json"), "--out", str(out / "new")],
}


def mutants(folder: Path, quick: bool) -> Case:
    """Run folders and files of weights with one file changed, given to evaluate, predict, plot, export and train."""
    from PIL import Image

    case, chance, sources = Case(), random.Random(200), (_finished(folder), _stopped(folder))
    Image.new("RGB", (8, 8), (90, 0, 30)).save(folder / "image.png")
    out = folder / "mutant"
    for number in range(len(_VERBS) if quick else 216):
        verb = list(_VERBS)[number % len(_VERBS)]
        shutil.rmtree(out, ignore_errors=True)
        shutil.copytree(sources[verb == "train"], out)
        names = ["model.safetensors"] if verb == "weights" else ["recipe.json", "summary.json", "metrics.jsonl"]
        names += ["model.safetensors"] * 2 if verb in ("evaluate", "predict", "export", "slim", "analyse") else []
        files = [out / name for name in names]
        if verb == "train":
            files += [path for path in (out / "checkpoints").rglob("*") if path.is_file()]
        done = _mutated(chance.choice(files), chance)
        words = _VERBS[verb](out)
        if verb == "weights":
            suffix = chance.choice([".safetensors", ".pth"])
            given = out / f"given{suffix}"
            if (out / "model.safetensors").exists():
                (out / "model.safetensors").rename(given)
            words += ["--weights", str(given), "--epochs", "1"]
        fault = command(words).fault((0, 2, 3))
        case.check(not fault, f"{verb}, {done}: {fault}")
    case.note = "works, or one line and status 2 or 3; never a traceback"
    return case


# --- a full disk


@contextlib.contextmanager
def _disk(folder: Path, kilobytes: int) -> Iterator[Callable[[], object] | None]:
    """A small file system there, and what gives it room; None where this machine mounts none."""
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(folder)], capture_output=True
    )
    if mounted.returncode:
        yield None
        return
    try:
        yield lambda: subprocess.run(["mount", "-o", "remount,size=64m", str(folder)], check=True)
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@contextlib.contextmanager
def _filled_in(step: int, disk: Path) -> Iterator[None]:
    """In that step of a run the last byte of the disk is taken; what is written next may be anything."""

    def fill(trainer: Any) -> None:
        if trainer.state.step == step:
            with contextlib.suppress(OSError), (disk / "ballast").open("wb", buffering=0) as file:
                for size in (1 << 16, 1 << 12, 1):
                    with contextlib.suppress(OSError):
                        while file.write(bytes(size)) == size:
                            pass

    with before_steps(fill):
        yield


def full_disk(folder: Path, quick: bool) -> Case:
    """Runs whose disk is full from the start or from a step on; then the same command with room."""
    case, reference = Case(note="status 3, one line, checkpoints whole; goes on to the same bits with room"), None
    reference = _finished(folder)
    (folder / "full.json").write_text(dump(two_epochs(folder / "unused")))
    one = sum(path.stat().st_size for path in _newest(reference).iterdir()) // 1024 + 20
    sizes = (1.6,) if quick else (0.1, 0.4, 0.8, 1.2, 1.6, 2.0, 2.4, 2.8)  # in checkpoints
    tries = [(share, -1) for share in sizes] + [(40.0, step) for step in ((21,) if quick else (0, 5, 11, 16, 21))]
    for share, step in tries:
        disk = folder / f"disk-{share}-{step}"
        with _disk(disk, int(one * share)) as give_room:
            if give_room is None:
                case.note = "SKIPPED: this machine does not let us mount a small file system"
                return case
            out = disk / "run"
            words = ["train", str(folder / "full.json"), "--out", str(out), "--checkpoint-every", "4"]
            with _filled_in(step, disk):
                fault = command(words).fault((3,))
            with warnings.catch_warnings(record=True) as seen:
                warnings.simplefilter("always")
                checkpoints.latest(out / "checkpoints")
            fault = fault or (str(seen[0].message) if seen else "")
            give_room()
            about = f"{share} checkpoints of room" if step < 0 else f"full in step {step + 1}"
            case.check(not fault, f"{about}: {fault}")
            wrong = _continued(two_epochs(out), reference)
            case.check(not wrong, f"{about}, with room: {wrong}")
    return case


# --- memory


def _measured(out: str, seconds: float, to: str) -> None:
    """A run of so many seconds that writes the memory of its process down, in kB, every ten steps."""
    from cosub.errors import Stopped

    sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    found, end = list[int](), time.monotonic() + seconds

    def measure(trainer: Any) -> None:
        if trainer.state.step % 10 == 0:
            status = Path("/proc/self/status").read_text()
            found.append(int(status.split("VmRSS:")[1].split()[0]))
            if time.monotonic() > end:
                raise Stopped("long enough")

    recipe = dataclasses.replace(two_epochs(Path(out), evaluate_every=10, checkpoint_every=50), epochs=10**6)
    with contextlib.suppress(CosubError), before_steps(measure):
        run(recipe)
    Path(to).write_text(json.dumps(found))


def memory(folder: Path, quick: bool) -> Case:
    """A run with checkpoints and evaluations: the process may not grow once it is warm."""
    seconds, to = (8.0 if quick else 600.0), folder / "memory.json"
    process = SPAWN.Process(target=_measured, args=(str(folder / "memory"), seconds, str(to)))
    process.start()
    process.join()
    found = json.loads(to.read_text())
    middle, last = (sorted(found[len(found) * part // 4 :][: len(found) // 4]) for part in (2, 3))
    grown = (last[len(last) // 2] - middle[len(middle) // 2]) / 1024
    about = f"{seconds:.0f} s, {len(found) * 10:,} steps: {last[len(last) // 2] / 1024:.0f} MB, {grown:+.1f} MB"
    case = Case(note=f"{about} from the third quarter of the time to the last; 4 MB allowed")
    case.check(grown < 4, about)
    return case


# --- the table

CASES: dict[str, tuple[str, Callable[[Path, bool], Case]]] = {
    "recipes": ("recipes and command lines of nonsense", recipes),
    "mutants": ("changed run folders and weights", mutants),
    "damage": ("damaged checkpoints", damage),
    "leftovers": ("left-over temporary folders", leftovers),
    "two": ("two runs on one folder", two_at_once),
    "kills": ("SIGKILL", kills),
    "disk": ("full disk, eight sizes and five moments, then room", full_disk),
    "memory": ("memory", memory),
}


def page(rows: list[tuple[str, Case, float]]) -> str:
    lines = ["| case | tries | lost | what must hold | seconds |", "|---|---:|---:|---|---:|"]
    lines += [f"| {name} | {case.tries} | {len(case.lost)} | {case.note} | {took:.0f} |" for name, case, took in rows]
    return "\n".join(lines)


def _commit() -> str:
    done = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True)
    return done.stdout.strip() or "unknown"


def arguments(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    # argparse holds choices against the empty list too, so a default of all is written out.
    parser.add_argument("cases", nargs="*", choices=[*CASES, "all"], default="all", help="by default all")
    parser.add_argument("--quick", action="store_true", help="a few tries of each")
    parser.add_argument("--page", help="write the table to this file")
    found = parser.parse_args(words)
    found.cases = list(CASES) if "all" in found.cases else found.cases
    return found


def run_cases(names: list[str], quick: bool) -> list[tuple[str, Case, float]]:
    import torch

    torch.set_num_threads(1)  # the bits depend on it
    os.environ["OMP_NUM_THREADS"] = "1"
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            title, function = CASES[name]
            started = time.monotonic()
            rows.append((title, function(Path(folder), quick), time.monotonic() - started))
            print(page(rows[-1:]).splitlines()[-1], file=sys.stderr)
    return rows


if __name__ == "__main__":
    chosen = arguments(sys.argv[1:])
    done = run_cases(chosen.cases, chosen.quick)
    table = page(done)
    print(table)
    if chosen.page:
        head = (
            "# Faults\n\nWhat happens to runs when something goes wrong, tried for real on tiny runs, single thread.\n"
        )
        tail = (
            "Beside these, as tests: losses and gradients that are not finite, and fp16's overflow,\n"
            "`tests/train/test_finite.py`; files and names meant to do harm, `tests/test_security.py`.\n"
        )
        Path(chosen.page).write_text(f"{head}`make faults` at {_commit()}.\n\n{table}\n\n{tail}")
    sys.exit(any(case.lost or "SKIPPED" in case.note for _, case, _ in done))
