"""cosub check-data PATH [--source KIND] [--workers N]"""

import dataclasses
import json
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tyro.conf import Positional

from cosub.cli.parsing import parse, take
from cosub.errors import InputError, RunError
from cosub.recipes.config import SOURCES, DataConfig, Folder
from cosub.recipes.files import nearest

_SIGNS = {
    "hub": ("*.parquet", "data/*.parquet"),
    "shards": ("*.tar", "*/*.tar"),
    "inaturalist": ("train20*.json",),
    "torchvision": ("cifar-10-batches-*", "cifar-100-*", "flowers-102", "stanford_cars"),
}

DESCRIPTION = """List what is wrong with the images of a data set, one a line: damaged ones, odd ones (CMYK, 16-bit,
palette, alpha, animated, wrong extension, EXIF that does not parse or turns the image), and those with the same pixels
in train and in validation or test. Every image is decoded whole. Status 0: none is damaged; 3: some are.
--source {sources} says how PATH is laid out; by default it is seen from the files there.
Options of a source are those of `cosub train`, e.g. --data.val-share."""


@dataclass(frozen=True)
class Check:
    path: Positional[str] = ""
    """The folder, or a name that the source understands."""
    data: DataConfig = field(default_factory=Folder)
    workers: int = 0
    """Processes; 0: as many as there are cores."""

    def __post_init__(self) -> None:
        if self.workers < 0:
            raise InputError(f"workers: {self.workers}: must be 0 or more")


def run(words: list[str], as_json: bool) -> dict[str, Any] | None:
    options = _understand(words)
    from cosub.data.checking import Report, looks, splits
    from cosub.data.sources import open_source
    from cosub.progress import counted

    source = open_source(dataclasses.replace(options.data, path=options.path))  # pyright: ignore[reportCallIssue]
    number = sum(len(examples.labels) for examples in splits(source).values())
    report = Report()
    for look in counted(looks(source, options.workers or os.cpu_count() or 1), number, "images"):
        report.add(look)
    result = {
        "path": options.path,
        "images": dict(report.images),
        "damaged": report.damaged,
        "odd": report.odd,
        "doubled": [{"image": name, "is": original} for name, original in report.doubled],
    }
    if as_json:
        print(json.dumps(result))
    else:
        _print(result)
    if report.damaged:
        sys.stdout.flush()
        raise RunError(f"{options.path}: {len(report.damaged)} of {number} images are damaged")
    return None


def _understand(words: list[str]) -> Check:
    words = list(words)
    kinds = [name for name in SOURCES if name != "digits"]
    kind = take(words, "--source")
    if kind is None:
        kind = _kind(next((word for word in words if not word.startswith("-")), ""))
    if kind not in kinds:
        raise InputError(f"--source: {kind!r}: must be one of {', '.join(kinds)}{nearest(kind, kinds)}")
    description = DESCRIPTION.format(sources="|".join(kinds))
    options = parse(Check, words, "cosub check-data", Check(data=SOURCES[kind]()), description)
    if not options.path:
        raise InputError("PATH: is missing; name the folder of the data set")
    if kind == "folder" and not Path(options.path).expanduser().is_dir():
        raise InputError(f"PATH: {options.path}: is no folder; name that of the data set")
    return options


def _kind(path: str) -> str:
    """The source that a folder's files suggest."""
    for kind, patterns in _SIGNS.items():
        if path and any(next(Path(os.path.expanduser(path)).glob(pattern), None) for pattern in patterns):
            return kind
    return "folder"


def _print(result: dict[str, Any]) -> None:
    """Findings on standard output, how many on standard error."""
    for line in result["damaged"]:
        print(f"damaged  {line}")
    for name, notes in result["odd"].items():
        print(f"odd      {name}: {'; '.join(notes)}")
    for pair in result["doubled"]:
        print(f"doubled  {pair['image']} is {pair['is']}")
    images = ", ".join(f"{number:,} {split}" for split, number in result["images"].items())
    counts = ", ".join(f"{len(result[kind]):,} {kind}" for kind in ("damaged", "odd", "doubled"))
    print(f"{images}: {counts}", file=sys.stderr)
