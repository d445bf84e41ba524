"""webdataset's layout: tar files, each image beside a file with its label, and the number of images in a list."""

import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cosub.data.sources.source import Source, existing, inside, numbered
from cosub.data.sources.tar import Index, TarImages, read_index
from cosub.data.sources.walking import listed
from cosub.errors import InputError
from cosub.recipes.data import Shards


@dataclass(frozen=True)
class Split:
    """The shards of one split, and how many images they hold: each one, where a file states it, and in total."""

    shards: Sequence[Path]
    counts: dict[str, int]
    total: int


def shards(config: Shards) -> Source:
    """Open shards. They must hold as many images as their counts state, so that an epoch has its length.

    Raises:
        InputError: for shards without a known length, one that is missing, cut short or compressed, one that holds
            more or fewer images than it should, an image without a label.
    """
    root = existing(config.path, "the folder of shards")
    splits = [
        _split(root, name, flag, given)
        for name, flag, given in (
            (config.train_split, "length", config.length),
            (config.test_split, "test-length", config.test_length),
        )
    ]
    if both := set(splits[0].shards) & set(splits[1].shards):
        raise InputError(
            f"data.test_split: {config.test_split}: has shards that are trained on ({min(both)}); name another split "
            "with --data.test-split"
        )
    paths = [path for split in splits for path in split.shards]
    index = read_index(paths, Path(os.path.expanduser(config.index)) if config.index else None)
    first = len(splits[0].shards)
    train, test = (
        _images(split, _rows(index, start, start + len(split.shards)))
        for split, start in zip(splits, (0, first), strict=True)
    )
    return Source(_classes(root, train.labels), train, test)


def _rows(index: Index, start: int, stop: int) -> Index:
    chosen = (index.shard >= start) & (index.shard < stop)
    return Index(index.shard[chosen] - start, index.offset[chosen], index.size[chosen], index.label[chosen])


def _images(split: Split, index: Index) -> TarImages:
    found = Counter(index.shard.tolist())
    for number, path in enumerate(split.shards):
        wanted = split.counts.get(path.name, found[number])
        if found[number] != wanted:
            raise InputError(
                f"data.path: {path}: holds {found[number]} images and should hold {wanted}: it was truncated, or its "
                "count is of another version; get both again"
            )
    if len(index.label) != split.total:
        raise InputError(
            f"data.path: {split.shards[0].parent}: its {len(split.shards)} shards hold {len(index.label)} images and "
            f"should hold {split.total}: a shard is missing, or the length is wrong"
        )
    return TarImages(split.shards, index, index.labels)


def _classes(root: Path, labels: Iterable[int]) -> tuple[str, ...]:
    """The names in classes.txt, one per line; without it the numbers."""
    listed = root / "classes.txt"
    if not listed.exists():
        return tuple(numbered(list(labels), str(root)))
    return tuple(listed.read_text(encoding="utf-8", errors="surrogateescape").removesuffix("\n").split("\n"))


# --- which shards, and how many images


def _split(root: Path, name: str, flag: str, given: int) -> Split:
    listed = _info(root).get(name)
    if listed is not None:
        paths, counts = [inside(root, file) for file in listed], {Path(file).name: n for file, n in listed.items()}
        if missing := next((path for path in paths if not path.is_file()), None):
            raise InputError(f"data.path: {missing}: is missing, but in the folder's list of shards; get it")
    else:
        paths = _found(root, name)
        sizes = _json(paths[0].parent / "sizes.json")
        counts = {path.name: sizes[path.name] for path in paths if isinstance(sizes.get(path.name), int)}
    if len(counts) < len(paths) and not given:
        raise InputError(
            f"data.path: {root}: no file states how many images its {name} shards hold, which sets an epoch's length: "
            f'put {{"{paths[0].name}": 1000, ...}} into {paths[0].parent}/sizes.json, or give --data.{flag} N'
        )
    return Split(paths, counts, given or sum(counts.values()))


def _found(root: Path, name: str) -> list[Path]:
    """Shards by name: PATH/SPLIT/*.tar, or PATH/*.tar with the split as a word in the name."""
    every = listed(root, "*.tar")
    found = listed(root / name, "*.tar") or [path for path in every if name in re.split(r"[-_.]", path.name)]
    if not found:
        folders = {path.parent.name for path in listed(root, "*/*.tar")}
        words = sorted(folders | {word for path in every for word in re.findall(r"[a-z]+", path.stem)})
        raise InputError(
            f"data.path: {root}: has no shards of a split {name!r} ({', '.join(words) or 'no tar files at all'}); "
            f"name the splits with --data.train-split and --data.test-split, or move some shards into {root / name}"
        )
    return found


def _info(root: Path) -> dict[str, dict[str, int]]:
    """timm's _info.json: for each split, the number of images by name of the shard."""
    found = _json(root / "_info.json") or _json(root / "info.json")
    try:
        return {
            name: dict(zip(split["filenames"], split["shard_lengths"], strict=True))
            for name, split in found.get("splits", {}).items()
        }
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"data.path: {root}: its _info.json lacks filenames and shard_lengths ({error!r})") from error


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise InputError(f"data.path: {path}: cannot be read as JSON ({error}); correct or remove it") from error
    return found if isinstance(found, dict) else {}
