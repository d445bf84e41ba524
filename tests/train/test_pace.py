"""Steps in turns, and what follows from them: the epochs of the demo, and the demo itself on tiny settings."""

import dataclasses
import itertools
import json
import sys
from concurrent.futures import Future
from pathlib import Path

import pytest
from tiny import TINY, tiny

from cosub.recipes.methods import Supervised
from cosub.train import pace
from cosub.train.pace import Paces, measure, time_evaluation, time_steps

SCRIPTS = Path(__file__).parents[2] / "scripts"


def test_recipes_take_turns_in_processes_of_their_own(tmp_path, monkeypatch):
    started = []

    class Inline:
        """Runs what it is given at once."""

        def __init__(self, jobs, context, max_tasks_per_child):
            assert (jobs, context.get_start_method(), max_tasks_per_child) == (2, "forkserver", 1)

        def __enter__(self):
            return self

        def __exit__(self, *_):
            return

        def submit(self, run, one_thread, work, recipe, *more):
            started.append((work.__name__, recipe.method.kind, recipe.weights, recipe.head, one_thread, *more))
            found = Future()
            found.set_result([3.0, 9.0, 3.0] if recipe.method.kind == "cosub" else [1.0])
            return found

    monkeypatch.setattr(pace, "ProcessPoolExecutor", Inline)
    recipe = tiny(tmp_path / "run", weights="large.pth", head="probe")  # neither is needed to time a step
    found = measure({"ours": recipe, "theirs": dataclasses.replace(recipe, method=Supervised())}, 8.0, jobs=2)
    ours, theirs = (("time_steps", kind, "", "zero", True, 2.0) for kind in ("cosub", "supervised"))
    assert started[:-2] == [ours, ours, theirs, theirs] * 2
    assert started[-2:] == [("time_evaluation", "cosub", "", "zero", True)] * 2
    assert found == Paces({"ours": 3.0, "theirs": 1.0}, 5.0)


def test_the_first_steps_do_not_count_and_memory_is_kept_as_in_a_run(tmp_path, monkeypatch):
    work, kept = [], []

    def noted(name):
        method = getattr(pace.Trainer, name)
        return lambda self, *given: work.append(f"{name} {self.state.step}") or method(self, *given)

    def seconds_of(_device, call, *arguments):
        work.append("begin")
        call(*arguments)
        work.append("end")
        return 6.0

    for name in ("train_step", "evaluate"):
        monkeypatch.setattr(pace.Trainer, name, noted(name))
    monkeypatch.setattr(pace, "seconds_of", seconds_of)
    monkeypatch.setattr(pace.cpu, "keep_freed_memory", lambda: kept.append(len(work)))
    assert pace._alone(False, time_steps, tiny(tmp_path / "run"), 0.0) == [6.0] * 3
    parts = [["begin", f"train_step {step}", "end"] for step in (2, 3, 4)]
    assert (work, kept) == (["train_step 0", "train_step 1", *itertools.chain(*parts)], [0])
    work.clear()
    assert pace._alone(False, time_evaluation, tiny(tmp_path / "run")) == [6.0 / 128]
    assert work == ["evaluate 0", "begin", "evaluate 0", "end"]
    assert not (tmp_path / "run").exists()


def test_a_part_has_several_steps_and_is_timed_as_a_whole(tmp_path, monkeypatch):
    """A GPU is not waited for between them, as it is not in a run."""
    times = iter(range(1000))
    monkeypatch.setattr(pace.time, "monotonic", lambda: next(times))
    monkeypatch.setattr(pace, "seconds_of", lambda _device, call, *arguments: call(*arguments) or 8.0)
    assert time_steps(tiny(tmp_path / "run"), 12.0) == [2.0] * 3  # of four steps each


@pytest.mark.slow
def test_steps_are_timed_in_real_processes(tmp_path):
    recipe = tiny(tmp_path / "run")
    found = measure({"ours": recipe}, 0.0)
    assert 0 < found.step["ours"] < 60
    assert 0 < found.image < found.step["ours"]
    assert not (tmp_path / "run").exists()


@pytest.fixture
def scripts(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    import demo
    import equal_time

    yield demo, equal_time
    for name in ("demo", "equal_time"):
        del sys.modules[name]


def test_equal_time_comes_from_steps_in_turns_and_is_kept(scripts, tmp_path, monkeypatch):
    _, equal_time = scripts
    monkeypatch.setattr(pace, "measure", lambda recipes, seconds: Paces({"cosub": 0.3, "supervised": 0.2}, 0.0))
    assert equal_time.epochs_at_equal_time(["digits"], tmp_path) == 45
    assert equal_time.epochs_at_equal_time(["digits", "--epochs", "10"], tmp_path) == 15
    (tmp_path / "recipe.json").write_text(json.dumps({"epochs": 12}))
    assert equal_time.epochs_at_equal_time(["digits"], tmp_path) == 12


@pytest.mark.slow
def test_the_demo_shows_both_methods_their_submodels_and_slimmed_networks(scripts, tmp_path, capsys):
    demo, _ = scripts
    size = [f"{key}={value}" for key, value in TINY.items()]
    words = ["digits", "--epochs", "1", "--model-args", *size]
    demo.demo(words, tmp_path, keep=3, submodels=2, timed=0.1)
    out = capsys.readouterr().out
    assert "supervised, equal time" in out
    assert "co-training, 3 of 4 layers: top-1 " in out
    assert "One seed, 360 test images, of which one is 0.28 points" in out
    assert (tmp_path / "comparison.png").stat().st_size > 10_000
    summaries = [json.loads((tmp_path / name / "summary.json").read_text()) for name in ("cosub", "cosub-slim")]
    assert [summary["state"] for summary in summaries] == ["done", "done"]
    demo.demo(words, tmp_path, keep=3, submodels=2, timed=0.1)
    assert capsys.readouterr().out == out
