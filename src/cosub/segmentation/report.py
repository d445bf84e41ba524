"""A report on a segmenter: by class, what is taken for what, and the scenes that it does worst on."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor, nn
from torchmetrics.functional.classification import multiclass_confusion_matrix
from torchvision.transforms.v2 import functional

from cosub.data.decoding import BadImage
from cosub.errors import InputError
from cosub.evaluation.report.confusion import ClassRow, by_class, draw_matrix, mistakes, write_matrix
from cosub.runs.names import write_rows, write_text
from cosub.segmentation.evaluation import Viewer, drive_alone, score
from cosub.segmentation.losses import IGNORE
from cosub.segmentation.overlays import show_scenes
from cosub.segmentation.scenes import SceneExamples

_WORST = 8  # scenes in the picture
_PAIRS = 10


@dataclass(frozen=True)
class _Chosen(SceneExamples):
    """Some scenes of a set, in an order of their own."""

    whole: SceneExamples
    places: Sequence[int]

    def pair(self, index: int) -> Any:
        return self.whole.pair(self.places[index])


def write_report(
    network: nn.Module,
    examples: SceneExamples,
    classes: Sequence[str],
    look: Viewer,
    name: str,
    folder: Path,
    layers: Sequence[int] | None = None,
) -> dict[str, Any]:
    """Test a segmenter, which is on the viewer's device, and write what was found into a new or empty folder.

    Args:
        network: the segmenter.
        examples: the scenes.
        classes: their names.
        look: how the network sees a scene.
        name: of the network, for people.
        folder: where to write.
        layers: the residual layers of a submodel; by default the full network.

    Returns:
        the numbers, which are those of report.json.

    Raises:
        InputError: if no scene with a labelled pixel can be read.
    """
    matrix, accuracy, bad = _count(network, examples, len(classes), look, layers)
    if not int(matrix.sum()):
        raise InputError("report: no scene with a labelled pixel can be read; name others with --data.path")
    folder.mkdir(exist_ok=True)
    rows, found = by_class(matrix, classes), score(matrix, classes, len(examples.labels) - len(bad), bad)
    write_matrix(matrix, classes, folder / "confusion.csv")
    title = f"{name}: {found.num_images:,} scenes, mIoU {found.miou:.1%}"
    draw_matrix(matrix, classes, title, "pixels", folder / "confusion.png")
    _write_classes(rows, folder / "classes.csv")
    order = sorted(accuracy, key=lambda place: accuracy[place])
    lines = ([examples.name(place), round(accuracy[place], 6)] for place in order)
    write_rows(folder / "scenes.csv", ("scene", "pixel accuracy"), lines)
    worst = order[:_WORST]
    chosen = _Chosen(len(classes), [examples.labels[place] for place in worst], examples, worst)
    show_scenes(network, chosen, classes, look, len(worst), folder / "worst.png", layers=layers)
    numbers = {"run": name, **found.summary, "bad_images": len(bad), "classes": [asdict(row) for row in rows]}
    write_text(folder / "report.json", json.dumps(numbers, indent=1) + "\n")
    pairs = list(mistakes(matrix, classes, _PAIRS))
    write_text(folder / "report.md", "\n".join(_page(numbers, rows, pairs, int(matrix.sum()))) + "\n")
    return numbers


def _count(
    network: nn.Module, examples: SceneExamples, number: int, look: Viewer, layers: Sequence[int] | None
) -> tuple[Int[Tensor, "C C"], dict[int, float], list[str]]:
    """`matrix[truth, prediction]` in pixels, the pixel accuracy of each scene by its place, and what cannot be read."""
    total, accuracy, bad = torch.zeros(number, number, dtype=torch.long), {}, []
    for place in range(len(examples.labels)):
        try:
            image, labels = examples.pair(place)
        except BadImage as error:
            bad.append(str(error))
            continue
        prediction = (
            drive_alone(look.probabilities(functional.pil_to_tensor(image)), network, look, layers).argmax(0).cpu()
        )
        matrix = multiclass_confusion_matrix(prediction[None], labels[None].long(), number, ignore_index=IGNORE)
        total += matrix
        if int(matrix.sum()):
            accuracy[place] = float(matrix.diagonal().sum() / matrix.sum())
    return total, accuracy, bad


def _write_classes(rows: Sequence[ClassRow], path: Path) -> None:
    titles = ("class", "pixels", "IoU", "accuracy", "precision", "mistaken for")
    values = ([row.name, row.number, row.iou, row.recall, row.precision, row.taken_for] for row in rows)
    write_rows(path, titles, values)


def _page(
    numbers: dict[str, Any], rows: Sequence[ClassRow], pairs: Sequence[tuple[str, str, int]], pixels: int
) -> Iterator[str]:
    yield f"# Report on {numbers['run']}\n"
    yield f"{numbers['num_images']:,} scenes: mIoU {numbers['miou']:.1%}, pixel accuracy {numbers['accuracy']:.1%}."
    yield f"{numbers['bad_images']} scenes cannot be read and are not counted.\n" if numbers["bad_images"] else ""
    yield "## By class\n\n| class | share of pixels | IoU | accuracy | precision | most often mistaken for |"
    yield "|---|---|---|---|---|---|"
    for row in sorted(rows, key=lambda row: (row.iou is None, row.iou or 0.0)):
        iou, recall, precision = ("-" if v is None else f"{v:.1%}" for v in (row.iou, row.recall, row.precision))
        yield f"| {row.name} | {row.number / pixels:.1%} | {iou} | {recall} | {precision} | {row.taken_for or '-'} |"
    yield "\n![Confusion matrix](confusion.png)\n"
    if pairs:
        shares = (f"{a} taken for {b} ({n / pixels:.2%} of the pixels)" for a, b, n in pairs)
        yield f"Most frequent mistakes: {'; '.join(shares)}.\n"
    yield "## The scenes with the lowest pixel accuracy\n\nscenes.csv names all, the worst first.\n"
    yield "![The worst scenes: image, annotation, prediction](worst.png)"
