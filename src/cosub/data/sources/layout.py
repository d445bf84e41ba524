"""Folders of images as people have them: which folders are classes, which are splits, and which are ambiguous."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image

from cosub.data.decoding import EXTENSIONS
from cosub.data.imagenet import class_indices
from cosub.data.sources.annotations import annotated
from cosub.data.sources.detection import detect_kind, reader_hint
from cosub.data.sources.folder import Files, held_out
from cosub.data.sources.sampling import without_any
from cosub.data.sources.source import HELD_OUT, Source, existing
from cosub.data.sources.splits import find_splits
from cosub.data.sources.walking import Branch, Notes, list_left_out
from cosub.errors import InputError
from cosub.recipes.data import Folder

# Folders whose names are no classes, such as those of images to predict.
_NO_CLASSES = {"images", "image", "imgs", "img", "all", "unknown", "unlabelled", "unlabeled"}


def open_folder(config: Folder) -> Source:
    """Open a folder of splits, or of classes, of which a share is then held out.

    Raises:
        InputError: for a folder without images or classes, splits without one for training, a class that the training
            images lack, and where it is ambiguous which folders are classes.
    """
    notes = Notes()
    root = Branch(existing(config.path), notes)
    if detect_kind(root.path) == "scenes":
        raise InputError(
            f"data.path: {root.path}: holds scenes, which have a class for every pixel: cosub train camvid, or an "
            "ade20k recipe, trains on them, and cosub check-data --source scenes checks them"
        )
    splits = find_splits(root)
    if splits:
        _require_train(root, splits)
        for name in root.folders.keys() - {part for split in splits.values() for part in _parts(root, split)}:
            notes.add("folder beside the splits", root.path / name)
    train_root = splits.get("train", root)
    classes, train = class_images(train_root, flat=not splits)
    _refuse_classes_within(train_root.path, {name: train_root.folders[name] for name in classes})
    if config.reading > 2 and (split := splits.get("validation")):
        _require_classes(split, classes, train_root)
    others = {
        role: files for role in ("validation", "test") if (files := _other(splits.get(role), classes, train_root))
    }
    places = {role: f"in {splits[role].path}" for role in others} | {"train": f"in {train_root.path}"}
    if not others:
        train, held = held_out(train, classes, config, root.path)
        others, places["test"] = {"validation": held}, f"{HELD_OUT} {train_root.path}{without_any(classes, held)}"
    validation = others.get("validation")
    test = others.get("test", validation)
    assert test is not None
    places.setdefault("test", places.get("validation", ""))
    return Source(classes, train, test, validation, places, notes.left_out())


def images_of_classes(config: Folder, classes: Sequence[str]) -> Files | None:
    """All images of a folder without splits, labelled by the given classes; else None. ImageNet-V2's are numbers."""
    root = Branch(existing(config.path), Notes())
    if find_splits(root):
        return None
    names, files = class_images(root, flat=True)
    indices = class_indices(names, classes, str(root.path), "data.path")
    return Files(files.paths, [indices[label] for label in files.labels])


def relabelled(root: Branch, classes: Sequence[str], whose: str) -> Files:
    """The images of a folder of classes, labelled by the classes of `whose`."""
    names, files = class_images(root)
    if extra := sorted(set(names) - set(classes)):
        raise InputError(f"data.path: {root.path}: has classes that {whose} lacks: {', '.join(extra[:5])}")
    return Files(files.paths, [classes.index(names[label]) for label in files.labels])


def class_images(root: Branch, flat: bool = False) -> tuple[tuple[str, ...], Files]:
    """The classes of a folder and their images. `flat`: figures of runs may lie among the classes.

    Raises:
        InputError: if there are none, one of them has no images, or it is ambiguous which folders are classes.
    """
    folders = {name: folder for name, folder in root.folders.items() if not _holds_a_run(folder)}
    if not folders:
        raise InputError(
            f"data.path: {root.path}: has no class folders; expected CLASS/image.jpg, or train/CLASS/image.jpg"
            f"{reader_hint(root.path)}"
        )
    for folder in folders.values():
        if not folder.everything:
            raise InputError(
                f"data.path: {folder.path}: has no images ({' '.join(EXTENSIONS)}){_instead(folder)}; fill or remove it"
            )
    if flat:
        _refuse_figures(folders)
    for path in root.images:
        root.notes.add("image outside the class folders", path)
    pairs = [(path, label) for label, folder in enumerate(folders.values()) for path in folder.everything]
    return tuple(folders), Files([path for path, _ in pairs], [label for _, label in pairs])


