"""`cosub predict`: patterns and folders, CSV and JSON, maps of scenes; verbs that work in one process."""

import csv
import json
import shutil

import numpy as np
import pytest
from pictures import picture
from PIL import Image
from scenes import words
from tiny import run, tiny

from cosub.cli import main


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("predicting") / "run"
    run(tiny(out))
    return out


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


def test_options_of_classification_are_refused_for_scenes(segmenter, scenes, capsys):
    assert main(["predict", str(segmenter), str(scenes / "images/validation"), "--crop-ratio", "0.5"]) == 2
    assert "crop_ratio: is for classification" in capsys.readouterr().err


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
