"""Figure D.2: accuracy and loss of a network without one block, or without one residual layer."""

import itertools
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cosub.analysis.subjects import Subject, short
from cosub.choices import Unit
from cosub.evaluation.images import Images
from cosub.evaluation.submodels import Kept, evaluate_submodels
from cosub.runs.drawing import looks, named, panels, save


@dataclass(frozen=True)
class Ablation:
    """A submodel without one unit on a set of images; the full network if `left_out` is None."""

    run: str
    unit: Unit
    left_out: int | None
    set: str
    top1: float
    loss: float
    missing: tuple[int, ...]


@dataclass(frozen=True)
class Agreement:
    """Spearman's rank correlation between two sets over the units of a run: rho, and the p-value of no correlation.

    None where it is undefined: for fewer than three units, or if all are equal.
    """

    run: str
    unit: Unit
    sets: tuple[str, str]
    top1_rho: float | None
    top1_p: float | None
    loss_rho: float | None
    loss_p: float | None


def units(layers_per_block: Sequence[int], unit: Unit) -> list[tuple[int, ...]]:
    """The residual layers of each block, or each layer alone."""
    if unit == "layer":
        return [(layer,) for layer in range(sum(layers_per_block))]
    ends = itertools.accumulate(layers_per_block)
    return [tuple(range(end - count, end)) for end, count in zip(ends, layers_per_block, strict=True)]


def ablate(
    subject: Subject,
    sets: dict[str, Images],
    unit: Unit,
    batch_size: int = 256,
    advance: Callable[[int], object] = lambda images: None,
) -> list[Ablation]:
    """The full network and each submodel without one unit, with factor 1, on each set of images.

    `advance` is called with the number of images that passed through a submodel.
    """
    left_out = [(), *units(subject.layers_per_block, unit)]
    submodels = [Kept(tuple(sorted(set(range(subject.num_layers)) - set(missing)))) for missing in left_out]
    found = []
    for name, images in sets.items():
        top1, loss = evaluate_submodels(
            subject.network,
            images,
            submodels,
            loss=subject.recipe.method.targets,
            batch_size=batch_size,
            advance=advance,
        )
        for index, (missing, right, wrong) in enumerate(zip(left_out, top1.tolist(), loss.tolist(), strict=True)):
            found.append(Ablation(subject.name, unit, index - 1 if missing else None, name, right, wrong, missing))
    return found


def agreement(found: Sequence[Ablation]) -> Agreement:
    """The rank correlation of the units between two sets, for the ablations of one run on these sets."""
    first, second = dict.fromkeys(item.set for item in found)
    parts = [[item for item in found if item.set == name and item.missing] for name in (first, second)]
    top1 = _spearman(*([item.top1 for item in part] for part in parts))
    loss = _spearman(*([item.loss for item in part] for part in parts))
    return Agreement(found[0].run, found[0].unit, (first, second), *top1, *loss)


def _spearman(first: Sequence[float], second: Sequence[float]) -> tuple[float | None, float | None]:
    from scipy.stats import ConstantInputWarning, spearmanr

    if len(first) < 3:
        return None, None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConstantInputWarning)
        result: Any = spearmanr(first, second)
    rho, p = float(result.statistic), float(result.pvalue)
    return (None, None) if math.isnan(rho) else (rho, p)


def draw(found: Sequence[Ablation], agreements: Sequence[Agreement], ways: Mapping[str, str], target: Path) -> None:
    """Draw a row for each run: top-1 and loss without each unit, and the losses on the two sets against each other.

    `ways` are those in which the runs were trained, by name.
    """
    unit = agreements[0].unit
    title = f"The network without one {unit if unit == 'block' else 'residual layer'}"
    figure, axes = panels(9, 2.7 * len(agreements) + 0.2, title, len(agreements), 3)
    styles = looks([ways[agreed.run] for agreed in agreements])
    for row, agreed, style in zip(axes, agreements, styles, strict=True):
        mine = [item for item in found if item.run == agreed.run]
        for panel, value, factor in zip(row, ("top1", "loss"), (100, 1), strict=False):
            for line, face, name in zip(("-", ":"), (style["color"], "white"), agreed.sets, strict=True):
                part = [item for item in mine if item.set == name]
                look = {**style, "linestyle": line, "markerfacecolor": face}
                values = [factor * getattr(item, value) for item in part if item.missing]
                panel.plot(
                    range(len(values)), values, label=f"{named(agreed.run, ways[agreed.run])}, {short(name)}", **look
                )
                full = next(factor * getattr(item, value) for item in part if not item.missing)
                panel.axhline(full, color=style["color"], linestyle=line, linewidth=0.8, alpha=0.6)
            panel.xaxis.get_major_locator().set_params(integer=True)
            panel.set(xlabel=f"{unit} left out", ylabel="top-1, %" if value == "top1" else "loss")
        _against(row[2], mine, agreed, style)
    note = "with markers: without one, by its index; level line: the full network"
    save(figure, target, f"{note}\nright: the losses on both sets, and Spearman's rank correlation (rho)")


def _against(panel: Any, mine: Sequence[Ablation], agreed: Agreement, style: Mapping[str, Any]) -> None:
    """Draw the losses on two sets against each other, each unit with its index."""
    first, second = ([item.loss for item in mine if item.set == name and item.missing] for name in agreed.sets)
    panel.plot(first, second, **{**style, "linestyle": "none"})
    for index, place in enumerate(zip(first, second, strict=True)):
        panel.annotate(str(index), place, xytext=(4, 2), textcoords="offset points", fontsize=7)
    panel.locator_params(axis="x", nbins=4)
    rho = "not defined" if agreed.loss_rho is None else f"{agreed.loss_rho:.2f}"
    x, y = map(short, agreed.sets)
    panel.set(xlabel=f"loss, {x}", ylabel=f"loss, {y}", title=f"rho {rho}")
