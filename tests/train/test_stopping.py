"""What ends a run before its time: a signal amid an evaluation, a kill in a long epoch, a GPU without memory."""

import os
import signal
from pathlib import Path

import pytest
import torch
from tiny import before_steps, call, run, tiny, together, weights

from cosub.data.sources import open_source
from cosub.errors import Stopped
from cosub.runs import distributed
from cosub.runs.folder import RunFolder
from cosub.runs.progress import Reporter
from cosub.train import checkpoint as checkpoints
from cosub.train.logs import read
from cosub.train.micro_step import MicroStep
from cosub.train.tasks import ClassificationTask
from cosub.train.trainer import Trainer

EVALUATE = ClassificationTask.evaluate


def signal_amid(number: int) -> None:
    """From now on the evaluation of that number, from 1, gets SIGTERM after its first batch, in the last process."""
    begun = []

    def signalled(self, network, examples, world, submodels=None):
        begun.append(examples)
        if len(begun) != number or world.rank != world.size - 1:
            return EVALUATE(self, network, examples, world, submodels)
        hook = network.register_forward_hook(lambda *_: os.kill(os.getpid(), signal.SIGTERM))
        try:
            return EVALUATE(self, network, examples, world, submodels)
        finally:
            hook.remove()

    ClassificationTask.evaluate = signalled


@pytest.fixture
def amid():
    yield signal_amid
    ClassificationTask.evaluate = EVALUATE


def measured(out):
    """What a run logged of its evaluations."""
    return [line for line in read(out) if "top1" in line]


def long(out, **changes):
    return tiny(out, epochs=2, choose="best", evaluate_training=True, **changes)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run of two epochs of 19 steps, evaluated on validation and on training images after each."""
    out = tmp_path_factory.mktemp("whole") / "run"
    return out, run(long(out))


def same(summary, expected) -> None:
    for key in ("state", "steps", "top1", "validation_top1", "chosen_epoch"):
        assert summary[key] == expected[key]


def equal(a, b) -> bool:
    a, b = weights(a), weights(b)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize(("number", "epoch"), [(1, 1), (2, 1), (3, 2), (5, None)])
def test_an_evaluation_is_stopped_and_made_again(whole, tmp_path, amid, number, epoch):
    """On validation images, on training images, after the last epoch, and on test images at the end."""
    out, expected = whole
    steps = expected["steps"]
    amid(number)
    with pytest.raises(Stopped, match=f"stopped at step {steps * (epoch or 2) // 2} of {steps}"):
        run(long(tmp_path / "run"))
    folder = RunFolder(tmp_path / "run")
    assert folder.state() == "stopped"
    found = checkpoints.latest(folder.checkpoints)
    assert found.counters["unevaluated"] is (epoch is not None)
    assert len(measured(tmp_path / "run")) == (2 if epoch is None else epoch - 1)
    same(run(long(tmp_path / "run")), expected)
    assert measured(tmp_path / "run") == measured(out)
    assert equal(tmp_path / "run", out)
    assert not checkpoints.latest(folder.checkpoints).counters["unevaluated"]


def test_an_evaluation_that_was_made_again_is_logged_once(whole, tmp_path, amid):
    """Though the run ends before the next checkpoint would be due."""
    out, _ = whole
    for number in (3, 3):  # after the last epoch; on test images, when that was made again
        amid(number)
        with pytest.raises(Stopped):
            run(long(tmp_path / "run"))
    run(long(tmp_path / "run"))
    assert measured(tmp_path / "run") == measured(out)


def _stopped(out: str, parallel: str) -> None:
    signal_amid(2)
    run(long(out, parallel=parallel))


@pytest.mark.parametrize("parallel", [pytest.param("ddp", marks=pytest.mark.slow), "fsdp"])
def test_an_evaluation_is_stopped_in_all_processes_together(whole, tmp_path, parallel):
    """Training images: several batches in each process."""
    _, expected = whole
    assert together(2, _stopped, str(tmp_path / "run"), parallel) == [75, 75]
    found = checkpoints.latest(tmp_path / "run" / "checkpoints")
    assert (found.step, found.counters["unevaluated"]) == (expected["steps"] // 2, True)
    assert run(long(tmp_path / "run"))["state"] == "done"
    assert [line["epoch"] for line in measured(tmp_path / "run")] == [1, 2]


def saved_steps(out, step, world, **changes) -> list[int]:
    """After which steps a run of 22 that last so many seconds each is saved, by the clock of this process."""
    now, saved, recipe = [0.0], [], tiny(out, **changes)
    folder = RunFolder(out)
    world.on_main(lambda: folder.claim(recipe))
    trainer = Trainer(recipe, open_source(recipe.data), world, folder, Reporter())
    trainer.saving.clock = lambda: now[0]
    trainer.prepare()
    save = trainer.save

    def noted() -> None:
        saved.append(trainer.state.step)
        save()

    trainer.save = noted
    with before_steps(lambda _: now.__setitem__(0, now[0] + step)):
        trainer.fit()
    return saved


@pytest.mark.parametrize(
    ("every", "expected"), [(0, [4, 8, 12, 16, 20, 22]), (9, [9, 18, 22])], ids=["by-the-clock", "by-steps"]
)
def test_a_long_epoch_is_saved_after_half_an_hour(tmp_path, every, expected):
    alone = distributed.join("cpu")
    assert saved_steps(tmp_path / "run", 600, alone, checkpoint_every=every) == expected
    assert saved_steps(tmp_path / "quick", 1, alone) == [22]
    ours, theirs = (checkpoints.latest(tmp_path / name / "checkpoints") for name in ("run", "quick"))
    assert all(torch.equal(ours.weights["network"][name], value) for name, value in theirs.weights["network"].items())


def _clocks(out: str) -> None:
    """The clock of the second process is of no account."""
    world = distributed.join("cpu")
    assert saved_steps(Path(out), 600 if world.main else 10**6, world) == [4, 8, 12, 16, 20, 22]


def test_the_first_process_says_when_it_is_time(tmp_path):
    assert together(2, _clocks, str(tmp_path / "run")) == [0, 0]


OVERFLOW = "CUDA out of memory. Tried to allocate 2.00 GiB."


@pytest.mark.parametrize("place", [(MicroStep, "run"), (Trainer, "evaluate")], ids=["a-step", "the-evaluation"])
def test_a_gpu_whose_memory_is_too_small_is_one_line(tmp_path, monkeypatch, capsys, place):
    def overflow(*_arguments, **_more):
        raise torch.OutOfMemoryError(OVERFLOW)

    monkeypatch.setattr(*place, overflow)
    RunFolder(tmp_path / "recipe").claim(tiny(tmp_path / "recipe"))
    status, _, err = call(capsys, "train", tmp_path / "recipe" / "recipe.json", "--out", tmp_path / "run")
    line = err.splitlines()[-1]
    assert status == 3
    assert line.startswith(f"cosub: device: cpu: its memory is too small ({OVERFLOW}): the same command goes on with ")
    assert all(f"--{flag}" in line for flag in ("micro-steps", "checkpointing lean", "batch-size", "group-size"))
    assert OVERFLOW in RunFolder(tmp_path / "run").read_summary()["reason"]
