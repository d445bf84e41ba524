"""The layout of image sets on the Hugging Face Hub: Parquet files, in a folder or by name."""

import glob
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cosub.data.decoding import BadImage, Read, decode, rgb
from cosub.data.sources.source import Source, compact, numbered
from cosub.data.sources.walking import listed
from cosub.errors import InputError
from cosub.recipes.data import Hub


@dataclass(frozen=True)
class HubRows:
    """Rows of a Hugging Face data set: a column of encoded images (bytes and path), read from its Arrow table.

    The data set's own access to a row takes half a millisecond, more than decoding a small image.
    """

    column: Any
    labels: Sequence[int]
    split: str

    def image(self, index: int, read: Read = rgb) -> Any:
        value = self.column[index].as_py() or {}
        name = self._name(index, value)
        if value.get("bytes") is None:
            raise BadImage(f"{name} (no bytes)")
        return decode(lambda: io.BytesIO(value["bytes"]), name, read)

    def name(self, index: int) -> str:
        return self._name(index, self.column[index].as_py() or {})

    def _name(self, index: int, value: dict[str, Any]) -> str:
        path = value.get("path")
        return f"{self.split}[{index}]" + (f" {path}" if path else "")


def hub(config: Hub) -> Source:
    """Open a folder of Parquet files or a data set on the Hub.

    Raises:
        InputError: for a folder or name that cannot be read, a split that is missing, no column of images or labels.
    """
    splits = load(config)
    for wanted in (config.train_split, config.test_split):
        if wanted not in splits:
            raise InputError(
                f"data: {config.path}: has no split {wanted!r} but {', '.join(sorted(splits))}; "
                "name them with --data.train-split and --data.test-split"
            )
    train, test = splits[config.train_split], splits[config.test_split]
    column, label = _columns(train.features, config.path)
    feature = train.features[label]
    labels = [compact(list(part[label])) for part in (train, test)]
    names = getattr(feature, "names", None) or numbered(labels[0], config.path)
    sets = [
        HubRows(part.data.column(column), part_labels, split)
        for part, part_labels, split in zip((train, test), labels, (config.train_split, config.test_split), strict=True)
    ]
    return Source(tuple(names), sets[0], sets[1])


def load(config: Hub) -> dict[str, Any]:
    """The splits of the data set by name, their images not yet decoded. Raises InputError if it cannot be read."""
    try:
        import datasets
    except ImportError as error:
        raise InputError("data: the Hub layout needs the package datasets: pip install 'cosub[hub]'") from error
    if not config.path:
        raise InputError("data.path: is not given; name a folder of Parquet files or a data set on the Hub")
    datasets.disable_progress_bars()
    folder = Path(os.path.expanduser(config.path))
    if folder.is_dir():
        try:
            loaded = datasets.load_dataset("parquet", data_files=_parquet_files(folder))
        except InputError:
            raise
        except Exception as error:  # of any kind: damaged files, columns that differ
            reason = " ".join(str(error.__cause__ or error).split())[:160]
            raise InputError(f"data.path: {folder}: its Parquet files cannot be read ({reason})") from error
    elif folder.is_absolute() or config.path.startswith(".") or config.path.count("/") > 1:
        raise InputError(f"data.path: {config.path}: is not a folder; name one that holds SPLIT-*.parquet files")
    else:
        try:
            loaded = datasets.load_dataset(config.path)
        except Exception as error:  # of any kind, from the Hub's client: offline, no such name, no access
            raise InputError(
                f"data.path: {config.path}: is not a folder here, and the Hub gave {type(error).__name__}: "
                "check the path, or the name and the network"
            ) from error
    return {str(name): _undecoded(part) for name, part in loaded.items()}  # pyright: ignore[reportAttributeAccessIssue]


def _parquet_files(folder: Path) -> dict[str, list[str]]:
    files = listed(folder, "*.parquet") or listed(folder, "data/*.parquet")
    if not files:
        files = listed(folder, "*/*.parquet")
        if len(configurations := sorted({file.parent.name for file in files})) > 1:
            raise InputError(
                f"data.path: {folder}: has Parquet files in {', '.join(configurations[:5])}; name one of these folders "
                f"with --data.path {folder / configurations[0]}"
            )
    if not files:
        raise InputError(
            f"data.path: {folder}: has no Parquet files; expected SPLIT-*.parquet there, in data/ or in another folder"
        )
    splits: dict[str, list[str]] = {}
    for file in files:  # the library expands patterns, and a folder may be called a[1]
        splits.setdefault(file.stem.split("-")[0], []).append(glob.escape(os.fspath(file)))
    return splits


def _undecoded(part: Any) -> Any:
    """The split with encoded images: they are decoded here, where an unreadable image does not end the run."""
    import datasets

    for name, feature in part.features.items():
        if isinstance(feature, datasets.Image):
            part = part.cast_column(name, datasets.Image(decode=False))
    return part


def _columns(features: Any, path: str) -> tuple[str, str]:
    """The names of the columns of images and labels."""
    import datasets

    image = next((name for name, feature in features.items() if _holds_images(feature)), None)
    named = [name for name, feature in features.items() if isinstance(feature, datasets.ClassLabel)]
    integers = [name for name, feature in features.items() if getattr(feature, "dtype", "") in ("int64", "int32")]
    usual = ("label", "labels", "fine_label", "class")
    label = next((name for name in usual if name in named + integers), None) or next(iter(named), None)
    if image is None or label is None:
        missing = (
            "no column of images" if image is None else "no column of class labels, nor one of integers named label"
        )
        raise InputError(f"data.path: {path}: has {missing} (columns: {', '.join(features)})")
    return image, label


def _holds_images(feature: Any) -> bool:
    import datasets

    return isinstance(feature, datasets.Image) or (isinstance(feature, dict) and set(feature) == {"bytes", "path"})
