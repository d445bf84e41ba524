"""Figure B.1: accuracy against parameters, FLOPs and measured time, for each run at one or more resolutions."""

import dataclasses
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from cosub.analysis.overfitting import accuracy
from cosub.analysis.subjects import Subject
from cosub.data.sources import Examples
from cosub.runs.counting import Ledger, count_parameters
from cosub.runs.distributed import World
from cosub.runs.drawing import looks, named, panels, save
from cosub.runs.network import build_network
from cosub.runs.timing import time_in_turns
from cosub.weights.loading import load_weights

_MEASURES = {
    "parameters_m": "parameters, millions",
    "gflops": "FLOPs per image, billions",
    "ms_per_image": "time per image, ms",
}


@dataclass(frozen=True)
class Point:
    """A run at a resolution: millions of parameters, billions of multiply-accumulates and milliseconds per image.

    As in the paper, FLOPs are multiply-accumulates of one forward pass.
    """

    run: str
    resolution: int
    parameters_m: float
    gflops: float
    ms_per_image: float
    top1: float
    num_images: int


def at_resolution(subject: Subject, resolution: int, device: torch.device) -> Subject:
    """The run's network at another resolution, with its position embedding resampled, without further training.

    Raises:
        InputError: if the network cannot be built at that resolution.
    """
    if resolution == subject.recipe.resolution:
        return subject
    recipe = dataclasses.replace(subject.recipe, resolution=resolution)
    network = build_network(recipe, len(subject.classes), copies=1).eval()
    load_weights(network, subject.path)
    return dataclasses.replace(subject, recipe=recipe, network=network.to(device))


def tradeoff(
    subjects: Sequence[Subject],
    examples: Examples,
    world: World,
    repeats: int = 10,
    batch_size: int = 256,
    workers: int = 0,
    advance: Callable[[int], object] = lambda images: None,
) -> list[Point]:
    """Accuracy and cost of each network. Times are medians; the networks alternate in this process.

    `advance` is called with the number of images after each network.
    """
    seconds = time_forward(
        [subject.network for subject in subjects], [_batch(s, batch_size) for s in subjects], repeats
    )
    points = []
    for subject, spent in zip(subjects, seconds, strict=True):
        result = accuracy(subject, examples, world, batch_size, workers)
        parameters = count_parameters(subject.network)
        cost = macs(subject.network, _batch(subject, 1)) / 1e9
        milliseconds = 1e3 * spent / batch_size
        sizes = (subject.recipe.resolution, parameters / 1e6, cost, milliseconds)
        points.append(Point(subject.name, *sizes, result.top1, result.num_images))
        advance(len(examples.labels))
    return points


def macs(network: nn.Module, image: Tensor) -> int:
    """Multiply-accumulates of a forward pass in eval mode, counted while it runs."""
    network.eval()
    with torch.no_grad(), Ledger(()) as ledger:
        network(image)
    return ledger.flops // 2


def time_forward(networks: Sequence[nn.Module], batches: Sequence[Tensor], repeats: int) -> list[float]:
    """Median seconds of a forward pass of each network on its batch, in eval mode. The networks alternate."""
    calls = [(network.eval(), batch) for network, batch in zip(networks, batches, strict=True)]
    with torch.no_grad():
        return [statistics.median(taken) for taken in time_in_turns(batches[0].device, calls, repeats)]


def _batch(subject: Subject, images: int) -> Tensor:
    pixels = subject.recipe.resolution
    return torch.zeros(images, 3, pixels, pixels, device=next(subject.network.parameters()).device)


def draw(points: Sequence[Point], ways: Mapping[str, str], target: Path) -> None:
    """Draw a panel per measure of cost; a line joins the resolutions of a run, which label its points.

    `ways` are those in which the runs were trained, by name.
    """
    figure, (axes,) = panels(9, 3.2, "Accuracy of full networks, and their cost", columns=len(_MEASURES), sharey=True)
    runs = list(dict.fromkeys(point.run for point in points))
    several = len({(point.run, point.resolution) for point in points}) > len(runs)
    for panel, (measure, title) in zip(axes, _MEASURES.items(), strict=True):
        for index, (run, style) in enumerate(zip(runs, looks([ways[run] for run in runs]), strict=True)):
            mine = [point for point in points if point.run == run]
            places = [(getattr(point, measure), 100 * point.top1) for point in mine]
            panel.plot(*zip(*places, strict=True), label=named(run, ways[run]), **style)
            for point, place in zip(mine if several else (), places, strict=False):
                note = {"xytext": (5, 4 if index % 2 else -9), "textcoords": "offset points", "fontsize": 7}
                panel.annotate(str(point.resolution), place, **note)
        panel.set(xlabel=title)
        panel.margins(0.15)
        panel.locator_params(axis="x", nbins=4)
    axes[0].set(ylabel="top-1, %")
    note = "; numbers at the marks: resolution in pixels" if several else ""
    save(figure, target, f"FLOPs: multiply-accumulates of a forward pass, as in the paper{note}")
