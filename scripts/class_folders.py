"""Class folders with train, val and test, from the Parquet files of an image set: small sets for `cosub compare`.

    python scripts/class_folders.py PARQUETS FOLDER --classes 20 --train 10 --val 50

Takes every so many of the classes, in order of their numbers. The first images of each in the training split are
trained on, the last ones validate; the other split is the test. Files are copied, not decoded.
"""

import argparse
from collections import defaultdict
from pathlib import Path

from cosub.data.sources.hub import load
from cosub.errors import InputError
from cosub.recipes.data import Hub


def write(source: Hub, folder: Path, classes: int, train: int, val: int) -> None:
    """Raises InputError where the folder is there, or a class has too few images."""
    if folder.exists():
        raise InputError(f"folder: {folder}: is there; name another")
    splits = load(source)
    first, second = splits[source.train_split], splits[source.test_split]
    everything = max(first["label"]) + 1
    taken = list(range(0, everything, everything // classes))[:classes]
    images = by_class(first, taken)
    if min(map(len, images.values())) < train + val:
        raise InputError(f"train, val: {train} and {val}: are more than a class has images; take fewer")
    parts = {"train": slice(0, train), "val": slice(-val, None)}
    for found, rows in ((images, parts), (by_class(second, taken), {"test": slice(None)})):
        for label, files in found.items():
            for name, part in rows.items():
                place = folder / name / f"{label:04d}"
                place.mkdir(parents=True)
                for number, data in enumerate(files[part]):
                    (place / f"{number:04d}.jpg").write_bytes(data)


def by_class(split: object, taken: list[int]) -> dict[int, list[bytes]]:
    """The files of the classes, in the order of the rows."""
    found: dict[int, list[bytes]] = defaultdict(list)
    table = split.data  # pyright: ignore[reportAttributeAccessIssue]
    column = "image" if "image" in table.column_names else "img"
    for label, image in zip(table["label"].to_pylist(), table[column].to_pylist(), strict=True):
        if label in taken:
            found[label].append(image["bytes"])
    return dict(sorted(found.items()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parquets")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--classes", type=int, default=20)
    parser.add_argument("--train", type=int, default=10, help="images of a class")
    parser.add_argument("--val", type=int, default=50, help="images of a class")
    parser.add_argument("--test-split", default="validation")
    options = parser.parse_args()
    source = Hub(path=options.parquets, test_split=options.test_split)
    write(source, options.folder, options.classes, options.train, options.val)


if __name__ == "__main__":
    main()
