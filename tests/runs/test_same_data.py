"""A run and its data: others are refused whether it is finished or not; the same may move, or be gone."""

import dataclasses
import json
import shutil

import pytest
from photographs import photographs, recipe, write
from pictures import parquet, shard
from tiny import run

from cosub.cli import main
from cosub.errors import InputError
from cosub.recipes.data import Hub, Shards


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    root = tmp_path_factory.mktemp("finished")
    run(recipe(write(root / "data", photographs()), root / "run"))
    return root


@pytest.fixture
def there(finished, tmp_path):
    shutil.copytree(finished, tmp_path / "copy")
    return tmp_path / "copy"


def test_the_summary_names_the_data(finished):
    data = json.loads((finished / "run" / "summary.json").read_text())["data"]
    assert len(data.pop("fingerprint")) == 64
    images = {"train": 12, "test": 4}
    assert data == {"source": "folder", "path": str(finished / "data"), "classes": 2, "images": images}


def test_data_that_moved_are_the_same(there):
    (there / "data").rename(there / "moved")
    assert run(recipe(there / "moved", there / "run"))["state"] == "done"


def renamed(data):
    (data / "train" / "a").rename(data / "train" / "aa")
    (data / "val" / "a").rename(data / "val" / "aa")


@pytest.mark.parametrize(
    "change",
    [
        renamed,
        lambda data: (data / "train" / "a" / "00.png").rename(data / "train" / "a" / "000.png"),
        lambda data: (data / "val" / "b" / "07.png").write_bytes(b"another size"),
        lambda data: (data / "train" / "b" / "01.png").unlink(),
    ],
    ids=["class", "name", "size", "number"],
)
@pytest.mark.parametrize("state", ["done", "stopped"])
def test_other_data_are_refused(there, change, state):
    summary = there / "run" / "summary.json"
    summary.write_text(json.dumps({**json.loads(summary.read_text()), "state": state}))
    change(there / "data")
    with pytest.raises(InputError, match=r"data.path: .* other images or classes than are there now"):
        run(recipe(there / "data", there / "run"))


def test_data_that_are_gone_are_a_warning(there, capsys):
    words = ["train", str(there / "run" / "recipe.json"), "--out", str(there / "run"), "--data.path"]
    assert main([*words, "/nowhere"]) == 0
    said = capsys.readouterr()
    assert "/nowhere: there are no data now" in said.err + said.out
    assert "finished already" in said.err + said.out


def hub(data, seed: int):
    data.mkdir()
    for name, number in (("train", 12), ("test", 4)):
        labels = [(index + seed) % 2 for index in range(number)]
        parquet(data / f"{name}-00000-of-00001.parquet", labels)
    return Hub(path=str(data))


def shards(data, seed: int):
    data.mkdir()
    for name, number in (("train", 12), ("validation", 4)):
        shard(data / f"{name}-0.tar", range(seed, seed + number), labels=2)
    (data / "sizes.json").write_text('{"train-0.tar": 12, "validation-0.tar": 4}')
    return Shards(path=str(data))


@pytest.mark.parametrize("make", [hub, shards])
def test_images_without_files_of_their_own_are_known_by_those_that_hold_them(make, tmp_path):
    def again(data):
        made = recipe("", tmp_path / "run")
        return run(dataclasses.replace(made, data=data, epochs=1))["state"]

    data = make(tmp_path / "data", 0)
    assert again(data) == "done"
    (tmp_path / "data").rename(tmp_path / "moved")
    moved = dataclasses.replace(data, path=str(tmp_path / "moved"))
    assert again(moved) == "done"
    for junk in (tmp_path / "moved" / f"._{path.name}" for path in list((tmp_path / "moved").iterdir())):
        junk.write_bytes(b"x")
    assert again(moved) == "done"
    with pytest.raises(InputError, match="other images or classes than are there now"):
        again(make(tmp_path / "labels", 1))
    (path,) = (tmp_path / "moved").glob("train*")
    path.rename(path.with_name(path.name.replace("train-0", "train-1")))
    for listed in (tmp_path / "moved").glob("sizes.json"):
        listed.write_text(listed.read_text().replace("train-0", "train-1"))
    with pytest.raises(InputError, match="other images or classes than are there now"):
        again(moved)


def test_a_run_from_before_is_compared_by_its_labels(there):
    summary = there / "run" / "summary.json"
    values = json.loads(summary.read_text())
    del values["data"]
    summary.write_text(json.dumps(values))
    assert run(recipe(there / "data", there / "run"))["state"] == "done"
    (there / "data" / "train" / "b" / "01.png").unlink()
    with pytest.raises(InputError, match=r"other images or classes"):
        run(recipe(there / "data", there / "run"))
