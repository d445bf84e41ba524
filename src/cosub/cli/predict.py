"""cosub predict RUN|FOLDER|FILE|timm:NAME|hf-hub:OWNER/NAME IMAGE|FOLDER ... [--top N] [--keep SHARE]"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tyro.conf import Positional

from cosub.api.parsing import parse
from cosub.api.preparation import Preparation, say
from cosub.errors import InputError
from cosub.recipes.ranges import PositiveInt, PositiveShare

if TYPE_CHECKING:
    from cosub.data.sources.walking import LeftOut


@dataclass(frozen=True)
class Predict(Preparation):
    """The most likely classes of images, by a network."""

    run: Positional[str]
    """A run's folder; a folder that timm or cosub export wrote, or hf-hub:OWNER/NAME; a file of weights (with --model);
    or a name of timm's weights (NAME or timm:NAME)."""
    images: Positional[tuple[str, ...]]
    """Image files, or folders of them."""
    top: PositiveInt = 5
    """Classes per image."""
    keep: PositiveShare | None = None
    """Use a submodel with this share of the blocks, spread evenly over depth."""
    device: str = "auto"


def run(words: list[str], as_json: bool) -> dict[str, Any]:
    options = parse(Predict, words, "cosub predict")
    if not options.images:
        raise InputError("IMAGES: is missing; name image files or folders after the run")
    paths, left_out = _paths(options.images)
    from cosub.data.pixels import decoded, rule_of
    from cosub.data.sources import BadImage
    from cosub.data.sources.walking import told
    from cosub.evaluation.networks import layers_kept, open_network
    from cosub.evaluation.prediction import probabilities
    from cosub.runs import distributed
    from cosub.runs.folder import require_classification

    candidate = open_network(options.run, options.model, options.resolution, **options.inputs())
    recipe = candidate.recipe
    require_classification(recipe, options.run)
    device = distributed.join(options.device).device
    network = candidate.network.to(device)
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
    if bad and not predictions:
        raise InputError(f"images: {bad[0]}: cannot be read as an image")
    say([f"weights: {line}" for line in candidate.messages])
    if not as_json:
        _print(predictions, bad, told(left_out))
    skipped = [item._asdict() for item in left_out]
    return {"run": options.run, "predictions": predictions, "bad_images": bad, "skipped": skipped}


def _paths(names: tuple[str, ...]) -> tuple[list[Path], tuple["LeftOut", ...]]:
    """The images, and which files of the folders are left out."""
    from cosub.data.sources import EXTENSIONS
    from cosub.data.sources.walking import Branch, Notes, told

    found: list[Path] = []
    notes = Notes()
    for name in names:
        path = Path(name)
        if path.is_dir():
            inside = Branch(path, notes)
            if not inside.everything:
                left = told(notes.left_out())
                but = f", but {left}" if left else ""
                raise InputError(f"images: {name}: the folder has no images ({' '.join(EXTENSIONS)}){but}")
            found += inside.everything
        elif path.is_file():
            found.append(path)
        else:
            raise InputError(f"images: {name}: is neither a file nor a folder")
    return found, notes.left_out()


def _print(predictions: list[dict[str, Any]], bad: list[str], left_out: str) -> None:
    for prediction in predictions:
        classes = "  ".join(f"{item['class']} {item['probability']:.3f}" for item in prediction["classes"])
        print(f"{prediction['image']}: {classes}")
    say([f"cannot be read: {name}" for name in bad] + ([f"not read: {left_out}"] if left_out else []))
