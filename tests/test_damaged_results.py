"""Result files of a run that somebody changed: what can be read is used, what cannot is said in one line."""

import json

import pytest
from tiny import run, tiny

from cosub.cli import main
from cosub.logs import read


def test_lines_of_metrics_that_are_not_numbers_are_left_out(tmp_path):
    lines = [
        '{"step": 1, "epoch": 0.5, "loss": 2.0}',
        '{"step": 2}',
        '{"step": "x", "epoch": 1}',
        '{"step": 3, "ep',
        "[]",
    ]
    (tmp_path / "metrics.jsonl").write_text("\n".join(lines))
    assert read(tmp_path) == [{"step": 1, "epoch": 0.5, "loss": 2.0}]


@pytest.mark.parametrize("change", [{"top1": None}, {"top1": "x"}, {"steps": []}, {"top1_submodels": 3}])
def test_a_changed_summary_is_one_line(tmp_path, capsys, change):
    out = tmp_path / "run"
    recipe = tiny(out, epochs=1)
    out.mkdir()
    from cosub.recipes.files import dump

    (out / "recipe.json").write_text(dump(recipe))
    fine = {"state": "done", "top1": 0.5, "num_images": 3, "top1_submodels": {}, "steps": 1, "seconds": 1.0, "run": "x"}
    (out / "summary.json").write_text(json.dumps(fine))
    assert run(recipe) == fine
    (out / "summary.json").write_text(json.dumps(fine | change))
    capsys.readouterr()
    assert main(["train", str(out / "recipe.json"), "--out", str(out)]) == 2
    said = capsys.readouterr().err
    assert "is not the summary of a finished run" in said
    assert len(said.splitlines()) == 1
