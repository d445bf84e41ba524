"""A run and its data: others are refused whether it is finished or not; the same may move, or be gone."""

import json
import shutil

import pytest
from test_pixels import photographs, recipe, write
from tiny import run

from cosub.cli import main
from cosub.errors import InputError


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
    with pytest.raises(InputError, match=r"data.path: .* other images or classes than lie there now"):
        run(recipe(there / "data", there / "run"))


def test_data_that_are_gone_are_said_and_that_is_all(there, capsys):
    words = ["train", str(there / "run" / "recipe.json"), "--out", str(there / "run"), "--data.path"]
    assert main([*words, "/nowhere"]) == 0
    said = capsys.readouterr()
    assert "/nowhere: the data are not there any more" in said.err + said.out
    assert "finished already" in said.err + said.out


def test_a_run_from_before_is_compared_by_its_labels(there):
    summary = there / "run" / "summary.json"
    values = json.loads(summary.read_text())
    del values["data"]
    summary.write_text(json.dumps(values))
    assert run(recipe(there / "data", there / "run"))["state"] == "done"
    (there / "data" / "train" / "b" / "01.png").unlink()
    with pytest.raises(InputError, match=r"other images or classes"):
        run(recipe(there / "data", there / "run"))
