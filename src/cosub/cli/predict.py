"""cosub predict RUN|FOLDER|FILE|timm:NAME|hf-hub:OWNER/NAME IMAGE|FOLDER|PATTERN ... [--top N] [--csv FILE]"""

import contextlib
import csv
import json
import math
import sys
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any

from tyro.conf import Positional, arg

from cosub.api.parsing import parse
from cosub.api.preparation import Preparation, say
from cosub.errors import InputError
from cosub.recipes import plugins
from cosub.recipes.ranges import NonNegativeInt, PositiveInt, PositiveShare, require_new_file

if TYPE_CHECKING:
    from cosub.data.sources.walking import LeftOut

_BATCH = 256

Found = tuple[list[dict[str, Any]], list[str]]
"""For each image its classes, the likeliest or largest first; and what cannot be read."""


@dataclass(frozen=True)
class Predict(Preparation):
    """The most likely classes of images, by a network; of a segmentation run a coloured map of each image."""

    run: Positional[str]
    """A run's folder; a folder that timm or cosub export wrote, or hf-hub:OWNER/NAME; a file of weights (with --model);
    or a name of timm's weights (NAME or timm:NAME)."""
    images: Annotated[Positional[tuple[str, ...]], arg(metavar="IMAGE...")]
    """Image files, folders of them, or patterns such as "photos/**/*.jpg"."""
    top: PositiveInt = 5
    """Classes per image."""
    csv: str = ""
    """Write a line for each image and class into this file, which must not exist yet, batch by batch."""
    out: str = ""
    """Segmentation: the folder of the maps, new or empty; by default RUN-maps."""
    keep: PositiveShare | None = None
    """Use a submodel with this share of the blocks, spread evenly over depth."""
    device: str = "auto"
    """auto (a GPU where there is one), cpu, cuda or cuda:N."""
    workers: NonNegativeInt = 0
    """Classification: processes that load images; 0 loads in this process."""
    batch_size: Annotated[PositiveInt, arg(name="batch-size")] = _BATCH
    """Classification: images per batch."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.csv:
            require_new_file("csv", self.csv)


def run(words: list[str], as_json: bool) -> None:
    options = parse(Predict, words, "cosub predict")
    if not options.images:
        raise InputError("IMAGES: is missing; name image files or folders after the run")
    paths, left_out = _paths(options.images)
    from cosub.data.sources.walking import list_left_out
    from cosub.evaluation.candidates import open_network
    from cosub.runs import distributed

    distributed.require_one_process("predict")
    candidate = open_network(options.run, options.model, options.resolution, **options.inputs())
    _require_used(options, candidate)
    device = distributed.join(options.device).device
    say([f"weights: {line}" for line in candidate.messages])
    predictions, bad, first, failed = [], [], True, None
    # A bar takes the place of sys.stdout, and sends its lines to standard error: right where both are one terminal.
    stream = None if sys.stdout.isatty() else sys.stdout
    with contextlib.closing(_found(options, candidate, paths, device)) as batches:
        for found, unreadable in batches:
            bad += unreadable
            if not found:
                continue
            if as_json:
                predictions += found
            else:
                _print(found, options.top, stream)
            try:
                if options.csv:
                    _write(found, Path(options.csv), first)
            except OSError as error:  # what was found is printed, whatever becomes of the file
                failed = OSError(error.errno, error.strerror, error.filename or options.csv)
                break
            first = False
    if bad and first and failed is None:
        raise InputError(f"images: {bad[0]}: cannot be read as an image")
    if as_json:
        skipped = [item._asdict() for item in left_out]
        told = {"run": options.run, "predictions": predictions, "bad_images": bad, "skipped": skipped}
        print(json.dumps(told), flush=True)
    else:
        say([f"cannot be read: {name}" for name in bad])
        say([f"not read: {list_left_out(left_out)}"] if left_out else [])
    if failed is not None:
        raise failed


def _require_used(options: Predict, candidate: Any) -> None:
    """Refuse what is for another task than the network's."""
    if candidate.recipe.task.kind not in plugins.PREDICTORS:
        if options.out:
            raise InputError(f"out: {options.out}: is for maps of a segmentation run; leave it out, or take --csv FILE")
        return
    for name, default in (("workers", 0), ("batch_size", _BATCH)):
        if (value := getattr(options, name)) != default:
            raise InputError(
                f"{name}: {value}: is for classification, and {options.run} is a segmentation run; leave it out"
            )


def _found(options: Predict, candidate: Any, paths: Sequence[Path], device: Any) -> Generator[Found]:
    """Batch by batch; scenes, whose maps are written one by one, all at the end."""
    from cosub.evaluation.candidates import layers_kept
    from cosub.evaluation.prediction import predict_files
    from cosub.runs.progress import counted

    if place := plugins.PREDICTORS.get(candidate.recipe.task.kind):
        yield plugins.find(place)(options, candidate, counted(paths, len(paths), "predict"), device)
        return
    network = candidate.network.to(device)
    kept = layers_kept(network, options.keep)
    batches = predict_files(network, candidate.recipe, paths, kept, options.batch_size, options.workers)
    for read, likely, bad in counted(batches, math.ceil(len(paths) / options.batch_size), "predict"):
        top = likely.topk(min(options.top, likely.shape[1]))
        found = [
            {"image": str(path), "classes": _classes(candidate.classes, *row)}
            for path, *row in zip(read, top.values.tolist(), top.indices.tolist(), strict=True)
        ]
        yield found, bad


def _classes(names: Sequence[str], values: Sequence[float], order: Sequence[int]) -> list[dict[str, Any]]:
    return [{"class": names[index], "probability": value} for index, value in zip(order, values, strict=True)]


def _paths(names: tuple[str, ...]) -> tuple[list[Path], tuple["LeftOut", ...]]:
    """The images, each once, and which files of the folders are left out."""
    from cosub.data.given import image_files
    from cosub.data.sources.walking import Notes

    notes = Notes()
    found = dict.fromkeys(path for name in names for path in image_files(name, notes))
    return list(found), notes.left_out()


def _write(found: list[dict[str, Any]], path: Path, first: bool) -> None:
    """Lines of a CSV file, for each image and class, the likeliest or largest first. The first make the file."""
    from cosub.runs.names import write_rows

    lines = [{"image": item["image"], **line} for item in found for line in item["classes"]]
    rows = [line.values() for line in lines]
    if first:
        write_rows(path, lines[0], rows)
        return
    with path.open("a", encoding="utf-8", errors="surrogateescape", newline="") as file:
        csv.writer(file).writerows(rows)


def _print(found: list[dict[str, Any]], top: int, stream: IO[str] | None) -> None:
    """A line for each image: its first classes with their probability, or their share of the pixels; and its map."""
    for item in found:
        shown = item["classes"][:top]
        classes = "  ".join(
            f"{one['class']} {one['share']:.1%}" if "share" in one else f"{one['class']} {one['probability']:.3f}"
            for one in shown
        )
        line = f"{item['image']}: {classes}" + (f"  ({item['map']})" if "map" in item else "")
        print(line, file=stream, flush=True)
