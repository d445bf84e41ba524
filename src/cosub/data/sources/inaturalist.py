"""iNaturalist 2018 and 2019: images, annotations and categories in JSON, in COCO's format."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cosub.data.sources.folder import Files
from cosub.data.sources.source import Source, existing, inside
from cosub.errors import InputError
from cosub.recipes.data import INaturalist


def inaturalist(config: INaturalist) -> Source:
    """Classes are the categories of the training file in the order of their ids (8,142 in 2018, 1,010 in 2019).

    Raises:
        InputError: for a JSON file that is missing or damaged, an image without a category, a category that the
            training file lacks, a path that leaves the folder.
    """
    root = existing(config.path, "the folder of trainYEAR.json and valYEAR.json")
    lists = [_read(root / f"{split}{config.year}.json") for split in ("train", "val")]
    names = {entry["id"]: str(entry.get("name", entry["id"])) for entry in lists[0]["categories"]}
    order = {category: index for index, category in enumerate(sorted(names))}
    classes = [names[category] for category in order]
    if len(set(classes)) < len(classes):  # some names of 2019 are anonymised
        classes = [str(category) for category in order]
    train, test = (_files(root, found, order) for found in lists)
    return Source(tuple(classes), train, test)


def _files(root: Path, found: Mapping[str, Any], order: Mapping[int, int]) -> Files:
    category = {entry["image_id"]: entry["category_id"] for entry in found["annotations"]}
    if extra := sorted(set(category.values()) - set(order)):
        raise InputError(f"data.path: {root}: category {extra[0]} is not in the training file; get the same year's")
    paths, labels = [], []
    for image in found["images"]:
        if image["id"] not in category:
            raise InputError(f"data.path: {root}: image {image['id']} has no annotation; get its JSON again")
        paths.append(inside(root, image["file_name"]))
        labels.append(order[category[image["id"]]])
    return Files(paths, labels)


_KEYS = {"images": {"id", "file_name"}, "annotations": {"image_id", "category_id"}, "categories": {"id"}}


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text())
    except FileNotFoundError as error:
        raise InputError(f"data.path: {path}: is missing; put the year's JSON there, or name --data.year") from error
    except ValueError as error:
        raise InputError(f"data.path: {path}: cannot be read as JSON ({error}); get it again") from error
    for name, keys in _KEYS.items():
        entries = found.get(name) if isinstance(found, dict) else None
        if not isinstance(entries, list) or not all(
            isinstance(entry, dict) and keys <= entry.keys() for entry in entries
        ):
            raise InputError(f"data.path: {path}: needs a list {name} of entries with {' and '.join(sorted(keys))}")
    return found
