"""Folders of images as people have them: each row of the table of layouts, and any tree against a plain reading."""

import dataclasses
import json
import os
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from layouts import (
    CLASSES,
    fill,
    flat_with_runs,
    run_folder,
    sizes,
    split,
    with_extensions,
    with_junk,
    with_links,
    words,
)
from matplotlib.figure import Figure
from PIL import Image
from tiny import before_steps, run, tiny, weights

from cosub.cli import main
from cosub.data.decoding import readable
from cosub.data.overview import overview
from cosub.data.sources import Source, all_images, open_source, with_validation
from cosub.errors import InputError
from cosub.evaluation.sets import open_set
from cosub.recipes import get
from cosub.recipes.data import Folder
from cosub.recipes.files import dump, parse


def read(root: Path) -> Source:
    return open_source(Folder(path=str(root)))


def skipped(source: Source) -> dict[str, int]:
    return {item.why: item.number for item in source.left_out}


# --- what is read


LAYOUTS: dict[str, tuple[Callable[[Path], None], tuple[int, ...]]] = {
    "Training, Testing": (words("Training", "Testing"), (36, 15, 15)),
    "Train, Val": (words("Train", "Val"), (36, 15, 15)),
    "seg_train, seg_test": (words("seg_train", "seg_test"), (36, 15, 15)),
    "train, valid, test": (words("train", "valid", "test"), (36, 15, 12)),
    "junk": (with_junk, (36, 15, 15)),
    "links": (with_links, (36, 15, 15)),
    "extensions": (with_extensions, (36, 15, 15)),
    "runs inside": (flat_with_runs, (36, 4, 4)),
    "Tiny ImageNet": (lambda root: split(root / "train", 12, "images") or split(root / "val", 5), (36, 15, 15)),
    "TRAINING, dev": (words("TRAINING", "dev"), (36, 15, 15)),
    "train, eval": (words("train", "eval"), (36, 15, 15)),
    "train, val, eval": (words("train", "val", "eval"), (36, 15, 12)),
    "train, eval, test": (words("train", "eval", "test"), (36, 15, 12)),
    "training_set, test_set": (words("training_set", "test_set"), (36, 15, 15)),
    "train2017, val2017": (words("train2017", "val2017"), (36, 15, 15)),
    "twice the name": (words("seg_train/seg_train", "seg_test/seg_test"), (36, 15, 15)),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_layouts_that_people_have_are_read(name, tmp_path):
    make, wanted = LAYOUTS[name]
    make(tmp_path / "data")
    source = read(tmp_path / "data")
    assert source.classes == CLASSES
    assert sizes(source) == wanted
    if "runs" not in name:
        assert Counter(source.train.labels) == {0: 12, 1: 12, 2: 12}
    assert all(source.train.image(index).size for index in range(36))


def test_the_right_folder_chooses_and_the_other_is_for_the_end(tmp_path):
    words("train", "valid", "test")(tmp_path)
    fill(tmp_path / "masks" / "cat", 3)
    source = read(tmp_path)
    assert source.validation_or_test.name(0) == str(tmp_path / "valid" / "cat" / "0.png")
    assert source.test.name(0) == str(tmp_path / "test" / "cat" / "0.png")
    assert with_validation(source) is source
    assert overview(source) == {
        "train": f"36 images in {tmp_path}/train",
        "validation": f"15 images in {tmp_path}/valid",
        "test": f"12 images in {tmp_path}/test",
        "classes": "cat, dog, eel",
        "not read": f"1 folder beside the splits ({tmp_path}/masks)",
    }


def test_where_validation_images_come_from_is_reported(tmp_path):
    words("train", "test")(tmp_path)
    assert overview(with_validation(read(tmp_path)))["validation"] == "3 images held out of train"
    flat = overview(read(tmp_path / "train"))
    assert flat["train"] == f"32 images in {tmp_path}/train"
    assert flat["validation"] == f"4 images held out of {tmp_path}/train"


def test_what_is_left_out_is_counted_with_its_reason(tmp_path):
    with_junk(tmp_path / "junk")
    assert skipped(read(tmp_path / "junk")) == {"hidden, or of the system": 14}
    with_extensions(tmp_path / "extensions")
    found = read(tmp_path / "extensions").left_out
    assert {(item.why, item.number) for item in found} == {
        ("extension .gif", 2),
        ("extension .txt", 1),
        ("extension missing", 1),
    }
    assert min(item.first for item in found) == str(tmp_path / "extensions" / "train" / "cat" / "a.gif")
    with_links(tmp_path / "links")
    assert skipped(read(tmp_path / "links")) == {"link to a folder that contains it": 1}
    flat_with_runs(tmp_path / "flat")
    assert skipped(read(tmp_path / "flat")) == {
        "folder of a run or of an export": 4,
        "folder that holds runs": 1,
        "image outside the class folders": 1,
    }


@pytest.mark.parametrize("place", ["test", "test/images"])
def test_test_images_without_classes_are_named_and_not_read(tmp_path, place):
    """As Kaggle gives them."""
    split(tmp_path / "train", 12)
    fill(tmp_path / place, 5)
    source = read(tmp_path)
    assert sizes(source) == (32, 4, 4)
    assert skipped(source) == {"image of test without a class folder": 5}


@pytest.mark.parametrize("place", ["val", "Validation", "valid/images"])
def test_validation_images_without_classes_are_refused_until_a_remedy_is_followed(tmp_path, place):
    """As the tar of ImageNet unpacks, and Tiny ImageNet without its list. The accuracy would be that of others."""
    split(tmp_path / "train", 12)
    fill(tmp_path / place, 6)
    top = tmp_path / place.split("/")[0]
    with pytest.raises(InputError) as refused:
        read(tmp_path)
    assert str(refused.value) == (
        f"data.path: {top}: holds 6 images and no class folders, so their classes are unknown; sort them into "
        f"{top}/CLASS, as in {tmp_path}/train, or move {top.name} out of the data"
    )
    top.rename(tmp_path / "away")
    assert sizes(read(tmp_path)) == (32, 4, 4)
    split(top, 2)
    assert sizes(read(tmp_path)) == (36, 6, 6)


def test_an_earlier_recipe_passes_over_validation_images_without_classes(tmp_path):
    split(tmp_path / "train", 12)
    fill(tmp_path / "val", 6)
    source = open_source(Folder(path=str(tmp_path), reading=2))
    assert sizes(source) == (32, 4, 4)
    assert skipped(source) == {"image of val without a class folder": 6}


def test_a_class_of_one_image_is_trained_on_and_not_validated(tmp_path):
    split(tmp_path, 12)
    fill(tmp_path / "fox" / "a" / "b", 1)
    fill(tmp_path / "gnu", 1)
    source = read(tmp_path)
    assert source.classes == (*CLASSES, "fox", "gnu")
    assert Counter(source.train.labels)[3] == Counter(source.train.labels)[4] == 1
    assert set(source.validation_or_test.labels) == {0, 1, 2}
    assert overview(source)["validation"] == (
        f"4 images held out of {tmp_path}, none of them of 2 classes with few images (fox, ...)"
    )


def test_the_other_classes_are_divided_as_without_it(tmp_path):
    split(tmp_path, 12)
    before = read(tmp_path)
    fill(tmp_path / "fox", 1)
    after = read(tmp_path)
    held = [[part.name(index) for index in range(len(part.labels))] for part in (before.test, after.test)]
    assert held[0] == held[1]
    # As ever: runs that exist are known by it.
    assert [os.path.relpath(path, tmp_path) for path in held[0]] == ["cat/0.png", "cat/3.png", "dog/6.png", "eel/6.png"]


def test_tiny_imagenet_as_published(tmp_path):
    """Its validation images lie in one folder; a list says their classes. Its test images have none."""
    split(tmp_path / "train", 12, "images")
    fill(tmp_path / "val" / "images", 6)
    fill(tmp_path / "test" / "images", 4)
    lines = [f"{index}.png\t{CLASSES[index % 3]}\t0\t0\t8\t8" for index in range(6)]
    (tmp_path / "val" / "val_annotations.txt").write_text("\n".join(lines) + "\n")
    source = read(tmp_path)
    assert sizes(source) == (36, 6, 6)
    assert list(source.validation_or_test.labels) == [0, 1, 2, 0, 1, 2]
    assert skipped(source)["image of test without a class folder"] == 4
    (tmp_path / "val" / "val_annotations.txt").write_text("\n".join(lines[:-1]) + "\n")
    with pytest.raises(InputError, match=r"val_annotations\.txt: has 'no class' for 5\.png"):
        read(tmp_path)


def test_a_class_that_is_only_in_val_is_refused(tmp_path):
    split(tmp_path / "train", 4)
    fill(tmp_path / "val" / "fox", 4)
    with pytest.raises(InputError, match=r"val: has classes that .*train lacks: fox"):
        read(tmp_path)


def test_heic_is_read_where_pillow_heif_is_there(tmp_path, monkeypatch):
    class Plugin:
        @staticmethod
        def register_heif_opener() -> None:
            monkeypatch.setitem(Image.EXTENSION, ".heic", "HEIF")

    words("train", "val")(tmp_path)
    fill(tmp_path / "train" / "fox", 0)
    (tmp_path / "train" / "fox" / "a.heic").write_bytes(b"x")
    with pytest.raises(
        InputError, match=r"fox: has no images .* but 1 extension \.heic \(pip install pillow-heif reads it\)"
    ):
        read(tmp_path)
    readable.cache_clear()
    monkeypatch.setitem(sys.modules, "pillow_heif", Plugin)
    assert len(read(tmp_path).train.labels) == 37
    readable.cache_clear()


def test_pipes_are_not_opened(tmp_path):
    words("train", "val")(tmp_path)
    os.mkfifo(tmp_path / "train" / "cat" / "pipe.png")
    source = read(tmp_path)
    assert (sizes(source)[0], skipped(source)) == (36, {"neither file nor folder": 1})


def test_a_recipe_of_food_is_no_run(tmp_path):
    words("train", "val")(tmp_path)
    (tmp_path / "train" / "cat" / "recipe.json").write_text('{"format": "soup"}')
    assert sizes(read(tmp_path)) == (36, 15, 15)


def test_classes_that_are_called_like_a_split_with_an_addition(tmp_path):
    for name in ("bullet_train", "bus", "car"):
        fill(tmp_path / name, 4)
    assert read(tmp_path).classes == ("bullet_train", "bus", "car")


# --- what is refused


def alike(root: Path) -> None:
    words("left", "right")(root)


def masks(root: Path) -> None:
    for name in CLASSES:
        fill(root / name / "images", 4)
        fill(root / name / "masks", 4)


def named_train(root: Path) -> None:
    for name in ("bus", "car", "train"):
        fill(root / name, 4)


def deep(root: Path) -> None:
    fill(root / "cat" / "a" / "b", 1)
    fill(root / "dog", 4)


def class_with_run(root: Path) -> None:
    split(root, 4)
    run_folder(root / "cat" / "out")


def class_of_plots(root: Path) -> None:
    split(root, 4)
    (root / "plots").mkdir()
    Figure().savefig(root / "plots" / "curves.png")


REFUSED: dict[str, tuple[Callable[[Path], None], str]] = {
    "alike": (
        alike,
        "its folders left, right all hold cat, dog, eel: if those are the classes, name the folders train",
    ),
    "masks": (masks, "its folders cat, dog, eel all hold images, masks"),
    "one too high": (words("set/train", "set/val"), r"holds only set, which holds train, val: give --data"),
    "a class named train": (
        named_train,
        r"/train: holds images .* and train is the name of a split: if it is a class, r",
    ),
    "only test": (words("test"), "has a folder test and none to train on; rename it to train, or give --data"),
    "only Val beside classes": (lambda root: split(root, 3) or split(root / "Val", 3), "has a folder Val and none to"),
    "two of one split": (words("train", "val", "valid"), "val and valid are both for validation"),
    "two of one word": (words("Train", "train"), "Train and train are both for train"),
    "one image, deep down": (deep, r"class cat has one image \(.*cat/a/b/0\.png\), and one can be held out only of a"),
    "a class with a run": (class_with_run, r"/cat: holds a run \(.*cat/out\) and other images \(.*0\.png\)"),
    "a class of plots": (class_of_plots, r"/plots: begins with a plot \(curves\.png\), so it is ambiguous"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_ambiguous_is_refused_with_a_remedy(name, tmp_path):
    make, message = REFUSED[name]
    make(tmp_path)
    with pytest.raises(InputError, match=message):
        read(tmp_path)


def test_splits_twice_are_refused(tmp_path):
    for name in ("a_train", "a_test", "b_train", "b_test"):
        split(tmp_path / name, 2)
    with pytest.raises(InputError, match=r"has splits twice \(a_test, a_train; b_test, b_train\)"):
        read(tmp_path)


def test_a_class_of_subfolders_that_others_lack_is_one(tmp_path):
    words("train", "val")(tmp_path)
    fill(tmp_path / "train" / "cat" / "day", 2)
    fill(tmp_path / "train" / "cat" / "night", 2)
    fill(tmp_path / "val" / "cat" / "day", 2)
    fill(tmp_path / "val" / "cat" / "night", 2)
    assert sizes(read(tmp_path)) == (40, 19, 19)


# --- other ways to the same folders


def test_all_images_of_a_flat_folder_are_those_that_training_reads(tmp_path):
    flat_with_runs(tmp_path)
    every = all_images(Folder(path=str(tmp_path)), CLASSES)
    assert every is not None
    assert Counter(every.labels) == {0: 13, 1: 13, 2: 14}
    words("Training", "Testing")(tmp_path / "splits")
    assert all_images(Folder(path=str(tmp_path / "splits")), CLASSES) is None


def test_sets_to_evaluate_are_read_by_the_same_rules(tmp_path):
    words("Training", "Testing")(tmp_path)
    fill(tmp_path / "Testing" / "cat" / ".ipynb_checkpoints", 2)
    assert len(open_set("val", str(tmp_path), CLASSES).examples.labels) == 15


# --- runs that exist


def stop() -> None:
    raise KeyboardInterrupt


def test_a_recipe_from_before_reads_as_before(tmp_path):
    """The classes of Training and Testing were those two; a run that was begun so goes on so."""
    words("Training", "Testing")(tmp_path)
    before = open_source(Folder(path=str(tmp_path), reading=1))
    assert before.classes == ("Testing", "Training")
    assert sizes(before) == (46, 5, 5)


def test_a_run_from_before_is_continued_to_the_bit(tmp_path):
    """Its recipe.json has no word on how folders are read; the same command goes on by the old rules."""
    words("train", "val")(tmp_path / "data")
    fill(tmp_path / "data" / "train" / "cat" / ".ipynb_checkpoints", 4)
    settings = {"batch_size": 16, "group_size": 16, "epochs": 3, "checkpoint_every": 1}
    before = Folder(path=str(tmp_path / "data"), reading=1)
    run(tiny(tmp_path / "whole", data=before, **settings))
    with before_steps(lambda trainer: trainer.state.step == 3 and stop()), pytest.raises(KeyboardInterrupt):
        run(tiny(tmp_path / "run", data=before, **settings))
    values = json.loads((tmp_path / "run" / "recipe.json").read_text())
    del values["data"]["reading"]
    (tmp_path / "run" / "recipe.json").write_text(json.dumps(values))
    run(tiny(tmp_path / "run", data=Folder(path=str(tmp_path / "data")), **settings))
    ours, theirs = weights(tmp_path / "run"), weights(tmp_path / "whole")
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())


def test_a_new_runs_recipe_says_how_folders_are_read():
    values = json.loads(dump(dataclasses.replace(get("finetune"), weights="x")))
    assert values.pop("format") == 1
    assert values["data"]["reading"] == 3
    assert parse(values, "here").data.reading == 3  # pyright: ignore[reportAttributeAccessIssue]
    del values["data"]["reading"]
    assert parse(values, "here").data.reading == 1  # pyright: ignore[reportAttributeAccessIssue]


# --- check-data


def check(capsys, *arguments: object) -> dict:
    assert main(["check-data", *map(str, arguments), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_check_data_reports_places_classes_and_what_was_skipped(tmp_path, capsys):
    words("Train", "valid", "test")(tmp_path)
    fill(tmp_path / "Train" / "cat" / ".ipynb_checkpoints", 1)
    fill(tmp_path / "Train" / "eel" / "more", 6)
    (tmp_path / "Train" / "cat" / "x.gif").write_bytes(b"x")
    found = check(capsys, tmp_path, "--workers", 1)
    assert found["splits"] == {
        "train": f"in {tmp_path}/Train",
        "validation": f"in {tmp_path}/valid",
        "test": f"in {tmp_path}/test",
    }
    assert found["classes"]["train"] == {"cat": 12, "dog": 12, "eel": 18}
    assert found["classes"]["test"] == {"cat": 4, "dog": 4, "eel": 4}
    assert [(item["why"], item["number"]) for item in found["skipped"]] == [
        ("extension .gif", 1),
        ("hidden, or of the system", 1),
    ]
    main(["check-data", str(tmp_path), "--workers", "1"])
    out, err = capsys.readouterr()
    assert f"skipped   1 extension .gif: {tmp_path}/Train/cat/x.gif\n" in out
    assert "train: cat 12, dog 12, eel 18\n" in err
    assert err.endswith("42 train, 15 validation, 12 test: 0 damaged, 0 odd, 27 duplicate, 2 skipped\n")
