"""`cosub evaluate --report`: its numbers against other implementations, its files, and what it refuses."""

import csv
import dataclasses
import itertools
import json
import math

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import confusion_matrix, precision_score, recall_score
from tiny import run, tiny

from cosub.api.report import spelled_out
from cosub.cli import main
from cosub.evaluation.report import page
from cosub.evaluation.report.calibration import (
    calibrate,
    calibration_error,
    fit_temperature,
    interval,
    least_confidence,
    reliability,
)
from cosub.evaluation.report.confusion import by_class, mistakes, write_matrix
from cosub.evaluation.report.pictures import worst
from cosub.evaluation.report.scoring import Scored
from cosub.recipes.data import Digits

FILES = ["calibration.png", "classes.csv", "confusion.csv", "confusion.png", "errors.csv", "errors.png", "report.json",
         "report.md"]  # fmt: skip


def drawn(number=4000, classes=5, temperature=1.0, seed=0):
    """Logits whose labels are drawn from their softmax at a temperature: that temperature calibrates them."""
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(number, classes, generator=generator)
    labels = torch.multinomial((logits / temperature).softmax(1), 1, generator=generator).flatten()
    return Scored(logits, labels, torch.arange(number))


# --- numbers


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_the_temperature_is_that_of_which_labels_were_drawn(temperature):
    assert fit_temperature(drawn(20_000, temperature=temperature)) == pytest.approx(temperature, rel=0.04)


@pytest.mark.parametrize("factor", [1.0, 30.0])
def test_the_calibration_error_is_that_of_its_definition(factor):
    scored = drawn(temperature=2.0)
    scored = dataclasses.replace(scored, logits=factor * scored.logits)
    assert bool((scored.confidence == 1).any()) == (factor > 1)
    confidence, right = scored.confidence.numpy(), scored.right.numpy()
    edges = np.linspace(0, 1, 16)
    total = 0.0
    for low, high in itertools.pairwise(edges):
        inside = (confidence >= low) & ((confidence < high) | (high == 1))
        if inside.any():
            total += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    assert calibration_error(scored.logits, scored.labels) == pytest.approx(total, abs=1e-4)
    mean, accuracy, counts = reliability(scored.confidence, scored.right)
    assert counts.sum() == len(scored)
    assert np.nansum(counts * mean) == pytest.approx(confidence.sum(), rel=1e-4)
    assert np.nansum(counts * accuracy) == pytest.approx(right.sum())


def test_a_confidence_of_one_is_in_the_last_bin():
    logits = torch.tensor([[200.0, 0.0], [200.0, 0.0], [math.log(19), 0.0], [0.0, math.log(3)]])
    scored = Scored(logits, torch.tensor([0, 1, 0, 0]), torch.arange(4))
    assert scored.confidence.tolist() == pytest.approx([1, 1, 0.95, 0.75])
    counts = reliability(scored.confidence, scored.right)[2]
    assert {place: int(count) for place, count in enumerate(counts) if count} == {11: 1, 14: 3}
    expected = (3 * (2.95 / 3 - 2 / 3) + 0.75) / 4  # two of three are right in the last bin, none in the other
    assert calibration_error(scored.logits, scored.labels) == pytest.approx(expected, abs=1e-6)


def test_dividing_by_the_temperature_calibrates_and_changes_no_prediction():
    found = calibrate(drawn(seed=1, temperature=2.0), drawn(seed=2, temperature=2.0), (0.9,))
    assert found.ece > 0.1
    assert found.ece_scaled < 0.03
    assert found.loss_scaled < found.loss
    assert (found.fitted_images, found.measured_images) == (4000, 4000)


@pytest.mark.parametrize("precision", [0.5, 0.8, 0.95, 1.0])
def test_the_least_confidence_is_that_of_trying_all(precision):
    generator = torch.Generator().manual_seed(3)
    confidence = (torch.rand(200, generator=generator) * 20).round() / 20  # many are equal
    right = torch.rand(200, generator=generator) < confidence
    right[confidence >= 0.95] = True
    enough = [
        value for value in confidence.unique().tolist() if right[confidence >= value].double().mean() >= precision
    ]
    assert least_confidence(confidence, right, precision) == (pytest.approx(min(enough)) if enough else None)


