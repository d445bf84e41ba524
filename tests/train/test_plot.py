"""What `cosub plot` draws: the points that were measured, each at its epoch."""

import dataclasses
import json

import pytest
from looking import capture, legend, note

from cosub.recipes import get
from cosub.recipes.files import dump
from cosub.recipes.methods import Cosub, Supervised
from cosub.runs.ways import WAYS
from cosub.train.plot import plot_runs, read_course

MEASURED = {1: 0.5, 2: 0.9, 3: 0.6}


def folder(path, summary, measured=MEASURED, **changes):
    """What a run of three epochs leaves that is drawn."""
    path.mkdir()
    recipe = dataclasses.replace(get("digits"), epochs=3, **changes)
    (path / "recipe.json").write_text(dump(recipe))
    lines = [{"step": epoch, "epoch": epoch, "loss": 1 / epoch} for epoch in (1, 2, 3)]
    lines += [{"step": epoch, "epoch": epoch, "top1": value} for epoch, value in measured.items()]
    (path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (path / "summary.json").write_text(json.dumps(summary))
    return path


def accuracies(figure):
    """The points of each line of the panel of accuracies."""
    return [[tuple(point) for point in line.get_xydata().tolist()] for line in figure.axes[1].get_lines()]


def test_the_chosen_epoch_is_marked_where_it_is_and_not_drawn_at_the_end(tmp_path, monkeypatch):
    figures = capture(monkeypatch)
    plot_runs([folder(tmp_path / "run", {"top1": 0.91, "chosen_epoch": 2}, choose="best")], tmp_path / "a.png")
    assert accuracies(figures[0]) == [[(1, 50), (2, 90), (3, 60)], [(2, 90)]]
    assert "star: the epoch whose network the run keeps" in note(figures[0])


def test_a_network_that_was_chosen_before_the_first_step_is_marked_there(tmp_path):
    measured = {0: 0.95, **MEASURED}
    run = folder(tmp_path / "run", {"top1": 0.9, "chosen_epoch": 0}, measured, choose="best", head="probe")
    assert read_course(run).chosen == [(0, 95)]


@pytest.mark.parametrize(
    ("summary", "last"), [({"top1": 0.8}, 80), ({"top1": 0.8, "validation_top1": 0.7}, 70), ({"state": "begun"}, 90)]
)
def test_the_last_point_is_of_the_images_of_the_others(summary, last, tmp_path):
    """Where there are validation images, the points before it are theirs, and not those of the test images."""
    course = read_course(folder(tmp_path / "run", summary, {1: 0.5, 2: 0.9}))
    assert course.points[-1] == (2 if last == 90 else 3, last)
    assert course.chosen == []


def test_losses_of_different_targets_share_an_axis_with_a_word(tmp_path, monkeypatch):
    figures = capture(monkeypatch)
    runs = [
        folder(tmp_path / name, {"top1": 0.8}, method=method, seed=seed)
        for name, method, seed in (("a", Cosub(), 0), ("b", Cosub(), 1), ("c", Supervised(), 1))
    ]
    plot_runs(runs[:2], tmp_path / "a.png")
    plot_runs(runs, tmp_path / "b.png")
    same, different = map(note, figures)
    assert "losses are not comparable" not in same
    assert "losses are not comparable" in different
    assert "a curve is one run, of seed 0 or 1" in same
    assert legend(figures[1]) == ["a (co-training)", "b (co-training)", "c (supervised)"]
    first, second, third = (line.get_color() for line in figures[1].axes[0].get_lines())
    assert first == second == WAYS["cosub"].colour
    assert third == WAYS["supervised"].colour
