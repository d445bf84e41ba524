"""The layout of image sets on the Hugging Face Hub: Parquet files, in a folder or by name."""

import glob
import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cosub.data.decoding import BadImage, Read, decode, rgb
from cosub.data.sources.sampling import Part, hold_out_share, without_any
from cosub.data.sources.source import HELD_OUT, Source, check_labels, compact, numbered
from cosub.data.sources.splits import split_of
from cosub.data.sources.walking import Notes, listed
from cosub.errors import InputError
from cosub.recipes.data import Folder, Hub


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

    Where only the training split has labels, the share of it is held out that a folder's default holds out.

    Raises:
        InputError: for a folder or name that cannot be read, a split that is missing, has no labels or is named twice,
            no column of images or labels.
    """
    if config.train_split == config.test_split:
        raise InputError(
            f"data.test_split: {config.test_split}: is the split to train on, too; name another with "
            "--data.test-split, or leave it out (a run that was begun so was tested on its training images: begin "
            "again in another --out)"
        )
    splits = load(config)
    wanted = [config.train_split]
    if len(splits) > 1 or config.test_split != Hub.test_split:
        wanted.append(config.test_split)
    if missing := [name for name in wanted if name not in splits]:
        raise InputError(
            f"data: {config.path}: has no split {missing[0]!r} but {', '.join(sorted(splits))}; "
            "name them with --data.train-split and --data.test-split"
        )
    column, label = _columns(splits[config.train_split].features, config.path)
    found = {name: HubRows(part.data.column(column), compact(list(part[label])), name) for name, part in splits.items()}
    train = found[config.train_split]
    names = getattr(splits[config.train_split].features[label], "names", None)
    classes = tuple(names or numbered(train.labels, config.path))
    test, notes = _labelled_test(found, config), Notes()
    others = {name: rows for name, rows in found.items() if name not in (config.train_split, config.test_split)}
    validation = next((rows for name, rows in others.items() if _is_for_validation(name, rows, config)), None)
    for name, rows in others.items():
        if rows is not validation:
            notes.add("split not named to train or test on", name)
    if test is not None:
        return Source(classes, train, test, validation, left_out=notes.left_out())
    if config.test_split in found:
        notes.add("split without labels", config.test_split)
    return _held_out(classes, train, config, notes)


def _labelled_test(found: Mapping[str, HubRows], config: Hub) -> HubRows | None:
    """The split to evaluate on; None if only the training split has labels.

    Raises:
        InputError: if it has none, and another has.
    """
    others = [name for name, rows in found.items() if name != config.train_split and _is_labelled(rows)]
    if config.test_split in others:
        return found[config.test_split]
    if others:
        other = next((name for name in others if split_of(name) == "validation"), others[0])
        raise InputError(
            f"data.test_split: {config.test_split}: its images have no labels (all are -1 or empty); name another with "
            f"--data.test-split {other}"
        )
    return None


def _is_for_validation(name: str, rows: HubRows, config: Hub) -> bool:
    return config.splits > 1 and split_of(name) == "validation" and _is_labelled(rows)


def _is_labelled(rows: HubRows) -> bool:
    return not len(rows.labels) or any(label is not None and label >= 0 for label in rows.labels)


def _held_out(classes: tuple[str, ...], train: HubRows, config: Hub, notes: Notes) -> Source:
    """The source where only the training split has labels."""
    check_labels("train", train.labels, classes, config.path)
    kept, held = hold_out_share(train, classes, Folder.val_share, Folder.split_seed, config.path)
    validation = Part(train, held)
    places = {
        "train": f"in {config.path}",
        "test": f"{HELD_OUT} {config.train_split}{without_any(classes, validation)}",
    }
    return Source(classes, Part(train, kept), validation, validation, places, notes.left_out())


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
            raise InputError(
                f"data.path: {folder}: its Parquet files cannot be read ({reason}); all need the same columns: move "
                "those of a split without labels elsewhere"
            ) from error
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
