"""The worst errors as a page of images, and calibration as a picture."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from cosub.data.sources import Examples
from cosub.evaluation.report.calibration import BINS, Calibration, reliability
from cosub.evaluation.report.scoring import Scored
from cosub.runs.drawing import new_figure, tidy
from cosub.runs.names import caption

# Of Okabe and Ito: told apart by all eyes, and in grey.
BLUE, VERMILION = "#0072B2", "#D55E00"
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
    figure = new_figure(1.9 * _COLUMNS, 2.3 * lines + 0.5)
    figure.suptitle(title, fontsize=11, wrap=True)
    axes = figure.subplots(lines, _COLUMNS, squeeze=False).ravel()
    probabilities = scored.probabilities
    for panel, row in zip(axes, rows.tolist(), strict=False):
        predicted, label = int(scored.predicted[row]), int(scored.labels[row])
        image = examples.image(int(scored.places[row]))
        panel.imshow(image, interpolation="nearest" if max(image.size) < 64 else "antialiased")
        lower = [
            f"{word} {_short(classes[index])} ({probabilities[row, index]:.0%})"
            for word, index in (("says", predicted), ("is", label))
        ]
        panel.set_title("\n".join(lower), fontsize=7)
    for panel in axes:
        panel.axis("off")
    figure.savefig(path, dpi=110)


def draw_calibration(measured: Scored, found: Calibration, title: str, path: Path) -> None:
    """A PNG: accuracy against confidence, before and after the temperature, with the share of the images in grey and by
    the size of the marks; and what is right among the most confident images, against their share."""
    figure = new_figure(10, 4.2)
    figure.suptitle(title, fontsize=11, wrap=True)
    left, right = figure.subplots(1, 2)
    _draw_reliability(left, measured, found)
    _draw_rejection(right, measured, found)
    tidy([left, right])
    figure.savefig(path, dpi=110)


def _draw_reliability(axes: Any, measured: Scored, found: Calibration) -> None:
    axes.plot([0, 1], [0, 1], color="black", linewidth=0.8, linestyle=":", label="perfect")
    scaled = (measured.logits / found.temperature).softmax(1).amax(1)
    for confidence, colour, marker, name in (
        (measured.confidence, VERMILION, "s", f"as it is, ECE {found.ece:.1%}"),
        (scaled, BLUE, "o", f"temperature {found.temperature:.2f}, ECE {found.ece_scaled:.1%}"),
    ):
        mean, accuracy, counts = reliability(confidence, measured.right)
        filled = counts > 0
        axes.plot(mean[filled], accuracy[filled], color=colour, linewidth=1, alpha=0.5)
        sizes = 12 + 150 * counts[filled] / len(measured)
        axes.scatter(mean[filled], accuracy[filled], sizes, color=colour, marker=marker, label=name)
    axes.set(xlabel="confidence", ylabel="accuracy", xlim=(0, 1.02), ylim=(0, 1.02))
    axes.legend(frameon=False, fontsize=8, loc="lower left", bbox_to_anchor=(0, 1))
    below = axes.twinx()
    counts = reliability(measured.confidence, measured.right)[2]
    places = (np.arange(BINS) + 0.5) / BINS
    below.bar(places, counts / len(measured), width=0.9 / BINS, color="black", alpha=0.12, label="share of the images")
    below.set(ylim=(0, 4), yticks=[])
    below.spines[["top", "right"]].set_visible(False)


def _draw_rejection(axes: Any, measured: Scored, found: Calibration) -> None:
    order = measured.confidence.argsort(descending=True, stable=True)
    number = np.arange(1, len(order) + 1)
    axes.plot(number / len(order), measured.right[order].numpy().cumsum() / number, color=BLUE)
    marks = [item for item in found.rejections if item.kept and item.measured is not None]
    axes.scatter(
        [item.kept for item in marks], [item.measured for item in marks], color=VERMILION, marker="s", zorder=3
    )
    for index, item in enumerate(marks):
        text = f"{item.confidence:.3f} for {item.precision:.0%} "
        axes.annotate(text, (item.kept, item.measured), fontsize=8, ha="right", va=("top", "bottom")[index % 2])
    axes.set(xlabel="share of images kept, the most confident first", ylabel="accuracy of those kept", xlim=(0, 1.02))
    axes.set_title("squares: least confidence, for a precision", fontsize=9)


def _short(name: str) -> str:
    return caption(name if len(name) <= _LONG else f"{name[: _LONG - 1]}…")
