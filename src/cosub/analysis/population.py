"""Figure 4: accuracy of random submodels against the number of residual layers that they keep."""

import itertools
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from cosub.analysis.subjects import Subject
from cosub.errors import InputError
from cosub.evaluation.images import Images
from cosub.evaluation.submodels import Kept, evaluate_submodels
from cosub.runs.drawing import looks, named, panels, save
from cosub.seeds import derive

SCALES = {"1": 1.0, "L/k": "expectation"}
_TITLES = {"1": "branches unscaled", "L/k": "branches times all layers / layers kept"}


@dataclass(frozen=True)
class Member:
    """One submodel: its run, the factor of its branches ("1" or "L/k"), the residual layers that it keeps."""

    run: str
    scale: str
    kept: int
    top1: float
    loss: float
    layers: tuple[int, ...]


@dataclass(frozen=True)
class Depth:
    """All submodels of a run with one factor and one number of layers: top-1 in [0, 1], and the mean loss.

    `low` and `high` are the first and the last decile, because top-1 is skewed. `best` is selected on the same images,
    so its accuracy is optimistic.
    """

    run: str
    scale: str
    kept: int
    num_layers: int
    submodels: int
    mean: float
    deviation: float
    least: float
    low: float
    high: float
    best: float
    loss: float
    best_layers: tuple[int, ...]


def choose_depths(num_layers: int) -> list[int]:
    """A quarter of the layers to all of them, in at most seven steps."""
    return sorted({max(1, round(num_layers * eighth / 8)) for eighth in range(2, 9)})


def check_depths(subjects: Sequence[Subject], depths: Sequence[int]) -> None:
    """Raise InputError for a number of layers that a run does not have."""
    for kept, subject in itertools.product(depths, subjects):
        if not 1 <= kept <= subject.num_layers:
            raise InputError(f"keep: {kept}: {subject.name} has {subject.num_layers} residual layers; keep 1 to all")


def draw_layers(num_layers: int, kept: int, number: int, seed: int) -> list[tuple[int, ...]]:
    """`number` distinct submodels with `kept` of the layers, all equally likely; all of them if there are no more."""
    if math.comb(num_layers, kept) <= number:
        return list(itertools.combinations(range(num_layers), kept))
    generator = torch.Generator().manual_seed(derive("population", seed, num_layers, kept))
    found: dict[tuple[int, ...], None] = {}
    while len(found) < number:
        found[tuple(sorted(torch.randperm(num_layers, generator=generator)[:kept].tolist()))] = None
    return list(found)


def plan(subject: Subject, depths: Sequence[int], number: int, seed: int) -> list[tuple[str, Kept]]:
    """The submodels of a run, each with both factors. Runs with equally many layers get the same ones."""
    chosen = [
        layers
        for kept in depths or choose_depths(subject.num_layers)
        for layers in draw_layers(subject.num_layers, kept, number, seed)
    ]
    return [
        (name, Kept(layers, scale))  # pyright: ignore[reportArgumentType]
        for name, scale in SCALES.items()
        for layers in chosen
    ]


def population(
    subject: Subject,
    images: Images,
    planned: Sequence[tuple[str, Kept]],
    batch_size: int = 256,
    advance: Callable[[int], object] = lambda images: None,
) -> list[Member]:
    """Accuracy and loss of the planned submodels. `advance` is called with the number of images that passed one."""
    top1, loss = evaluate_submodels(
        subject.network,
        images,
        [kept for _, kept in planned],
        loss=subject.recipe.method.targets,
        batch_size=batch_size,
        advance=advance,
    )
    return [
        Member(subject.name, scale, len(kept.layers), right, wrong, kept.layers)
        for (scale, kept), right, wrong in zip(planned, top1.tolist(), loss.tolist(), strict=True)
    ]


def by_depth(members: Sequence[Member], num_layers: int) -> list[Depth]:
    """Statistics of one run's population: mean, standard deviation, minimum and maximum by depth and factor."""
    groups: dict[tuple[str, int], list[Member]] = {}
    for member in members:
        groups.setdefault((member.scale, member.kept), []).append(member)
    return [_depth(group, num_layers) for group in groups.values()]


def _depth(group: Sequence[Member], num_layers: int) -> Depth:
    values = [member.top1 for member in group]
    best = max(group, key=lambda member: (member.top1, -member.loss))
    low, high = np.quantile(values, (0.1, 0.9)).tolist()
    return Depth(
        run=best.run,
        scale=best.scale,
        kept=best.kept,
        num_layers=num_layers,
        submodels=len(group),
        mean=statistics.fmean(values),
        deviation=statistics.pstdev(values),
        least=min(values),
        low=low,
        high=high,
        best=best.top1,
        loss=statistics.fmean(member.loss for member in group),
        best_layers=best.layers,
    )


def draw(depths: Sequence[Depth], ways: Mapping[str, str], target: Path) -> None:
    """Draw a panel for each factor: mean with first and last decile (lines), and the best submodel (hollow).

    `ways` are those in which the runs were trained, by name.
    """
    title = f"Random submodels, at most {max(depth.submodels for depth in depths)} of each number of layers"
    figure, (axes,) = panels(8, 3.2, title, columns=len(SCALES), sharey=True)
    runs = list(dict.fromkeys(depth.run for depth in depths))
    for panel, scale in zip(axes, SCALES, strict=True):
        for index, (run, look) in enumerate(zip(runs, looks([ways[run] for run in runs]), strict=True)):
            curve = [depth for depth in depths if (depth.run, depth.scale) == (run, scale)]
            # Shifted, so that the bars of two runs do not overlap.
            places = [depth.kept + 0.16 * (index - (len(runs) - 1) / 2) for depth in curve]
            means = [100 * depth.mean for depth in curve]
            bars = [[100 * max(0, d.mean - d.low) for d in curve], [100 * max(0, d.high - d.mean) for d in curve]]
            panel.errorbar(places, means, bars, label=named(run, ways[run]), capsize=2.5, elinewidth=0.8, **look)
            hollow = {**look, "linestyle": "none", "markerfacecolor": "white", "markersize": 6}
            panel.plot(places, [100 * depth.best for depth in curve], **hollow)
        ticks = sorted({depth.kept for depth in depths})
        panel.set(xlabel="residual layers kept", title=_TITLES[scale])
        if len(ticks) <= 10:
            panel.set_xticks(ticks)
    axes[0].set(ylabel="top-1, %")
    save(figure, target, "bars: from the first to the last decile of the submodels, not of seeds; hollow: the best")
