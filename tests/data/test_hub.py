"""Which splits of Parquet files are trained on and evaluated on, and which are refused."""

import dataclasses
import json
import re
from collections import Counter
from pathlib import Path

import pytest
from pictures import parquet

from cosub.data.overview import overview
from cosub.data.sources import Source, fingerprint, open_source, with_validation
from cosub.errors import InputError
from cosub.recipes import get
from cosub.recipes.data import Folder, Hub
from cosub.recipes.files import as_begun, dump, identity, parse


def make(root: Path, **splits: list[int]) -> Path:
    for name, labels in splits.items():
        parquet(root / f"{name}-00000-of-00001.parquet", labels)
    return root


def names(source: Source) -> list[set[str]]:
    return [{part.name(index) for index in range(len(part.labels))} for part in (source.train, source.test)]


def test_a_split_is_not_trained_and_tested_on(tmp_path):
    make(tmp_path, train=[0, 1] * 6)
    with pytest.raises(InputError, match=r"^data\.test_split: train: is the split to train on, too; .* or leave it o"):
        open_source(Hub(path=str(tmp_path), test_split="train"))
    assert len(open_source(Hub(path=str(tmp_path))).test.labels) == 2  # the remedy


def test_a_share_of_the_only_split_is_held_out_as_of_a_folder(tmp_path):
    make(tmp_path, train=[0, 1] * 30)
    source = open_source(Hub(path=str(tmp_path)))
    assert source.test is source.validation
    train, test = names(source)
    assert not train & test
    assert (len(train), len(test)) == (54, 6)
    assert Counter(source.test.labels) == {0: 3, 1: 3}
    assert source.test.labels[0] == int(source.test.name(0).removeprefix("train[").partition("]")[0]) % 2
    assert overview(source) == {
        "train": f"54 images in {tmp_path}",
        "validation": "6 images held out of train",
        "classes": "a, b",
    }
    assert names(open_source(Hub(path=str(tmp_path)))) == [train, test]


def test_the_share_is_the_same_images_as_of_a_folder_in_the_same_order(tmp_path):
    make(tmp_path, train=[0] * 30 + [1] * 30)
    for name in ("a", "b"):
        (tmp_path / "folder" / name).mkdir(parents=True)
        for index in range(30):
            (tmp_path / "folder" / name / f"{index:02d}.png").write_bytes(b"x")
    folder = open_source(Folder(path=str(tmp_path / "folder")))
    hub = open_source(Hub(path=str(tmp_path)))
    assert fingerprint(folder) == fingerprint(hub)
    held = {30 * (path.parts[-2] == "b") + int(path.stem) for path in map(Path, names(folder)[1])}
    assert {int(name.removeprefix("train[").partition("]")[0]) for name in names(hub)[1]} == held


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 1, 2, 0, 1], "the train set has label 2, and there are classes 0 to 1"),
        ([0, -1, 1, 0, 1], "the train set has label -1"),
        ([0, 1], r"class a has one image \(train\[0\] 0\.png\), and one can be held out only of a class that has two"),
    ],
)
def test_what_cannot_be_held_out_is_refused(tmp_path, labels, message):
    make(tmp_path, train=labels)
    with pytest.raises(InputError, match=message):
        open_source(Hub(path=str(tmp_path)))


def test_another_name_than_the_only_splits_is_refused(tmp_path):
    make(tmp_path, train=[0, 1] * 6)
    with pytest.raises(InputError, match="has no split 'eval' but train; name them with"):
        open_source(Hub(path=str(tmp_path), test_split="eval"))


def test_a_test_split_without_labels_is_refused_and_the_remedy_is_taken(tmp_path):
    make(tmp_path, train=[0, 1] * 6, extra=[0, 1], test=[-1] * 4, validation=[0, 1])
    with pytest.raises(InputError) as refused:
        open_source(Hub(path=str(tmp_path)))
    message = str(refused.value)
    assert message == (
        "data.test_split: test: its images have no labels (all are -1 or empty); name another with --data.test-split "
        "validation"
    )
    named = re.findall(r"--data\.test-split (\w+)", message)[0]
    source = open_source(Hub(path=str(tmp_path), test_split=named))
    assert (len(source.train.labels), list(source.test.labels)) == (12, [0, 1])


def test_images_without_labels_are_passed_over_where_no_other_split_has_them(tmp_path):
    make(tmp_path, train=[0, 1] * 6, test=[-1] * 4)
    source = open_source(Hub(path=str(tmp_path)))
    assert (len(source.train.labels), len(source.test.labels)) == (10, 2)
    assert overview(source)["not read"] == "1 split without labels (test)"


def test_validation_is_for_validation_and_splits_that_are_not_used_are_named(tmp_path):
    make(tmp_path, train=[0, 1] * 6, test=[0, 1], validation=[1, 0, 1], extra=[-1, -1])
    source = open_source(Hub(path=str(tmp_path)))
    assert source.validation is not None
    assert list(source.validation.labels) == [1, 0, 1]
    assert with_validation(source) is source
    assert (len(source.train.labels), list(source.test.labels)) == (12, [0, 1])
    assert overview(source)["not read"] == "1 split not named to train or test on (extra)"


@pytest.mark.parametrize(
    ("labels", "found"), [([-1, -1], None), ([0, -1], "the validation set has label -1"), ([0, 1], [0, 1])]
)
def test_validation_images_need_labels(tmp_path, labels, found):
    make(tmp_path, train=[0, 1] * 6, test=[0, 1], val=labels)
    if isinstance(found, str):
        with pytest.raises(InputError, match=found):
            open_source(Hub(path=str(tmp_path)))
    else:
        validation = open_source(Hub(path=str(tmp_path))).validation
        assert found == (None if validation is None else list(validation.labels))


def test_a_run_from_before_reads_the_splits_as_before(tmp_path):
    """Its recipe.json has no word on it, and what it is, and so the line of a study, stays as it was."""
    make(tmp_path, train=[0, 1] * 6, test=[0, 1], validation=[0, 1])
    recipe = dataclasses.replace(get("cifar10"), data=Hub(path=str(tmp_path)))
    values = json.loads(dump(recipe))
    del values["format"], values["data"]["splits"]
    before = parse(values, "here")
    source = open_source(before.data)
    assert source.validation is None
    assert len(with_validation(source).train.labels) == 10
    assert as_begun(recipe, before).data == before.data
    assert identity(before) == identity(recipe)
