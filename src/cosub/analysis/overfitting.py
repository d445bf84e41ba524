"""Figure 5: accuracy of several runs on several sets of images, against one another."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cosub.analysis.subjects import Subject, short
from cosub.data.sources import Examples
from cosub.evaluation.accuracy import Result, evaluate
from cosub.runs.distributed import World
from cosub.runs.drawing import looks, named, panels, save


@dataclass(frozen=True)
class Accuracy:
    """Top-1 in [0, 1] of a run's full network on a set of images."""

    run: str
    set: str
    top1: float
    num_images: int


def accuracy(subject: Subject, examples: Examples, world: World, batch_size: int, workers: int) -> Result:
    """Evaluate a run's full network as `cosub evaluate` does, on any images of its classes."""
    return evaluate(
        subject.network,
        examples,
        len(subject.classes),
        subject.recipe.resolution,
        world,
        inputs=subject.recipe.inputs,
        batch_size=batch_size,
        workers=workers,
        bad_share=subject.recipe.bad_share,
    )


def overfitting(
    subjects: Sequence[Subject],
    sets: Mapping[str, Examples],
    world: World,
    batch_size: int = 256,
    workers: int = 0,
    advance: Callable[[int], object] = lambda images: None,
) -> list[Accuracy]:
    """Evaluate each run on each set. `advance` is called with the number of images after each."""
    found = []
    for subject in subjects:
        for name, examples in sets.items():
            result = accuracy(subject, examples, world, batch_size, workers)
            found.append(Accuracy(subject.name, name, result.top1, result.num_images))
            advance(len(examples.labels))
    return found


def draw(found: Sequence[Accuracy], ways: Mapping[str, str], target: Path) -> None:
    """Draw a panel for each set but the first: accuracy on it against that on the first, and the line of equality.

    `ways` are those in which the runs were trained, by name.
    """
    first, *others = dict.fromkeys(item.set for item in found)
    values = {(item.run, item.set): 100 * item.top1 for item in found}
    runs = list(dict.fromkeys(item.run for item in found))
    low, high = min(values.values()), max(values.values())
    room = max(0.05 * (high - low), 0.5)
    size = max(3.4 * len(others), 4.6), 3.4
    figure, axes = panels(*size, "Top-1 of full networks on several sets of images", columns=len(others))
    for panel, other in zip(axes[0], others, strict=True):
        ends = [low - room, high + room]
        panel.plot(ends, ends, color="gray", linewidth=0.8, label="equal")
        for run, style in zip(runs, looks([ways[run] for run in runs]), strict=True):
            look = {**style, "linestyle": "none", "markersize": 7}
            panel.plot(values[run, first], values[run, other], label=named(run, ways[run]), **look)
        panel.set(xlabel=f"top-1 on {short(first)}, %", ylabel=f"top-1 on {short(other)}, %", xlim=ends, ylim=ends)
    save(figure, target)
