"""Folders of images as people have them."""

from collections.abc import Callable
from pathlib import Path

from pictures import picture
from PIL import features
from tiny import tiny

from cosub.data.sources import Source
from cosub.recipes.files import dump

CLASSES = ("cat", "dog", "eel")


NUMBERS = {"train": 12, "val": 5, "test": 4}


def fill(folder: Path, number: int, extension: str = ".png") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(number):
        picture(index, (8, 8)).save(folder / f"{index}{extension}")


def split(root: Path, number: int, inner: str = "") -> None:
    for name in CLASSES:
        fill(root / name / inner, number)


def run_folder(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "recipe.json").write_text(dump(tiny(folder)))
    picture(0).save(folder / "curves.png")
    picture(0).save(folder / "examples.png")


def export_folder(folder: Path) -> None:
    folder.mkdir()
    (folder / "config.json").write_text('{"architecture": "vit_tiny_patch16_224", "pretrained_cfg": {}}')
    (folder / "model.safetensors").write_bytes(b"x")


def sizes(source: Source) -> tuple[int, ...]:
    parts = (source.train, source.validation_or_test, source.test)
    return tuple(len(part.labels) for part in parts)


def words(*names: str) -> Callable[[Path], None]:
    """Splits of these names, of 12, 5 and 4 images per class."""

    def make(root: Path) -> None:
        for name, number in zip(names, NUMBERS.values(), strict=False):
            split(root / name, number)

    return make


def with_junk(root: Path) -> None:
    words("train", "val")(root)
    fill(root / "train" / ".ipynb_checkpoints", 2)
    fill(root / "train" / "cat" / ".ipynb_checkpoints", 2)
    fill(root / "__MACOSX" / "train" / "cat", 2)
    fill(root / "train" / "dog" / "__MACOSX", 2)
    fill(root / "train" / "dog" / "@eaDir" / "0.png", 1)
    for place in (root, root / "train", root / "train" / "cat"):
        (place / ".DS_Store").write_bytes(b"x")
        (place / "Thumbs.db").write_bytes(b"x")
        (place / "._0.png").write_bytes(b"x")


def with_links(root: Path) -> None:
    words("train", "val")(root)
    cat, dog, eel = (root / "train" / name for name in CLASSES)
    elsewhere = root.parent / "elsewhere"
    cat.rename(elsewhere)
    cat.symlink_to(elsewhere)
    (dog / "more").mkdir()
    for index in range(6):
        (dog / f"{index}.png").rename(dog / "more" / f"{index}.png")
    (dog / "more").rename(root.parent / "more")
    (dog / "more").symlink_to(root.parent / "more")
    (dog / "more" / "back").symlink_to(root)  # a circle
    (eel / "0.png").rename(root.parent / "one.png")
    (eel / "0.png").symlink_to(root.parent / "one.png")


def with_extensions(root: Path) -> None:
    words("train", "val")(root)
    for index, extension in enumerate([".jfif", ".avif" if features.check("avif") else ".webp", ".JPG"]):
        path = root / "train" / "cat" / f"{index}"
        path.with_suffix(".png").unlink()
        picture(index).save(path.with_suffix(extension))
    for name in ("a.gif", "b.GIF", "notes.txt", "none"):
        (root / "train" / "cat" / name).write_bytes(b"x")


def flat_with_runs(root: Path) -> None:
    for name, number in zip(CLASSES, (13, 13, 14), strict=True):
        fill(root / name, number)
    run_folder(root / "out" / "finetune-cosub-0")
    run_folder(root / "mine")
    export_folder(root / "exported")
    (root / "graph").mkdir()
    (root / "graph" / "model.onnx").write_bytes(b"x")
    picture(0).save(root / "curves.png")
