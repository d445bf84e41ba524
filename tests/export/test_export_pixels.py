"""An exported network's card opens images as the run did, without cosub."""

import json
import re

import numpy as np
import pytest
from photographs import oddly_tagged, photographs, recipe, turned, write
from PIL import Image
from tiny import run

from cosub.cli import main
from cosub.data.pixels import Rule, decoded, reading
from cosub.export.opening import with_opening
from cosub.recipes.data import Digits, Folder


@pytest.fixture
def odd(tmp_path):
    """Images that Pillow alone would open otherwise."""
    Image.fromarray(photographs()[0].astype(np.uint16) * 257).save(tmp_path / "deep.png")
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 8, 4)).astype(np.uint8)).save(tmp_path / "rgba.png")
    Image.fromarray(np.arange(900).reshape(300, 3).astype(np.uint8)).save(tmp_path / "long.png")
    for orientation in range(2, 9):
        turned(tmp_path / f"turned{orientation}.jpg", orientation)
    turned(tmp_path / "turned.tif")
    oddly_tagged(tmp_path / "tagged.jpg", "unit")
    return sorted(path for path in tmp_path.iterdir() if path.suffix in (".png", ".jpg", ".tif"))


@pytest.mark.parametrize("rule", [Rule(), Rule((0.0, 4095.0)), Rule(orientation=True)])
def test_the_words_open_images_as_the_run_does(odd, rule):
    words: dict = {}
    config = Folder(path="x", range=rule.range, orientation=rule.orientation)
    exec(with_opening("", config), words)
    for path in odd:
        assert (np.asarray(words["opened"](path)) == np.asarray(decoded(path, rule))).all(), path.name


def test_where_pillow_alone_does_it_the_words_stay():
    assert with_opening("words", Digits()) == with_opening("words", Folder(pixels=1)) == "words"
    assert reading(Digits()) == {}


def test_a_runs_card_and_config_say_how(tmp_path, capsys):
    data, out = write(tmp_path / "data", photographs().astype(np.uint16) * 16), tmp_path / "run"
    run(recipe(data, out, range=(0.0, 4080.0), orientation=True))
    assert main(["export", str(out), "--out", str(tmp_path / "exported"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["difference"] < 1e-5
    config = json.loads((tmp_path / "exported" / "config.json").read_text())
    assert config["image_reading"] == {"range": [0.0, 4080.0], "orientation": True, "ground": "white", "longest": 16}
    card = (tmp_path / "exported" / "README.md").read_text()
    words = re.findall(r"```python\n(.*?)```", card, re.S)[0]
    assert "4080 is white" in words
    assert "getexif" in words
    assert 'image = opened("image.png")' in words
