"""The eight layouts of folders that people have most, as `check-data` reports them: 36 training images of 3 classes."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from layouts import CLASSES, fill, flat_with_runs, with_extensions, with_junk, with_links, words
from pictures import parquet

from cosub.cli import main


def in_parquet(root: Path) -> None:
    (root / "plain_text").mkdir(parents=True)
    for name, number in (("train", 36), ("test", 15)):
        parquet(root / "plain_text" / f"{name}-00000-of-00001.parquet", [index % 3 for index in range(number)], CLASSES)


# Layout: how it is made, images of each split, and what is skipped, by its reason.
READ: dict[str, tuple[Callable[[Path], None], dict[str, int], dict[str, int]]] = {
    "Training and Testing": (words("Training", "Testing"), {"test": 15}, {}),
    "seg_train, seg_test": (words("seg_train", "seg_test"), {"test": 15}, {}),
    "Roboflow's": (words("train", "valid", "test"), {"validation": 15, "test": 12}, {}),
    "junk": (with_junk, {"test": 15}, {"hidden, or of the system": 14}),
    "links": (with_links, {"test": 15}, {"link to a folder that contains it": 1}),
    "extensions": (with_extensions, {"test": 15}, {"extension .gif": 2, "extension .txt": 1, "extension missing": 1}),
    "runs inside": (flat_with_runs, {"test": 4}, {
        "folder of a run or of an export": 4, "folder that holds runs": 1, "image outside the class folders": 1}),
    "Parquet": (in_parquet, {"test": 15}, {}),
}  # fmt: skip


def check(capsys, root: Path) -> tuple[int, dict, str]:
    status = main(["check-data", str(root), "--workers", "1", "--json"])
    out, err = capsys.readouterr()
    return status, json.loads(out or "{}"), err


def require_36(found: dict, others: dict[str, int], skipped: dict[str, int]) -> None:
    assert found["images"] == {"train": 36, **others}
    assert found["classes"]["train"].keys() == set(CLASSES)
    assert sum(found["classes"]["train"].values()) == 36
    assert {item["why"]: item["number"] for item in found["skipped"]} == skipped
    assert found["damaged"] == []


@pytest.mark.parametrize("name", READ)
def test_check_data_on_what_is_read(name, tmp_path, capsys):
    make, others, skipped = READ[name]
    root = tmp_path / "my data [1]"
    make(root)
    status, found, _ = check(capsys, root)
    assert status == 0
    require_36(found, others, skipped)


def class_named_train(root: Path) -> Callable[[], Path]:
    for name, number in zip((*CLASSES[:2], "train"), (13, 13, 14), strict=True):
        fill(root / name, number)
    return lambda: (root / "train").rename(root / CLASSES[2]).parent


def only_test(root: Path) -> Callable[[], Path]:
    for name, number in zip(CLASSES, (13, 13, 14), strict=True):
        fill(root / "test" / name, number)
    return lambda: root / "test"


def one_image_deep_down(root: Path) -> Callable[[], Path]:
    fill(root / "test" / "cat", 40)
    fill(root / "test" / "dog" / "a", 1)

    def follow() -> Path:
        shutil.rmtree(root / "test")
        only_test(root)
        return root / "test"

    return follow


REFUSED: dict[str, tuple[Callable[[Path], Callable[[], Path]], str, str]] = {
    "a class named train": (class_named_train, "", "if it is a class, rename it"),
    "only test": (only_test, "", "give --data.path {root}/test"),
    "one image deep down": (one_image_deep_down, "test", "class dog has one image ({root}/test/dog/a/0.png)"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_is_read_when_its_remedy_is_followed(name, tmp_path, capsys):
    make, where, remedy = REFUSED[name]
    follow = make(tmp_path)
    status, _, err = check(capsys, tmp_path / where)
    assert (status, err.count("\n")) == (2, 1)
    assert remedy.format(root=tmp_path) in err
    status, found, _ = check(capsys, follow())
    assert status == 0
    require_36(found, {"test": 4}, {})
