"""A page of test images with their true and predicted classes."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from cosub.data.sources import BadImage, Examples, spaced
from cosub.data.transforms import evaluation, normalize
from cosub.errors import InputError
from cosub.evaluation.accuracy import logits_of
from cosub.recipes.inputs import Inputs
from cosub.runs.drawing import panels, save
from cosub.runs.names import caption

WRONG = "#D55E00"  # vermilion: read by all eyes


def show_examples(
    network: nn.Module,
    examples: Examples,
    classes: Sequence[str],
    resolution: int,
    inputs: Inputs,
    number: int,
    target: Path,
    layers: Sequence[int] | None = None,
) -> None:
    """Write a PNG of `number` test images, evenly spaced over the set; wrong predictions have two lines, in colour.

    `layers` are the residual layers of a submodel; by default the full network is used.

    Raises:
        InputError: if none of them can be read.
    """
    transform = evaluation(resolution, inputs)
    shown = []
    for place in spaced(len(examples.labels), number):
        try:
            shown.append((examples.image(place), examples.labels[place]))
        except BadImage:
            continue
    if not shown:
        raise InputError(f"show: {number}: none of these images can be read; leave it out")
    device = next(network.parameters()).device
    batch = torch.stack([torch.as_tensor(transform(image)) for image, _ in shown]).to(device)
    with torch.inference_mode():
        probabilities = logits_of(network, normalize(batch, inputs), layers).softmax(1).cpu()
    columns = min(8, len(shown))
    rows = -(-len(shown) // columns)
    of = f"{len(shown)} of {len(examples.labels):,} images"
    title = f"{of}: the predicted class and its probability; where wrong, the true class"
    figure, axes = panels(max(1.5 * columns, 4.5), 1.75 * rows, title, rows, columns)
    for panel, (image, label), row in zip(axes.flat, shown, probabilities, strict=False):
        predicted = int(row.argmax())
        panel.imshow(image)
        panel.set_title(
            f"{caption(classes[predicted])} {row[predicted]:.0%}"
            + ("" if predicted == label else f"\nis {caption(classes[int(label)])}"),
            fontsize=7,
            color="black" if predicted == label else WRONG,
        )
    for panel in axes.flat:
        panel.axis("off")
    save(figure, target)
