"""cosub predict RUN|FOLDER|FILE|timm:NAME|hf-hub:OWNER/NAME IMAGE|FOLDER|PATTERN ... [--top N] [--csv FILE]"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import Positional, arg

from cosub.api.parsing import parse
from cosub.api.preparation import Preparation, say
from cosub.errors import InputError
from cosub.recipes import plugins
from cosub.recipes.ranges import PositiveInt, PositiveShare, require_new_file

if TYPE_CHECKING:
    from cosub.data.sources.walking import LeftOut


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
    """Write a line for each image and class into this file, which must not exist yet."""
    out: str = ""
    """Segmentation: the folder of the maps, new or empty; by default RUN-maps."""
    keep: PositiveShare | None = None
    """Use a submodel with this share of the blocks, spread evenly over depth."""
    device: str = "auto"
    """auto (a GPU where there is one), cpu, cuda or cuda:N."""

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
    device = distributed.join(options.device).device
    place = plugins.PREDICTORS.get(candidate.recipe.task.kind)
    predictions, bad = (plugins.find(place) if place else _classify)(options, candidate, paths, device)
    if bad and not predictions:
        raise InputError(f"images: {bad[0]}: cannot be read as an image")
    say([f"weights: {line}" for line in candidate.messages])
    if as_json:
        skipped = [item._asdict() for item in left_out]
        found = {"run": options.run, "predictions": predictions, "bad_images": bad, "skipped": skipped}
        print(json.dumps(found), flush=True)
    else:
        _print(predictions, options.top)
        say([f"cannot be read: {name}" for name in bad])
        say([f"not read: {list_left_out(left_out)}"] if left_out else [])
    if options.csv:  # last: what was computed is printed, whatever becomes of the file
        _write(predictions, Path(options.csv))


def _classify(
    options: Predict, candidate: Any, paths: Sequence[Path], device: Any
) -> tuple[list[dict[str, Any]], list[str]]:
    """For each image its most likely classes with their probabilities; and what cannot be read."""
    from cosub.data.pixels import decoded, rule_of
    from cosub.data.sources import BadImage
    from cosub.evaluation.candidates import layers_kept
    from cosub.evaluation.prediction import probabilities

    if options.out:
        raise InputError(f"out: {options.out}: is for maps of a segmentation run; leave it out, or take --csv FILE")
    recipe, network = candidate.recipe, candidate.network.to(device)
    kept = layers_kept(network, options.keep)
    rule = rule_of(recipe.data)
    predictions, bad = [], []
    for path in paths:
        try:
            image = decoded(path, rule)
        except BadImage as error:
            bad.append(str(error))
            continue
        likely = probabilities(network, recipe, image, kept)
        values, order = likely.topk(min(options.top, len(candidate.classes)))
        classes = [
            {"class": candidate.classes[int(index)], "probability": float(value)}
            for index, value in zip(order, values, strict=True)
        ]
        predictions.append({"image": str(path), "classes": classes})
    return predictions, bad


def _paths(names: tuple[str, ...]) -> tuple[list[Path], tuple["LeftOut", ...]]:
    """The images, each once, and which files of the folders are left out."""
    from cosub.data.given import image_files
    from cosub.data.sources.walking import Notes

    notes = Notes()
    found = dict.fromkeys(path for name in names for path in image_files(name, notes))
    return list(found), notes.left_out()


def _write(predictions: list[dict[str, Any]], path: Path) -> None:
    """A CSV file with a line for each image and class, the likeliest or largest first."""
    from cosub.runs.names import write_rows

    lines = [{"image": found["image"], **item} for found in predictions for item in found["classes"]]
    write_rows(path, lines[0], (line.values() for line in lines))


def _print(predictions: list[dict[str, Any]], top: int) -> None:
    """A line for each image: its first classes with their probability, or their share of the pixels; and its map."""
    for found in predictions:
        shown = found["classes"][:top]
        classes = "  ".join(
            f"{item['class']} {item['share']:.1%}" if "share" in item else f"{item['class']} {item['probability']:.3f}"
            for item in shown
        )
        print(f"{found['image']}: {classes}" + (f"  ({found['map']})" if "map" in found else ""))
