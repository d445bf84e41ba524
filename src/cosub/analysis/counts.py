"""Appendix D.1: how many submodels have a given number of residual layers, and how often training draws them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cosub.runs.drawing import logarithmic, looks, named, panels, save, shades

_PLAIN = 10**6  # submodels up to which their number is written without powers of ten


@dataclass(frozen=True)
class Count:
    """The submodels with `kept` of a network's layers, and the probability that a row in training runs one."""

    name: str
    num_layers: int
    drop_rate: float
    kept: int
    submodels: int
    probability: float


def counts(name: str, rates: Sequence[float]) -> list[Count]:
    """Figure D.1 for layers with these drop rates, from none kept to all.

    The number of submodels is a binomial coefficient. A row passes through each layer independently of the others, also
    where a fixed number of rows is kept, so with equal rates the probability is binomial.
    """
    probabilities = [1.0]
    for rate in rates:
        stays, grows = [*probabilities, 0.0], [0.0, *probabilities]
        probabilities = [rate * a + (1 - rate) * b for a, b in zip(stays, grows, strict=True)]
    layers = len(rates)
    mean = sum(rates) / layers
    return [
        Count(name, layers, mean, kept, math.comb(layers, kept), probability)
        for kept, probability in enumerate(probabilities)
    ]


def draw(found: Sequence[Count], ways: Mapping[str, str], target: Path) -> None:
    """Draw the number of submodels on a logarithmic scale, and beside it the probability. `ways` are those of runs, by
    name; there are none where drop rates are drawn."""
    title = "How many submodels there are, and how often training draws them"
    figure, ((numbers, probabilities),) = panels(8, 3.2, title, columns=2)
    names = list(dict.fromkeys(count.name for count in found))
    styles = looks([ways[name] for name in names]) if ways else shades(len(names))
    for name, style in zip(names, styles, strict=True):
        mine = [count for count in found if count.name == name]
        kept = [count.kept for count in mine]
        look = {**style, "markevery": max(1, len(mine) // 12)}
        numbers.plot(kept, [float(count.submodels) for count in mine], **look)
        probabilities.plot(
            kept,
            [count.probability for count in mine],
            label=f"{named(name, ways[name])}, drop rate {mine[0].drop_rate:.3g}" if ways else name,
            **look,
        )
    numbers.set(xlabel="residual layers kept", ylabel="number of submodels", yscale="log")
    if max(count.submodels for count in found) < _PLAIN:
        logarithmic(numbers, "y")
    probabilities.set(xlabel="residual layers kept", ylabel="probability in training", ylim=(0, None))
    save(figure, target)
