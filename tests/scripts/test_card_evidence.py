"""The card's script, `evidence`: the same runs as on a GPU, on a few digits."""

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))

from card import evidence

from cosub.paper.studies.arms import ARMS, arms


def test_images_are_balanced_where_some_are_drawn_and_lie_on_the_device():
    few, all_of_them = evidence.recipes("cuda", tiny=False)
    assert (few.data.train_images, few.data.balanced, all_of_them.data.train_images) == (5000, True, 0)
    for recipe in (few, all_of_them):
        assert (recipe.data.validation_images, recipe.data.on_device) == (5000, True)
        assert (recipe.model_args["patch_size"], recipe.model_args["embed_dim"]) == (4, 192)
        assert recipe.runtime.device == "cuda"
        assert len(arms(recipe).cells) == len(ARMS)


def test_without_minutes_all_is_left(tmp_path):
    assert evidence.run(evidence.recipes("cpu", tiny=True), tmp_path, "", minutes=0) == 2 * 3 * len(ARMS)


@pytest.mark.slow
def test_runs_side_by_side_have_a_line_each_and_are_not_trained_again(tmp_path, capsys):
    first = evidence.recipes("cpu", tiny=True)[:1]
    assert evidence.run(first, tmp_path, "", minutes=30, jobs=2, seeds=1) == 0
    lines = (tmp_path / "runs.jsonl").read_text()
    assert {json.loads(line)["cell"] for line in lines.splitlines()} == {cell.name for cell in arms(first[0]).cells}
    assert "images/s a run" in capsys.readouterr().out
    assert evidence.run(first, tmp_path, "", minutes=30, jobs=2, seeds=1) == 0
    assert (tmp_path / "runs.jsonl").read_text() == lines
