"""What is taken for what: the confusion matrix as a table and as a picture, and its figures by class."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from cosub.runs.drawing import panels, save
from cosub.runs.names import caption, write_rows

_NUMBERED = 15  # classes at most whose cells have their numbers
_NAMED = 60  # classes at most that have their names beside the picture
_LONG = 24  # letters of a name in a picture


@dataclass(frozen=True)
class ClassRow:
    """Of one class. Shares in [0, 1]; None where nothing is of the class (recall) or was taken for it (precision)."""

    name: str
    number: int
    """Images, or pixels."""
    recall: float | None
    precision: float | None
    iou: float | None
    taken_for: str
    """The class that it is most often mistaken for; empty: none."""


def by_class(matrix: Int[Tensor, "C C"], classes: Sequence[str]) -> list[ClassRow]:
    """The rows of `matrix[truth, prediction]`, in the order of the classes."""
    counts = matrix.double()
    right, there, taken = counts.diagonal(), counts.sum(1), counts.sum(0)
    wrong = counts - torch.diag(right)
    others: list[int] = wrong.argmax(1).tolist()
    return [
        ClassRow(
            name,
            int(there[index]),
            _share(right[index], there[index]),
            _share(right[index], taken[index]),
            _share(right[index], there[index] + taken[index] - right[index]),
            classes[others[index]] if wrong[index].any() else "",
        )
        for index, name in enumerate(classes)
    ]


def _share(part: Tensor, whole: Tensor) -> float | None:
    return round(float(part / whole), 6) if whole else None


def mistakes(matrix: Int[Tensor, "C C"], classes: Sequence[str], number: int) -> Iterator[tuple[str, str, int]]:
    """The most frequent pairs of truth and prediction that differ, and how often."""
    wrong = matrix - torch.diag(matrix.diagonal())
    for place in wrong.flatten().argsort(descending=True, stable=True)[:number].tolist():
        truth, prediction = divmod(int(place), len(classes))
        if wrong[truth, prediction]:
            yield classes[truth], classes[prediction], int(wrong[truth, prediction])


def write_matrix(matrix: Int[Tensor, "C C"], classes: Sequence[str], path: Path) -> None:
    """A CSV file: rows are the truth, columns the prediction."""
    rows = ([name, *row] for name, row in zip(classes, matrix.tolist(), strict=True))
    write_rows(path, ["truth \\ prediction", *classes], rows)


def draw_matrix(matrix: Int[Tensor, "C C"], classes: Sequence[str], title: str, unit: str, path: Path) -> None:
    """A PNG: each row is a class, its colours the shares of its images (or pixels, `unit`) by prediction."""
    counts = matrix.double().numpy()
    shares = np.divide(
        counts, counts.sum(1, keepdims=True), out=np.zeros_like(counts), where=counts.sum(1, keepdims=True) > 0
    )
    side = min(4.0 + 0.28 * len(classes), 16.0)
    figure, ((axes,),) = panels(side + 1.2, side, title)
    axes.grid(visible=False)
    image = axes.imshow(shares, cmap="cividis", vmin=0, vmax=1)
    figure.colorbar(image, ax=axes, label=f"share of the true class's {unit}", shrink=0.8)
    axes.set(xlabel="predicted class", ylabel="true class")
    if len(classes) <= _NAMED:
        names = [caption(name if len(name) <= _LONG else f"{name[: _LONG - 1]}…") for name in classes]
        size = 8 if len(classes) <= 30 else 6
        axes.set_xticks(range(len(classes)), names, rotation=90, fontsize=size)
        axes.set_yticks(range(len(classes)), names, fontsize=size)
    if len(classes) <= _NUMBERED:
        for (row, column), share in np.ndenumerate(shares):
            if counts[row, column]:
                colour = "black" if share > 0.5 else "white"
                text = f"{int(counts[row, column]):,}" if unit == "images" else f"{share:.0%}"
                axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=8)
    save(figure, path)
