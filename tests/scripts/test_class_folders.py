"""The script that writes class folders from Parquet files."""

import io
import sys
from pathlib import Path

import pytest
from PIL import Image

from cosub.data.sources import open_source
from cosub.errors import InputError
from cosub.recipes.data import Folder, Hub

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))

from class_folders import write


@pytest.fixture
def parquets(tmp_path):
    """Four classes of six images to train and two to test; a grey level for each."""
    import datasets

    def jpeg(level):
        buffer = io.BytesIO()
        Image.new("RGB", (8, 8), (level, level, level)).save(buffer, "JPEG")
        return {"bytes": buffer.getvalue(), "path": f"{level}.jpg"}

    features = datasets.Features({"img": datasets.Image(), "label": datasets.ClassLabel(4)})
    folder = tmp_path / "parquets"
    folder.mkdir()
    for split, number, start in (("train", 24, 0), ("test", 8, 100)):
        rows = [{"img": jpeg(start + place), "label": place % 4} for place in range(number)]
        datasets.Dataset.from_list(rows, features=features).to_parquet(folder / f"{split}-00000-of-00001.parquet")
    return Hub(path=str(folder))


def levels(examples):
    return [examples.image(index).getpixel((0, 0))[0] for index in range(len(examples.labels))]


def test_first_images_train_last_ones_validate_and_the_other_split_tests(parquets, tmp_path):
    write(parquets, tmp_path / "out", classes=2, train=3, val=2)
    source = open_source(Folder(path=str(tmp_path / "out")))
    assert source.classes == ("0000", "0002")
    assert levels(source.train) == [0, 4, 8, 2, 6, 10]
    assert levels(source.validation) == [16, 20, 18, 22]
    assert levels(source.test) == [100, 104, 102, 106]


def test_nothing_is_overwritten_and_images_are_not_shared(parquets, tmp_path):
    with pytest.raises(InputError, match="train, val: 4 and 3: are more"):
        write(parquets, tmp_path / "out", classes=2, train=4, val=3)
    assert not (tmp_path / "out").exists()
    (tmp_path / "out").mkdir()
    with pytest.raises(InputError, match="is there"):
        write(parquets, tmp_path / "out", classes=2, train=3, val=2)
