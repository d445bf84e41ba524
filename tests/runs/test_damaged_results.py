"""Result files of a run that somebody changed: what can be read is used, what cannot is said in one line."""

import errno
import json

import pytest
from tiny import run, tiny

from cosub.cli import main
from cosub.recipes.files import dump
from cosub.runs.folder import RunFolder
from cosub.train.checkpoint import latest
from cosub.train.logs import Logs, read


def test_lines_of_metrics_that_are_not_numbers_are_left_out(tmp_path):
    lines = [
        '{"step": 1, "epoch": 0.5, "loss": 2.0}',
        '{"step": 2}',
        '{"step": "x", "epoch": 1}',
        '{"step": 3, "ep',
        "[]",
        "[" * 100_000,
    ]
    (tmp_path / "metrics.jsonl").write_text("\n".join(lines))
    assert read(tmp_path) == [{"step": 1, "epoch": 0.5, "loss": 2.0}]


@pytest.mark.parametrize("change", [{"top1": None}, {"top1": "x"}, {"steps": []}, {"top1_submodels": 3}])
def test_a_changed_summary_is_one_line(tmp_path, capsys, change):
    out = tmp_path / "run"
    recipe = tiny(out, epochs=1)
    out.mkdir()
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


@pytest.mark.parametrize("method", ["write", "close"])
def test_a_disk_that_is_full_for_the_metrics_is_one_line(tmp_path, capsys, monkeypatch, method):
    """Their file and TensorBoard's are written by code that names no file in its error."""
    (tmp_path / "recipe.json").write_text(dump(tiny(tmp_path / "run", checkpoint_every=4)))
    plain = getattr(Logs, method)

    def full(self, values=None):
        if method == "close":
            plain(self)
        elif values["step"] < 6:
            return plain(self, values)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Logs, method, full)
    assert (
        main(["train", str(tmp_path / "recipe.json"), "--out", str(tmp_path / "run"), "--checkpoint-every", "4"]) == 3
    )
    said = capsys.readouterr().err.splitlines()
    assert [line for line in said if line.startswith("cosub: ")] == said[-1:]
    assert "run: cannot be written (No space left on device): free some space; the same command continues" in said[-1]
    assert RunFolder(tmp_path / "run").state() == "failed"
    assert latest(tmp_path / "run" / "checkpoints").step == (4 if method == "write" else 22)
