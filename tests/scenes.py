"""Scenes of plain bands, and a small run on them."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

TINY = {"patch_size": 8, "embed_dim": 24, "depth": 4, "num_heads": 3, "init_values": 0.1}


@pytest.fixture
def scenes(tmp_path: Path) -> Path:
    """Twelve scenes of two bands each, 40x30 pixels, 0 in a corner; four to test."""
    root = tmp_path / "scenes"
    for part, number in (("training", 12), ("validation", 4)):
        for kind in ("images", "annotations"):
            (root / kind / part).mkdir(parents=True)
        for index in range(number):
            values = np.full((30, 40), 1 + index % 3, np.uint8)
            values[10 + index :] = 2 + index % 2
            values[:3, :3] = 0
            colours = np.array([[0, 0, 0], [250, 20, 20], [20, 250, 20], [20, 20, 250]], np.uint8)
            Image.fromarray(colours[values]).save(root / "images" / part / f"{index}.png")
            Image.fromarray(values).save(root / "annotations" / part / f"{index}.png")
    (root / "classes.txt").write_text("red\ngreen\nblue\n")
    return root


def words(scenes: Path, out: Path, *more: str) -> list[str]:
    size = ["--model", "deit3_small_patch16_224", "--model-args", *(f"{key}={value}" for key, value in TINY.items())]
    size += ["--resolution", "32", "--task.short-side", "32", "--task.width", "8", "--epochs", "2"]
    size += ["--batch-size", "4", "--group-size", "4", "--drop-rate", "0.25", "--device", "cpu"]
    return ["train", "camvid", "--data.path", str(scenes), "--out", str(out), *size, *more]
