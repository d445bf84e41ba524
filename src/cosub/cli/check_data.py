"""cosub check-data PATH [--source KIND] [--table FILE.csv] [--workers N]"""

import dataclasses
import json
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tyro.conf import Positional

from cosub.api.parsing import parse, take
from cosub.errors import InputError, RunError, nearest
from cosub.recipes.data import SOURCES, DataConfig, Folder
from cosub.recipes.ranges import Checked, NonNegativeInt, require, require_new_file
from cosub.recipes.tasks import TASKS

DESCRIPTION = """List what is wrong with the images of a data set, one per line: damaged ones, odd ones (CMYK, 16-bit,
palette, alpha, animated, wrong extension, EXIF that cannot be parsed or rotates the image), those with the same pixels
in train and in validation or test, and files of a folder that are not read; then the path of each split, and the images
per class. Every image is decoded in full. Status 0: none is damaged; 3: some are.
--source {sources} says how PATH is laid out; by default that is detected from its files.
Options of a source are those of `cosub train`, e.g. --data.val-share."""


@dataclass(frozen=True)
class Check(Checked):
    path: Positional[str] = ""
    """The folder, or a name that the source understands."""
    data: DataConfig = field(default_factory=Folder)
    table: str = ""
    """Write the images of a folder into this CSV file, for --source table; images with the same pixels are a group."""
    workers: NonNegativeInt = 0
    """Processes; 0: as many as there are cores."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.table:
            remedy = "is for a folder; leave it out, or name --source folder"
            require(self.data.CLASS_FOLDERS, "table", self.table, remedy)
            require_new_file("table", self.table)


def run(words: list[str], as_json: bool) -> dict[str, Any] | None:
    options = _understand(words)
    from cosub.data.checking import Report, looks, rows_of
    from cosub.data.overview import balance, overview, splits
    from cosub.data.pixels import plain, rule_of
    from cosub.data.sources import open_source
    from cosub.data.sources.table import write_table
    from cosub.runs import distributed
    from cosub.runs.progress import counted
    from cosub.runs.tables import number_of

    distributed.require_one_process("check-data")
    config = plain(options.data)  # pixels as stored in the files
    source = open_source(config.at(options.path))
    number = sum(len(examples.labels) for examples in splits(source).values())
    rule, report = rule_of(options.data), Report()
    for look in counted(looks(source, options.workers or os.cpu_count() or 1, rule), number, "images"):
        report.add(look)
    result = {
        "path": options.path,
        "images": dict(report.images),
        "splits": dict(source.places),
        "classes": balance(source) if TASKS[config.TASK].PER_IMAGE else {},
        "skipped": [item._asdict() for item in source.left_out],
        "damaged": report.damaged,
        "odd": report.odd,
        "doubled": [{"image": name, "is": original} for name, original in report.duplicates],
    }
    if as_json:
        print(json.dumps(result))
    else:
        _print(result, overview(dataclasses.replace(source, left_out=())))  # the findings list those
    sys.stdout.flush()
    if options.table:  # after what was found is printed, whatever becomes of the file
        write_table(Path(options.table), rows_of(source, report))
    if report.damaged:
        raise RunError(f"{options.path}: {len(report.damaged)} of {number_of(number, 'image')} damaged")
    return None


def _understand(words: list[str]) -> Check:
    words = list(words)
    kinds = [name for name, source in SOURCES.items() if not source.EMBEDDED]
    kind = take(words, "--source")
    if kind is None:
        from cosub.data.sources.detection import detect_kind

        given = [word for word in words if not word.startswith("-")]  # values of other options among them
        path = next((word for word in given if os.path.exists(os.path.expanduser(word))), given[0] if given else "")
        kind = detect_kind(path) if path else "folder"
    if kind not in kinds:
        raise InputError(f"--source: {kind!r}: must be one of {', '.join(kinds)}{nearest(kind, kinds)}")
    description = DESCRIPTION.format(sources="|".join(kinds))
    options = parse(Check, words, "cosub check-data", Check(data=SOURCES[kind]()), description)
    if not options.path:
        raise InputError("PATH: is missing; name the folder of the data set")
    if options.data.place:
        raise InputError(f"data.path: {options.data.place}: stands beside PATH {options.path}; name one, as PATH")
    if options.data.CLASS_FOLDERS and not Path(options.path).expanduser().is_dir():
        raise InputError(f"PATH: {options.path}: is not a folder; name that of the data set")
    return options


def _print(result: dict[str, Any], table: dict[str, str]) -> None:
    """Findings on standard output; splits, classes and numbers of findings on standard error."""
    for item in result["skipped"]:
        print(f"skipped   {item['number']:,} {item['why']}: {item['first']}" + (", ..." if item["number"] > 1 else ""))
    for line in result["damaged"]:
        print(f"damaged   {line}")
    for name, notes in result["odd"].items():
        print(f"odd       {name}: {'; '.join(notes)}")
    for pair in result["doubled"]:
        print(f"duplicate {pair['image']} is {pair['is']}")
    for name, value in table.items():
        print(f"{name}: {value}", file=sys.stderr)
    for split, classes in result["classes"].items():
        print(f"{split}: {_balance(classes)}", file=sys.stderr)
    images = ", ".join(f"{number:,} {split}" for split, number in result["images"].items())
    found = {kind: len(result[kind]) for kind in ("damaged", "odd")}
    found["duplicate"] = len(result["doubled"])
    found["skipped"] = sum(item["number"] for item in result["skipped"])
    print(f"{images}: {', '.join(f'{number:,} {kind}' for kind, number in found.items())}", file=sys.stderr)


def _balance(classes: dict[str, int]) -> str:
    """The smallest and the largest classes, with their numbers of images."""
    shown = [f"{name} {number:,}" for name, number in sorted(classes.items(), key=lambda item: (item[1], item[0]))]
    return ", ".join(shown if len(shown) <= 6 else [*shown[:3], "...", *shown[-3:]])
