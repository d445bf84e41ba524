"""Steps in turns, and what follows from them: the epochs of the demo, and the demo itself on tiny settings."""

import dataclasses
import json
import sys
from pathlib import Path

import pytest
from tiny import TINY, tiny

from cosub.recipes.methods import Supervised
from cosub.train import pace
from cosub.train.pace import Paces, measure

SCRIPTS = Path(__file__).parents[2] / "scripts"


def test_recipes_take_turns_and_the_first_turn_does_not_count(tmp_path, monkeypatch):
    turns, steps = [], []

    def seconds_of(_device, work, *arguments):
        work(*arguments)
        if work.__name__ != "step":
            return 2.0
        stepper = work.__self__
        turns.append(stepper.trainer.recipe.method.kind)
        steps.append(stepper.trainer.state.step)
        first = 100.0 if steps[-1] == 1 else 0.0
        return first + (3.0 if turns[-1] == "cosub" else 1.0)

    kept = []
    monkeypatch.setattr(pace, "seconds_of", seconds_of)
    monkeypatch.setattr(pace.cpu, "keep_freed_memory", lambda: kept.append(len(turns)))
    recipe = tiny(tmp_path / "run")
    found = measure({"ours": recipe, "theirs": dataclasses.replace(recipe, method=Supervised())}, 0.0)
    assert kept == [0]  # memory is handled as in a run, before the first step
    assert turns == ["cosub", "supervised"] * 4
    assert steps == [1, 1, 2, 2, 3, 3, 4, 4]
    assert found == Paces({"ours": 3.0, "theirs": 1.0}, 2.0 / 128)
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