# --- splits


def _parts(root: Branch, split: Branch) -> tuple[str, ...]:
    return split.path.relative_to(root.path).parts[:1]


def _require_train(root: Branch, splits: Mapping[str, Branch]) -> None:
    """Check that there is a folder to train on, and that it holds classes."""
    split = splits.get("train") or next(iter(splits.values()))
    name = _parts(root, split)[0]
    if split.images and not split.folders:
        raise InputError(
            f"data.path: {split.path}: holds images and no class folders, and {name} is the name of a split: if it is "
            f"a class, rename it; if not, put CLASS/image.jpg into {root.path / 'train'}"
        )
    if "train" not in splits:
        raise InputError(
            f"data.path: {root.path}: has a folder {name} and none to train on; rename it to train, or give "
            f"--data.path {split.path}: a share is then held out for evaluation"
        )


def _is_unsorted(split: Branch, classes: tuple[str, ...]) -> bool:
    """Whether a split has images, and no folder that may be a class."""
    return bool(split.everything) and split.folders.keys() <= _NO_CLASSES - set(classes)


def _require_classes(split: Branch, classes: tuple[str, ...], train: Branch) -> None:
    """Check that the classes of validation images are known: else training images would stand in for them."""
    if _is_unsorted(split, classes) and annotated(split, classes) is None:
        raise InputError(
            f"data.path: {split.path}: holds {len(split.everything):,} images and no class folders, so their classes "
            f"are unknown; sort them into {split.path / 'CLASS'}, as in {train.path}, or move {split.path.name} out of "
            "the data"
        )


def _other(split: Branch | None, classes: tuple[str, ...], train: Branch) -> Files | None:
    """The images of a validation or test split; None if there is none, or its images have no classes."""
    if split is None:
        return None
    if _is_unsorted(split, classes):
        if (found := annotated(split, classes)) is not None:
            return found
        for path in split.everything:
            split.notes.add(f"image of {split.path.name} without a class folder", path)
        return None
    return relabelled(split, classes, str(train.path))


# --- classes


def _holds_a_run(folder: Branch) -> bool:
    """Whether it holds runs only: then it is not a class.

    Raises:
        InputError: if it also holds other images.
    """
    runs = folder.all_runs()
    if runs and folder.everything:
        raise InputError(
            f"data.path: {folder.path}: holds a run ({runs[0]}) and other images ({folder.everything[0]}), so it is "
            "ambiguous whether it is a class; move the run, or the folder, out of the data"
        )
    if runs:
        folder.notes.add("folder that holds runs", folder.path)
    return bool(runs)


def _instead(folder: Branch) -> str:
    """What the folder holds that is not read."""
    left_out = folder.notes.left_out(folder.path)
    return f" but {list_left_out(left_out)}" if left_out else ""


def _refuse_classes_within(root: Path, folders: Mapping[str, Branch]) -> None:
    """Raise where all folders hold the same folders: either may be the classes."""
    inner = [
        {name for name, below in folder.folders.items() if below.everything} if len(folder.folders) > 1 else set()
        for folder in folders.values()
    ]
    common = sorted(set.intersection(*inner))
    if len(common) < 2:
        return
    names, within = ", ".join(list(folders)[:5]), ", ".join(common[:5])
    if len(folders) == 1:
        raise InputError(
            f"data.path: {root}: holds only {names}, which holds {within}: give --data.path {root / names}"
        )
    raise InputError(
        f"data.path: {root}: its folders {names} all hold {within}: if those are the classes, name the folders train, "
        f"val and test; if {names} are, put their images into CLASS/*.jpg or into one folder each, CLASS/images/*.jpg"
    )


def _refuse_figures(folders: Mapping[str, Branch]) -> None:
    """Raise where some folders begin with a figure by Matplotlib, as plots of runs are, and others do not."""
    drawn = [name for name, folder in folders.items() if _is_figure(folder.everything[0])]
    if drawn and len(drawn) < len(folders):
        folder = folders[drawn[0]]
        raise InputError(
            f"data.path: {folder.path}: begins with a plot ({folder.everything[0].name}), so it is ambiguous whether "
            f"it is a class; move it out of the data, or put the class folders into {folder.path.parent / 'train'}"
        )


def _is_figure(path: Path) -> bool:
    if path.suffix.lower() != ".png":
        return False
    try:
        with Image.open(path) as image:
            return str(image.info.get("Software", "")).startswith("Matplotlib")
    except Exception:  # a damaged image is named when it is read
        return False
