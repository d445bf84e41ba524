"""`cosub predict`: patterns and folders, batches, CSV and JSON, maps of scenes; verbs that work in one process."""

import csv
import errno
import json
import os
import pty
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from pictures import picture
from PIL import Image
from scenes import words

from cosub.cli import main
from cosub.data.transforms import evaluation, normalize
from cosub.evaluation.accuracy import logits_of
from cosub.evaluation.prediction import probabilities
from cosub.runs.folder import load_run


@pytest.fixture
def photos(tmp_path):
    (tmp_path / "photos" / "inner").mkdir(parents=True)
    for index, name in enumerate(("a.png", "b.jpg", "inner/c.png", "inner/d.jpg", "[e].png")):
        picture(index).save(tmp_path / "photos" / name)
    (tmp_path / "photos" / "notes.txt").write_text("x")
    return tmp_path / "photos"


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("*.png", ["[e].png", "a.png"]),
        ("**/*.png", ["[e].png", "a.png", "inner/c.png"]),
        ("*", ["[e].png", "a.png", "b.jpg", "inner/c.png", "inner/d.jpg"]),
        ("inn*", ["inner/c.png", "inner/d.jpg"]),
        ("[e].png", ["[e].png"]),
    ],
)
def test_patterns_name_images_and_folders(finished, photos, pattern, names, capsys):
    assert main(["predict", str(finished), str(photos / pattern), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert sorted(item["image"] for item in found["predictions"]) == [str(photos / name) for name in names]
    assert [item["why"] for item in found["skipped"]] == (["extension .txt"] if pattern == "*" else [])


def test_an_image_that_is_named_twice_is_predicted_once(finished, photos, capsys):
    assert main(["predict", str(finished), str(photos), str(photos / "a.png"), str(photos / "*.png"), "--json"]) == 0
    found = [item["image"] for item in json.loads(capsys.readouterr().out)["predictions"]]
    assert len(found) == len(set(found)) == 5


def test_a_csv_file_has_a_line_for_each_image_and_class(finished, photos, tmp_path, capsys):
    target = tmp_path / "found.csv"
    assert main(["predict", str(finished), str(photos), "--top", "3", "--csv", str(target), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["predictions"]
    lines = list(csv.DictReader(target.read_text().splitlines()))
    assert list(lines[0]) == ["image", "class", "probability"]
    assert [(line["image"], line["class"], float(line["probability"])) for line in lines] == [
        (item["image"], one["class"], one["probability"]) for item in found for one in item["classes"]
    ]
    assert len(lines) == 15
    before = target.read_bytes()
    assert main(["predict", str(finished), str(photos), "--csv", str(target)]) == 2
    assert f"csv: '{target}': exists; name another file" in capsys.readouterr().err
    assert target.read_bytes() == before


@pytest.mark.parametrize("more", [[], ["--batch-size", "2"], ["--batch-size", "1", "--workers", "1"]])
@pytest.mark.parametrize("keep", [[], ["--keep", "0.5"]])
def test_images_in_batches_have_the_probabilities_that_each_has_alone(finished, photos, more, keep, capsys):
    """Computed here by the network and its transform, image by image; in the order of the files."""
    (photos / "aa.png").write_bytes(b"no image")
    loaded, alone = load_run(finished), []
    transform = evaluation(loaded.recipe.resolution, loaded.recipe.inputs)
    kept = [0, 1] if keep else None  # of the first of two blocks
    for name in ("[e].png", "a.png", "b.jpg", "inner/c.png", "inner/d.jpg"):
        with Image.open(photos / name) as image:
            pixels = normalize(torch.as_tensor(transform(image))[None], loaded.recipe.inputs)
        with torch.inference_mode():
            likely = logits_of(loaded.network, pixels, kept).softmax(1)[0].tolist()
        alone.append((str(photos / name), dict(zip(loaded.classes, likely, strict=True))))
    assert main(["predict", str(finished), str(photos), "--top", "10", *more, *keep, "--json"]) == 0
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert [item["image"] for item in found["predictions"]] == [name for name, _ in alone]
    for item, (_, expected) in zip(found["predictions"], alone, strict=True):
        assert {one["class"]: one["probability"] for one in item["classes"]} == pytest.approx(expected, abs=1e-6)
        values = [one["probability"] for one in item["classes"]]
        assert values == sorted(values, reverse=True)
    assert [str(photos / "aa.png") in name for name in found["bad_images"]] == [True]
    assert err == ""


@pytest.fixture
def interrupted(monkeypatch):
    """Ctrl-C in the third batch. Gives the sizes of the batches."""
    sizes = []

    def third(network, recipe, pixels, kept=None):
        sizes.append(len(pixels))
        if len(sizes) == 3:
            raise KeyboardInterrupt
        return probabilities(network, recipe, pixels, kept)

    monkeypatch.setattr("cosub.evaluation.prediction.probabilities", third)
    return sizes


def test_what_was_predicted_stays_when_the_command_is_interrupted(finished, photos, tmp_path, interrupted, capsys):
    target = tmp_path / "found.csv"
    words = ["predict", str(finished), str(photos), "--batch-size", "2", "--top", "3", "--csv", str(target)]
    assert main(words) == 130
    out, err = capsys.readouterr()
    assert interrupted == [2, 2, 1]
    names = [str(photos / name) for name in ("[e].png", "a.png", "b.jpg", "inner/c.png")]
    assert [line.split(": ")[0] for line in out.splitlines()] == names
    lines = list(csv.DictReader(target.read_text().splitlines()))
    assert [line["image"] for line in lines] == [name for name in names for _ in range(3)]
    assert err == "cosub: interrupted\n"
    before = target.read_bytes()
    assert main(words) == 2
    assert f"csv: '{target}': exists; name another file" in capsys.readouterr().err
    assert target.read_bytes() == before


def test_a_full_disk_amid_the_rows_is_one_line_after_what_was_found(finished, photos, tmp_path, monkeypatch, capsys):
    target, opened = tmp_path / "found.csv", Path.open

    def full(path, mode="r", *rest, **more):
        if mode == "a":
            raise OSError(errno.ENOSPC, "No space left on device")  # without a name, as `write` raises it
        return opened(path, mode, *rest, **more)

    (photos / "notes.txt").unlink()
    monkeypatch.setattr(Path, "open", full)
    for more, shown in (([], 4), (["--json"], 1)):
        target.unlink(missing_ok=True)
        words = ["predict", str(finished), str(photos), "--batch-size", "2", "--csv", str(target)]
        assert main([*words, *more]) == 3
        out, err = capsys.readouterr()
        assert (len(out.splitlines()), "inner/c.png" in out) == (shown, True)
        assert err == f"cosub: {target}: No space left on device; name another path, or make room\n"
        assert len(target.read_text().splitlines()) == 1 + 2 * 5


def test_prediction_shows_its_progress_and_the_lines_stay_on_standard_output(finished, photos, monkeypatch, capsys):
    (photos / "notes.txt").unlink()
    monkeypatch.setattr("cosub.runs.progress._SECONDS_BETWEEN_LINES", 0.0)
    assert main(["predict", str(finished), str(photos), "--batch-size", "1"]) == 0
    out, err = capsys.readouterr()
    assert [line.split("  ")[0] for line in err.splitlines()] == [
        f"predict {share}%" for share in (20, 40, 60, 80, 100)
    ]
    assert len(out.splitlines()) == 5


def test_lines_that_go_to_a_file_are_not_drawn_above_the_bar(finished, photos, tmp_path):
    """The bar of a terminal on standard error takes over standard output, too."""
    ours, theirs = pty.openpty()
    with (tmp_path / "out.txt").open("w") as out:
        words = [sys.executable, "-m", "cosub", "predict", str(finished), str(photos), "--batch-size", "1"]
        done = subprocess.run(words, stdout=out, stderr=theirs, env={**os.environ, "TERM": "xterm"}, check=False)
    os.close(theirs)
    shown = os.read(ours, 100_000).decode()
    os.close(ours)
    assert (done.returncode, "predict" in shown, "a.png" in shown) == (0, True, False)
    assert len((tmp_path / "out.txt").read_text().splitlines()) == 5


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["*.gif"], "images: *.gif: no image matches; name files, a folder or another pattern"),
        (["x.png"], "images: x.png: is neither a file nor a folder"),
        (["photos", "--csv", "no/x.csv"], "csv: 'no/x.csv': its folder does not exist"),
        (["photos", "--out", "maps"], "out: maps: is for maps of a segmentation run"),
    ],
)
def test_wrong_words_of_predict_are_one_line(finished, photos, more, message, monkeypatch, capsys):
    monkeypatch.chdir(photos.parent)
    assert main(["predict", str(finished), *more]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert message in err
    assert [path.name for path in photos.parent.iterdir()] == ["photos"]


@pytest.mark.parametrize(
    ("verb", "words"),
    [
        ("predict", ["RUN", "photos"]),
        ("analyse", ["population", "RUN"]),
        ("analyse", ["counts"]),
        ("bench", ["coverage"]),
        ("bench", ["step", "--meta"]),
        ("bench", ["loader", "photos"]),
        ("check-data", ["photos"]),
        ("study", ["arms", "--dry-run"]),
        ("study", ["--write"]),
    ],
)
def test_verbs_that_work_in_one_process_refuse_several(verb, words, finished, photos, monkeypatch, capsys):
    monkeypatch.chdir(photos.parent)
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main([verb, *(str(finished) if word == "RUN" else word for word in words)]) == 2
    assert capsys.readouterr() == ("", f"cosub: {verb}: runs in one process; leave torchrun out\n")
    assert [path.name for path in photos.parent.iterdir()] == ["photos"]


# --- scenes


@pytest.fixture
def segmenter(scenes, tmp_path, capsys):
    assert main(words(scenes, tmp_path / "run")) == 0
    capsys.readouterr()
    return tmp_path / "run"


def test_scenes_have_maps_overlays_and_a_table_of_classes(segmenter, scenes, tmp_path, capsys):
    (tmp_path / "mine").mkdir()
    shutil.copy(scenes / "images/validation/0.png", tmp_path / "mine" / "0.png")
    (tmp_path / "mine" / "broken.png").write_bytes(b"x")
    names = [str(scenes / "images" / "validation"), str(tmp_path / "mine")]
    target = tmp_path / "found.csv"
    assert main(["predict", str(segmenter), *names, "--csv", str(target), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    folder = tmp_path / "run-maps"
    expected = [f"{name}{end}.png" for name in ("0", "0-2", "1", "2", "3") for end in ("", "-overlay")]
    assert sorted(path.name for path in folder.iterdir()) == sorted([*expected, "legend.png"])
    assert len(found["bad_images"]) == 1
    assert len(found["predictions"]) == 5
    for item in found["predictions"]:
        with Image.open(item["map"]) as values, Image.open(item["overlay"]) as overlay:
            assert (values.mode, values.size, overlay.size) == ("P", (40, 30), (40, 30))
            counts = np.bincount(np.asarray(values).ravel(), minlength=4)
        assert counts[0] == 0
        shares = {one["class"]: (one["pixels"], one["share"]) for one in item["classes"]}
        assert shares == {
            name: (count, count / 1200)
            for name, count in zip(("red", "green", "blue"), counts[1:].tolist(), strict=True)
            if count
        }
    lines = list(csv.DictReader(target.read_text().splitlines()))
    assert list(lines[0]) == ["image", "class", "share", "pixels"]
    assert sum(int(line["pixels"]) for line in lines) == 5 * 1200
    assert main(["predict", str(segmenter), names[0]]) == 2
    assert f"out: {folder}: exists and is not an empty folder" in capsys.readouterr().err
    assert main(["predict", str(segmenter), names[0], "--out", str(tmp_path / "b"), "--keep", "0.5", "--top", "1"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert len(out) == 4
    assert out[0].endswith(f"({tmp_path / 'b' / '0.png'})")


def test_the_maps_are_those_that_evaluation_scores(segmenter, scenes, tmp_path, capsys):
    assert main(["predict", str(segmenter), str(scenes / "images/validation"), "--out", str(tmp_path / "maps")]) == 0
    right = total = 0
    for path in sorted((scenes / "annotations/validation").iterdir()):
        with Image.open(path) as truth, Image.open(tmp_path / "maps" / path.name) as prediction:
            labels, values = np.asarray(truth), np.asarray(prediction)
        right += int((labels == values)[labels > 0].sum())
        total += int((labels > 0).sum())
    capsys.readouterr()
    assert main(["evaluate", str(segmenter), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["accuracy"] == pytest.approx(right / total, abs=1e-6)


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--crop-ratio", "0.5", "crop_ratio: is"),
        ("--workers", "2", "workers: 2: is"),
        ("--batch-size", "9", "batch_size: 9: is"),
    ],
)
def test_options_of_classification_are_refused_for_scenes(segmenter, scenes, option, value, message, capsys):
    assert main(["predict", str(segmenter), str(scenes / "images/validation"), option, value]) == 2
    assert f"{message} for classification" in capsys.readouterr().err


def test_the_maps_of_scenes_show_their_progress(segmenter, scenes, monkeypatch, capsys):
    monkeypatch.setattr("cosub.runs.progress._SECONDS_BETWEEN_LINES", 0.0)
    assert main(["predict", str(segmenter), str(scenes / "images/validation")]) == 0
    assert [line.split("  ")[0] for line in capsys.readouterr().err.splitlines()] == [
        f"predict {share}%" for share in (25, 50, 75, 100)
    ]


def test_a_report_on_scenes_is_by_class_and_names_the_worst(segmenter, scenes, tmp_path, capsys):
    assert main(["evaluate", str(segmenter), "--report", str(tmp_path / "report"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    folder = tmp_path / "report"
    assert sorted(path.name for path in folder.iterdir()) == [
        "classes.csv", "confusion.csv", "confusion.png", "report.json", "report.md", "scenes.csv", "worst.png",
    ]  # fmt: skip
    numbers = found["report"]
    assert {key: numbers[key] for key in ("miou", "iou", "accuracy")} == {
        key: found[key] for key in ("miou", "iou", "accuracy")
    }
    assert {row["name"]: row["iou"] for row in numbers["classes"]} == pytest.approx(found["iou"], abs=1e-6)
    lines = list(csv.DictReader((folder / "scenes.csv").read_text().splitlines()))
    values = [float(line["pixel accuracy"]) for line in lines]
    assert len(values) == 4
    assert values == sorted(values)
    assert main(["evaluate", str(segmenter), "--report", str(folder)]) == 2
    assert "is not an empty folder" in capsys.readouterr().err
