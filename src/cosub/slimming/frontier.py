"""Accuracy against time and parameters, over depths and strategies, on test images that no choice was made on."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from cosub.choices import Strategy, Unit
from cosub.errors import InputError
from cosub.evaluation.images import Images
from cosub.runs.counting import count_parameters
from cosub.runs.drawing import look, panels, save
from cosub.runs.folder import aside
from cosub.runs.names import write_rows
from cosub.runs.progress import Terminal, progress
from cosub.runs.tables import align, number_of
from cosub.runs.ways import WAYS, way_of
from cosub.slimming.calibration_set import load_at_random
from cosub.slimming.making import Slimmed
from cosub.slimming.request import STRATEGIES, Request
from cosub.slimming.scorer import Layers, accuracy_of, milliseconds
from cosub.slimming.slim import Opened, beside, open_run
from cosub.slimming.strategies import cost, layer_scales

FULL = "full network"
COLUMNS: tuple[str, ...] = ("strategy", "layers", "top1", "milliseconds", "params", "factor", "loss", "kept_layers",
                            "unit", "keep")  # fmt: skip

# Marker, and place in the table of colours; the one to beat is black.
_STYLES = {
    "every-other": ("o", 1),
    "ends": ("v", 2),
    "layerscale": ("P", 5),
    "cosine": ("^", 7),
    "leave-one-out": ("D", 4),
    "greedy": ("s", 3),
    "search": ("*", 0),
    FULL: ("X", 1),
}


def frontier(request: Request) -> dict[str, Any]:
    """Write frontier.csv and frontier.png; gives the points.

    Each depth and strategy is made for real, with its own factor, and measured: top-1 on up to `test_images` test
    images, the shortest of many forward passes, parameters. every-other is always among the strategies.

    Raises:
        InputError: if the run cannot be slimmed so, or the folder is there already.
    """
    out = beside(request, "frontier")
    with aside(out) as place:
        return _frontier(request, out, place)


def _frontier(request: Request, out: Path, place: Path) -> dict[str, Any]:
    """Measures and writes into `place`, which will be `out`."""
    opened = open_run(request)
    recipe = opened.trained.recipe
    wanted, depths = _strategies(request, opened), _depths(request, opened)
    for strategy in wanted:
        cost(strategy, len(opened.units), min(depths), request.evaluations)  # refuses before work is done
    test = load_at_random(opened.source.test, request.test_images, recipe, request.seed, "frontier")
    chosen = _choose(request, opened, wanted)
    points = _measure(request, opened, chosen, test)
    _write(points, place / "frontier.csv")
    plot(points, place / "frontier.png", _title(request, opened, test))
    return {
        "run": request.run,
        "out": str(out),
        "test_images": len(test),
        "scored_on": opened.scored_on,
        "calibration_images": len(opened.scorer.images),
        "latency_batch": request.latency_batch,
        "evaluations": opened.scorer.evaluations,
        "points": points,
    }


def _depths(request: Request, opened: Opened) -> list[int]:
    """Those that were asked for, or eighths of all units, from seven down to two, as far as so few may be left."""
    most, least = len(opened.units), opened.units.least
    eighths = {max(least, round(most * share / 8)) for share in range(2, 8)} - {most}
    return sorted({*request.depths} or eighths or {most}, reverse=True)


def _strategies(request: Request, opened: Opened) -> list[Strategy]:
    """Those that were asked for, every-other first; layerscale only where there is one, unless it was named."""
    wanted: list[Strategy] = [strategy for strategy in STRATEGIES if strategy in {*request.strategies, "every-other"}]
    if set(request.strategies) == set(STRATEGIES):
        try:
            layer_scales(opened.trained.network)
        except InputError:
            Terminal().say("layerscale left out: this network has no LayerScale factors")
            wanted.remove("layerscale")
    return wanted


class Choice(NamedTuple):
    """What a strategy keeps of so many units."""

    strategy: str
    keep: int
    layers: Layers


def _choose(request: Request, opened: Opened, wanted: Sequence[Strategy]) -> list[Choice]:
    depths, units = _depths(request, opened), opened.units
    chosen = [Choice(FULL, len(units), opened.scorer.everything)]
    for strategy in wanted:
        found = opened.choose(strategy, depths, request.evaluations)
        chosen += [Choice(strategy, depth, found[depth]) for depth in depths]
    return chosen


def _measure(request: Request, opened: Opened, chosen: Sequence[Choice], test: Images) -> list[dict[str, Any]]:
    """A point for each choice; the same layers are measured once."""
    made: dict[Layers, Slimmed] = {}
    top1: dict[Layers, float] = {}
    different = list(dict.fromkeys(choice.layers for choice in chosen))
    with progress("measuring", len(different)) as advance:
        for layers in different:
            made[layers] = opened.make(layers)
            top1[layers] = accuracy_of(made[layers].network, test, request.batch_size)
            advance(1)
    networks = [slimmed.network for slimmed in made.values()]
    times = milliseconds(networks, opened.trained.recipe.resolution, request.latency_batch)
    latency = dict(zip(made, times, strict=True))
    kind = opened.units.kind
    return [_point(choice, made[choice.layers], top1[choice.layers], latency[choice.layers], kind) for choice in chosen]


def _point(choice: Choice, slimmed: Slimmed, top1: float, latency: float, unit: Unit) -> dict[str, Any]:
    return {
        "strategy": choice.strategy,
        "layers": len(slimmed.layers),
        "top1": round(top1, 6),
        "milliseconds": latency,
        "params": count_parameters(slimmed.network),
        "factor": slimmed.factor,
        "loss": slimmed.loss,
        "kept_layers": list(slimmed.recipe.kept_layers),
        "unit": unit,
        "keep": choice.keep,
    }


def _write(points: Sequence[dict[str, Any]], target: Path) -> None:
    lines = ({**point, "kept_layers": " ".join(map(str, point["kept_layers"]))} for point in points)
    write_rows(target, COLUMNS, ([line[column] for column in COLUMNS] for line in lines))


def plot(points: Sequence[dict[str, Any]], target: Path, title: str) -> None:
    """Write a PNG: top-1 against milliseconds, and against parameters."""
    figure, (axes,) = panels(9, 3.8, title, columns=2, sharey=True)
    for strategy in dict.fromkeys(point["strategy"] for point in points):
        mine = [point for point in points if point["strategy"] in (strategy, FULL)]
        path = sorted(mine, key=lambda point: (point["layers"], point["params"]))
        for panel, key, unit in zip(axes, ("milliseconds", "params"), (1, 1e6), strict=True):
            values = [point[key] / unit for point in path], [100 * point["top1"] for point in path]
            panel.plot(*values, label=strategy, markeredgecolor="white", markeredgewidth=0.5, **_look(strategy))
    axes[0].set(xlabel="time of a forward pass, ms", ylabel="top-1, %")
    axes[1].set(xlabel="parameters, millions")
    save(
        figure,
        target,
        "one trained network, slimmed in several ways and not trained anew; black and bold: the baseline",
    )


def _look(strategy: str) -> dict[str, Any]:
    marker, place = _STYLES[strategy]
    baseline = strategy == "every-other"
    return {
        "color": look(place)["color"],
        "marker": marker,
        "linestyle": "--" if baseline else "-",
        "linewidth": 2 if baseline else 1,
        "markersize": 8 if marker in "*X" else 5.5,
        "zorder": 3 + baseline + 2 * (strategy == FULL),
    }


def lines(result: dict[str, Any]) -> list[str]:
    """A table for a person: a row per depth, a column per strategy, then where the files are."""
    full, *points = result["points"]
    names = list(dict.fromkeys(point["strategy"] for point in points))
    found = {(point["strategy"], point["keep"]): point for point in points}
    images = number_of(result["test_images"], f"{result['scored_on']} image")
    what = "blocks" if full["unit"] == "block" else "residual layers"
    rows = [[what, "ms", *names], [*_row([full]), *[""] * (len(names) - 1)]]
    rows += [_row([found[name, keep] for name in names]) for keep in dict.fromkeys(keep for _, keep in found)]
    return [
        *align(rows, ">" * len(rows[0])),
        f"{full['keep']} {what} are the full network; top-1 on {images}, ms of "
        f"every-other; {result['out']}/frontier.csv, .png",
    ]


def _row(points: Sequence[dict[str, Any]]) -> list[str]:
    """Of one depth, by strategy."""
    first = points[0]
    return [str(first["keep"]), f"{first['milliseconds']:.2f}", *(f"{point['top1']:.2%}" for point in points)]


def _title(request: Request, opened: Opened, test: Images) -> str:
    way = WAYS[way_of(opened.trained.recipe)].title
    images = number_of(len(test), f"{opened.scored_on} image")
    return f"{Path(request.run).name} ({way}), slimmed: {images}, {number_of(request.latency_batch, 'image')} per pass"
