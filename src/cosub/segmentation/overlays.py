"""Scenes with their labels and a network's predictions, in colours."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.transforms.v2 import functional

from cosub.data.decoding import BadImage
from cosub.data.sources import spaced
from cosub.errors import InputError
from cosub.runs.drawing import panels, save
from cosub.runs.names import caption
from cosub.segmentation.evaluation import Viewer, drive_alone
from cosub.segmentation.losses import IGNORE
from cosub.segmentation.palette import palette
from cosub.segmentation.scenes import SceneExamples

_OPACITY = 0.6
_LEGEND = 24  # maximum number of classes


def show_scenes(
    network: nn.Module,
    examples: SceneExamples,
    classes: Sequence[str],
    look: Viewer,
    number: int,
    target: Path,
    photographs: bool = True,
    layers: Sequence[int] | None = None,
) -> None:
    """Write a PNG of `number` scenes, evenly spaced over the set: the image, its labels, the network's prediction.

    Ignored pixels are black in the labels, and void in the legend. Without `photographs` there are only the two maps.
    `layers` are the residual layers of a submodel; by default the full network is used.

    Raises:
        InputError: if none of them can be read.
    """
    shown = _read(examples, number)
    if not shown:
        raise InputError(f"show: {number}: none of these scenes can be read; leave it out")
    probabilities = [drive_alone(look.probabilities(image), network, look, layers) for image, _ in shown]
    predictions = [found.argmax(0).byte().cpu() for found in probabilities]
    colours = palette(len(classes))
    titles = ["photograph", "labels", "prediction"] if photographs else ["labels", "prediction"]
    ratio = shown[0][0].shape[1] / shown[0][0].shape[2]
    size = 2.4 * len(titles), (2.4 * ratio + 0.05) * len(shown) + 0.6
    figure, axes = panels(*size, f"{len(shown)} scenes: {', '.join(titles)}", len(shown), len(titles))
    for row, (image, labels), prediction in zip(axes, shown, predictions, strict=True):
        under = image.permute(1, 2, 0).numpy()
        pictures = [under] if photographs else []
        pictures += [painted(under if photographs else None, values, colours) for values in (labels, prediction)]
        for panel, pixels in zip(row, pictures, strict=True):
            panel.imshow(pixels, interpolation="nearest")
            panel.axis("off")
    for panel, title in zip(axes[0], titles, strict=True):
        panel.set_title(title)
    patches, more = _legend(classes, colours, [labels for _, labels in shown] + predictions)
    save(figure, target, more, patches)


def _read(examples: SceneExamples, number: int) -> list[tuple[Tensor, Tensor]]:
    shown = []
    for place in spaced(len(examples.labels), number):
        try:
            image, labels = examples.pair(place)
        except BadImage:
            continue
        shown.append((functional.pil_to_tensor(image), labels))
    return shown


def painted(under: np.ndarray | None, labels: Tensor, colours: np.ndarray) -> np.ndarray:
    """The colours of labels, over an image if there is one; black where the label is ignored."""
    table = np.zeros((IGNORE + 1, 3), np.uint8)
    table[: len(colours)] = colours
    painted = table[labels.numpy()]
    if under is None:
        return painted
    return (_OPACITY * painted + (1 - _OPACITY) * under).astype(np.uint8)


def _legend(classes: Sequence[str], colours: np.ndarray, maps: list[Tensor]) -> tuple[list[Any], str]:
    """Patches of the classes with the most pixels and of ignored pixels, and a word where there are more classes."""
    from matplotlib.patches import Patch

    counts = torch.bincount(torch.cat([values.flatten() for values in maps]), minlength=IGNORE + 1)
    there = [index for index in counts[:IGNORE].argsort(descending=True).tolist() if counts[index]]
    patches = [
        Patch(color=tuple((colours[index] / 255).tolist()), label=caption(classes[int(index)]))
        for index in sorted(there[:_LEGEND])
    ]
    void = [Patch(color="black", label="void: no label, not scored")] if counts[IGNORE] else []
    more = f"the {_LEGEND} classes with the most pixels, of {len(there)}" if len(there) > _LEGEND else ""
    return patches + void, more
