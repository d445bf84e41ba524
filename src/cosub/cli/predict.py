"""cosub predict RUN IMAGE|FOLDER ... [--top N] [--keep SHARE]"""

from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tyro.conf import Positional

from cosub.cli.parsing import parse
from cosub.errors import InputError
from cosub.recipes.files import require_run

if TYPE_CHECKING:
    from cosub.data.sources.walking import LeftOut


@dataclass(frozen=True)
class Predict:
    """The most likely classes of images, by a run's network."""

    run: Positional[str]
    """The run's folder."""
    images: Positional[tuple[str, ...]]
    """Image files, or folders of them."""
    top: int = 5
    """Classes an image."""
    keep: float | None = None
    """Use a submodel with this share of the blocks, spread evenly over depth."""
    device: str = "auto"

    def __post_init__(self) -> None:
        if self.top < 1:
            raise InputError(f"top: {self.top}: must be 1 or more")
        if self.keep is not None and not 0 < self.keep <= 1:
            raise InputError(f"keep: {self.keep}: must be in (0, 1]")


def run(words: list[str], as_json: bool) -> dict[str, Any]:
    options = parse(Predict, words, "cosub predict")
    if not options.images:
        raise InputError("IMAGES: is missing; name image files or folders after the run")
    require_run(options.run)
    paths, left_out = _paths(options.images)
    import torch

    from cosub import distributed
    from cosub.attachment import active, layers_per_block
    from cosub.data.pixels import decoded, rule_of
    from cosub.data.sources import BadImage
    from cosub.data.sources.walking import told
    from cosub.data.transforms import evaluation, normalize
    from cosub.run import load_classifier
    from cosub.submodel import evenly, keep_layers

    trained = load_classifier(options.run)
    device = distributed.join(options.device).device
    network = trained.network.to(device)
    per_block = layers_per_block(network)
    submodel = None if options.keep is None else keep_layers(evenly(per_block, options.keep), sum(per_block), 1)
    transform = evaluation(trained.recipe.resolution, trained.recipe.inputs)
    rule = rule_of(trained.recipe.data)
    predictions, bad = [], []
    for path in paths:
        try:
            image = torch.as_tensor(transform(decoded(path, rule)))
        except BadImage as error:
            bad.append(str(error))
            continue
        with torch.inference_mode(), active(network, submodel) if submodel else nullcontext():
            scores = network(normalize(image[None].to(device), trained.recipe.inputs)).softmax(1)[0].cpu()
        values, order = scores.topk(min(options.top, len(scores)))
        classes = [
            {"class": trained.classes[int(index)], "probability": float(value)}
            for index, value in zip(order, values, strict=True)
        ]
        predictions.append({"image": str(path), "classes": classes})
    if bad and not predictions:
        raise InputError(f"images: {bad[0]}: cannot be read as an image")
    if not as_json:
        _print(predictions, bad, told(left_out))
    skipped = [item._asdict() for item in left_out]
    return {"run": options.run, "predictions": predictions, "bad_images": bad, "skipped": skipped}


def _paths(names: tuple[str, ...]) -> tuple[list[Path], tuple["LeftOut", ...]]:
    """The images, and what of the folders is left out."""
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
    import sys

    for prediction in predictions:
        answers = "  ".join(f"{item['class']} {item['probability']:.3f}" for item in prediction["classes"])
        print(f"{prediction['image']}: {answers}")
    for name in bad:
        print(f"cannot be read: {name}", file=sys.stderr)
    if left_out:
        print(f"not read: {left_out}", file=sys.stderr)