def test_no_confidence_reaches_a_precision_where_the_surest_is_wrong():
    confidence, right = torch.tensor([0.9, 0.8, 0.7]), torch.tensor([False, True, True])
    assert least_confidence(confidence, right, 0.9) is None
    assert least_confidence(confidence, right, 0.6) == pytest.approx(0.7)


@pytest.mark.parametrize(
    ("confidence", "printed"), [(0.83456, "0.8345"), (0.9995, "0.999500"), (0.99996, "0.9999600"), (1.0, "1.000000000")]
)
def test_a_confidence_has_the_digits_that_tell_it_from_one(confidence, printed):
    assert page._digits(confidence) == printed


def test_a_rejection_is_measured_on_the_other_images():
    fitted, measured = drawn(seed=4, temperature=2.0), drawn(seed=5, temperature=2.0)
    (found,) = calibrate(fitted, measured, (0.8,)).rejections
    kept = measured.confidence >= found.confidence
    assert found.kept == pytest.approx(float(kept.double().mean()))
    assert found.measured == pytest.approx(float(measured.right[kept].double().mean()))
    assert found.interval[0] < found.measured < found.interval[1]
    assert float(fitted.right[fitted.confidence >= found.confidence].double().mean()) >= 0.8


def test_intervals_are_wilsons():
    assert interval(8, 10) == pytest.approx((0.49016, 0.94331), abs=1e-4)
    assert interval(10, 10)[1] == 1.0


def test_figures_by_class_are_those_of_scikit_learn(tmp_path):
    scored = drawn(300)
    labels, predicted = scored.labels.numpy(), scored.predicted.numpy()
    matrix = torch.as_tensor(confusion_matrix(labels, predicted))
    names = list("abcde")
    rows = by_class(matrix, names)
    assert [row.recall for row in rows] == pytest.approx(recall_score(labels, predicted, average=None), abs=1e-6)
    assert [row.precision for row in rows] == pytest.approx(precision_score(labels, predicted, average=None), abs=1e-6)
    pairs = list(mistakes(matrix, names, 3))
    assert [number for *_, number in pairs] == sorted((n for *_, n in mistakes(matrix, names, 99)), reverse=True)[:3]
    assert all(matrix[names.index(a), names.index(b)] == n and a != b for a, b, n in pairs)
    write_matrix(matrix, names, tmp_path / "m.csv")
    lines = list(csv.reader((tmp_path / "m.csv").read_text().splitlines()))
    assert [list(map(int, line[1:])) for line in lines[1:]] == matrix.tolist()
    assert [line[0] for line in lines[1:]] == lines[0][1:] == names


def test_a_class_that_never_occurs_has_no_accuracy():
    rows = by_class(torch.tensor([[3, 1, 0], [0, 2, 0], [0, 0, 0]]), ("a", "b", "c"))
    assert [(row.recall, row.precision, row.taken_for) for row in rows] == [(0.75, 1.0, "b"), (1.0, 0.666667, ""),
                                                                            (None, None, "")]  # fmt: skip
    assert rows[0].iou == 0.75


def test_the_worst_errors_come_first():
    logits = torch.tensor([[9.0, 0.0], [2.0, 0.0], [0.0, 5.0], [1.0, 0.0]])
    scored = Scored(logits, torch.tensor([1, 1, 1, 0]), torch.arange(4))
    assert worst(scored, 5).tolist() == [0, 1]
    assert worst(scored, 1).tolist() == [0]


# --- of a run


def has_colours(path):
    with Image.open(path) as picture:
        return len(picture.convert("RGB").getcolors(1 << 24)) > 10


