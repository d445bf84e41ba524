"""The worst errors as a page of images, and calibration as a picture."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from cosub.data.sources import Examples
from cosub.evaluation.report.calibration import BINS, Calibration, reliability
from cosub.evaluation.report.scoring import Scored
from cosub.runs.drawing import look, panels, save
from cosub.runs.names import caption

_COLUMNS = 6
_LONG = 22  # letters of a class in a title


def worst(scored: Scored, number: int) -> Tensor:
    """The rows of the errors in which the true class has the lowest probability, the worst first."""
    truth = scored.logits.log_softmax(1).gather(1, scored.labels[:, None]).squeeze(1)
    order = truth.argsort(stable=True)
    return order[~scored.right[order]][:number]


def draw_errors(
    scored: Scored, examples: Examples, classes: Sequence[str], rows: Tensor, title: str, path: Path
) -> None:
    """A PNG of these images, with the predicted and the true class and their probabilities."""
    lines = -(-len(rows) // _COLUMNS)
    figure, axes = panels(1.6 * _COLUMNS, 2.0 * lines + 0.5, title, lines, _COLUMNS)
    probabilities = scored.probabilities
    for panel, row in zip(axes.flat, rows.tolist(), strict=False):
        predicted, label = int(scored.predicted[row]), int(scored.labels[row])
        image = examples.image(int(scored.places[row]))
        panel.imshow(image, interpolation="nearest" if max(image.size) < 64 else "antialiased")
        lower = [
            f"{word} {_short(classes[index])} ({probabilities[row, index]:.0%})"
            for word, index in (("says", predicted), ("is", label))
        ]
        panel.set_title("\n".join(lower), fontsize=7)
    for panel in axes.flat:
        panel.axis("off")
    save(figure, path)


def draw_calibration(measured: Scored, found: Calibration, title: str, path: Path) -> None:
    """A PNG: accuracy against confidence, before and after the temperature, with the share of the images in grey and by
    the size of the marks; and what is right among the most confident images, against their share."""
    figure, ((left, right),) = panels(9, 3.8, title, columns=2)
    _draw_reliability(left, measured, found)
    _draw_rejection(right, measured, found)
    save(figure, path, f"ECE: expected calibration error over {BINS} bins of confidence; a mark is a bin")


def _draw_reliability(axes: Any, measured: Scored, found: Calibration) -> None:
    axes.plot([0, 1], [0, 1], color="black", linewidth=0.8, linestyle=":", label="perfectly calibrated")
    scaled = (measured.logits / found.temperature).softmax(1).amax(1)
    for place, confidence, name in (
        (0, measured.confidence, f"as it is, ECE {found.ece:.1%}"),
        (3, scaled, f"logits divided by {found.temperature:.2f}, ECE {found.ece_scaled:.1%}"),
    ):
        mean, accuracy, counts = reliability(confidence, measured.right)
        filled, style = counts > 0, look(place)
        axes.plot(mean[filled], accuracy[filled], color=style["color"], linewidth=1, alpha=0.5)
        sizes = 12 + 150 * counts[filled] / len(measured)
        places = mean[filled], accuracy[filled]
        axes.scatter(*places, sizes, color=style["color"], marker=style["marker"], alpha=0.8, label=name)
    axes.set(xlabel="confidence (probability of the predicted class)", ylabel="accuracy", xlim=(0, 1.03))
    axes.set(ylim=(0, 1.03), title="Accuracy at each confidence")
    counts = reliability(measured.confidence, measured.right)[2]
    places = (np.arange(BINS) + 0.5) / BINS
    bars = {"width": 0.9 / BINS, "color": "black", "alpha": 0.12, "zorder": 0}
    axes.bar(places, counts / len(measured), **bars, label="share of the images in a bin, as it is")


def _draw_rejection(axes: Any, measured: Scored, found: Calibration) -> None:
    order = measured.confidence.argsort(descending=True, stable=True)
    number = np.arange(1, len(order) + 1)
    axes.plot(number / len(order), measured.right[order].numpy().cumsum() / number, color=look(0)["color"])
    marks = [item for item in found.rejections if item.kept and item.measured is not None]
    for place, item in enumerate(marks, 1):
        style = {**look(place), "linestyle": "none", "markersize": 8, "zorder": 3}
        name = f"reject below {item.confidence:.3f}, chosen for {item.precision:.4g}"
        axes.plot([item.kept], [item.measured], **style, label=name)
    axes.set(xlabel="share of images kept, the most confident first", ylabel="accuracy of those kept", xlim=(0, 1.03))
    axes.set_title("Accuracy where the others are rejected")


def _short(name: str) -> str:
    return caption(name if len(name) <= _LONG else f"{name[: _LONG - 1]}…")