def test_a_report_has_its_files_and_agrees_with_the_evaluation(finished, tmp_path, capsys):
    folder = tmp_path / "report"
    assert main(["evaluate", str(finished), "--report", str(folder), "--precisions", "0.5", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert sorted(path.name for path in folder.iterdir()) == FILES
    assert all(has_colours(path) for path in folder.glob("*.png"))
    numbers = json.loads((folder / "report.json").read_text())
    assert found["report"] == {"folder": str(folder), **numbers}
    assert numbers["top1"] == pytest.approx(found["top1"], abs=1e-6)
    assert numbers["num_images"] == 360 == sum(row["number"] for row in numbers["classes"])
    assert numbers["calibration"]["fitted_images"] == numbers["calibration"]["measured_images"] == 180
    wrong = list(csv.DictReader((folder / "errors.csv").read_text().splitlines()))
    assert len(wrong) == round(360 * (1 - found["top1"]))
    truth = [float(line["probability of the true one"]) for line in wrong]
    assert truth == sorted(truth)
    page = (folder / "report.md").read_text()
    assert "a random half of these images" in page
    assert "held-out images of the run's data" in page
    for name in FILES:
        assert name in page or name in ("report.json", "report.md", "confusion.csv", "classes.csv")


def test_a_report_is_written_over_nothing_and_lies_in_the_run_by_default(finished, capsys):
    words = ["evaluate", str(finished), "--report"]
    assert main(words) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(finished / "report" / "report.md")
    before = {path: path.read_bytes() for path in (finished / "report").iterdir()}
    assert main(words) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"cosub: report: {finished / 'report'}: is not an empty folder")
    assert err.count("\n") == 1
    assert {path: path.read_bytes() for path in (finished / "report").iterdir()} == before


def test_validation_images_are_fitted_on_where_there_are_some(tmp_path, capsys):
    run(tiny(tmp_path / "run", data=Digits(validation_images=100), batch_size=32))
    assert main(["evaluate", str(tmp_path / "run"), "--report", "--keep", "0.5", "--json"]) == 0
    numbers = json.loads(capsys.readouterr().out)["report"]
    assert numbers["fitted_on"] == "the run's validation images"
    calibration = numbers["calibration"]
    assert (calibration["fitted_images"], calibration["measured_images"]) == (100, 360)
    assert numbers["run"].endswith("50% of the blocks")


def test_a_report_on_the_images_that_chose_the_epoch_says_so(finished, capsys):
    summary = json.loads((finished / "summary.json").read_text())
    (finished / "summary.json").write_text(json.dumps({**summary, "reported_on": "validation"}))
    assert main(["evaluate", str(finished), "--report", str(finished / "chosen"), "--json"]) == 0
    assert "by which its epoch was chosen" in json.loads(capsys.readouterr().out)["report"]["images"]


def test_a_report_without_a_folder_is_a_word_of_its_own():
    assert spelled_out([]) == []
    assert spelled_out(["run", "--report"]) == ["run", "--report", "auto"]
    assert spelled_out(["--report", "--keep", "1", "run"]) == ["--report", "auto", "--keep", "1", "run"]
    assert spelled_out(["run", "--report", "x", "--report=y"]) == ["run", "--report", "x", "--report=y"]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--report", "no/where"], "report: no/where: no is not a folder; make it first"),
        (["--report", "--precisions", "1.5"], "precisions: 1.5: must be in (0, 1)"),
        (["--precisions", "0.5"], "precisions: are of a report"),
        (["--report", "new", "--set", "val=a", "--set", "v2=b"], "set: a: is not a folder"),
    ],
)
def test_what_cannot_be_reported_on_is_one_line(finished, more, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["evaluate", str(finished), *more]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_of_weights_that_are_no_run_the_folder_is_named(capsys):
    assert main(["evaluate", "vit_tiny_patch16_224", "--set", "val=x", "--report"]) == 2
    assert "is no run's folder, so none lies in it; name one, --report FOLDER" in capsys.readouterr().err
