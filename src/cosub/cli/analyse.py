"""cosub analyse population|layers|counts|quantisation|overfitting|tradeoff [RUN ...] [--key value ...]"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from tyro.conf import Positional

from cosub.cli.evaluate import DataPath
from cosub.cli.parsing import parse
from cosub.errors import InputError, nearest
from cosub.recipes.files import require_run


def _require(options: Any, **least: int) -> None:
    for name, value in least.items():
        given = getattr(options, name)
        for number in given if isinstance(given, tuple) else (given,):
            if number < value:
                raise InputError(f"{name}: {number}: must be {value} or more")


@dataclass(frozen=True)
class _OfImages:
    """What the analyses that evaluate runs on images have in common."""

    runs: Positional[tuple[str, ...]]
    """Finished runs, trained on the same data."""
    out: str = ""
    """Folder of the results; by default analysis in the run's folder, or here for several runs."""
    data: DataPath = field(default_factory=DataPath)
    limit: int = 1000
    """Images of a set at most, drawn from the seed; 0 for all."""
    seed: int = 0
    device: str = "auto"
    batch_size: int = 256

    def __post_init__(self) -> None:
        _require(self, limit=0, batch_size=1)


@dataclass(frozen=True)
class Population(_OfImages):
    """Figure 4: accuracy of random submodels against the residual layers kept: mean, spread, best."""

    set: str = "test"
    """Images to evaluate on: test, train, or the path of others with the same classes."""
    keep: tuple[int, ...] = ()
    """Numbers of residual layers to keep; by default seven, from a quarter to all."""
    submodels: int = 50
    """Submodels of each number of layers, or all where there are fewer; runs of equal depth get the same ones."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _require(self, submodels=1, keep=1)


@dataclass(frozen=True)
class Layers(_OfImages):
    """Figure D.2: accuracy and loss without one block, or one residual layer, on two sets of images."""

    sets: tuple[str, ...] = ("test",)
    """Two sets: test, train, or the path of others with the same classes; of a single one, two random halves."""
    unit: Literal["block", "layer"] = "block"
    """What is left out: one block (the paper), or one residual layer."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= len(set(self.sets)) == len(self.sets) <= 2:
            raise InputError(f"sets: {' '.join(self.sets)}: must be one or two different sets")


@dataclass(frozen=True)
class Counts:
    """Appendix D.1: how many submodels have a number of residual layers, and how often training draws them."""

    runs: Positional[tuple[str, ...]] = ()
    """Finished runs, counted with their effective drop rates; none: --layers and --drop-rate."""
    out: str = ""
    """Folder of the results; by default analysis in the run's folder, or here."""
    layers: int = 64
    """Residual layers; ViT-H has 64."""
    drop_rate: tuple[float, ...] = (0.5,)
    """Drop rates, the same in all layers."""

    def __post_init__(self) -> None:
        _require(self, layers=1)
        if not self.drop_rate:
            raise InputError("drop_rate: needs a value")
        for rate in self.drop_rate:
            if not 0 <= rate < 1:
                raise InputError(f"drop_rate: {rate}: must be in [0, 1)")


@dataclass(frozen=True)
class Quantisation:
    """Appendix C.1: the effective drop rate against the one asked for, by rounding and rows."""

    runs: Positional[tuple[str, ...]] = ()
    """Finished runs, to be marked in the picture."""
    out: str = ""
    """Folder of the results; by default analysis in the run's folder, or here."""
    rows: tuple[int, ...] = (4, 8, 32, 128)
    """Rows of a layer, that is copies times the images of a group: a line for each."""
    layers: int = 24
    """Residual layers, over which the rounding spread evens the rate out."""

    def __post_init__(self) -> None:
        _require(self, rows=1, layers=1)
        if not self.rows:
            raise InputError("rows: needs a value")


@dataclass(frozen=True)
class Overfitting(_OfImages):
    """Figure 5: accuracy of several runs on several sets of images against one another."""

    sets: tuple[str, ...] = ("train", "test")
    """Two sets or more: test, train, or the path of others with the same classes. The first is the plot's x axis."""
    limit: int = 0
    """Images of a set at most, drawn from the seed; 0 for all."""
    workers: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        _require(self, workers=0)
        if not 2 <= len(set(self.sets)) == len(self.sets):
            raise InputError(f"sets: {' '.join(self.sets)}: must be two different sets or more")


@dataclass(frozen=True)
class Tradeoff(_OfImages):
    """Figure B.1: accuracy of several runs against parameters, FLOPs and measured time."""

    set: str = "test"
    """Images to evaluate on: test, train, or the path of others with the same classes."""
    resolutions: tuple[int, ...] = ()
    """Pixels a side to evaluate each run at, without further training; by default what it was trained at."""
    repeats: int = 10
    """Passes that are timed, of batch_size images each."""
    limit: int = 0
    """Images at most, drawn from the seed; 0 for all."""
    workers: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        _require(self, resolutions=1, repeats=1, workers=0)


def run(words: list[str], as_json: bool) -> dict[str, Any]:
    what = words[0] if words else ""
    if what in ("-h", "--help"):
        print(f"usage: cosub analyse {'|'.join(ANALYSES)} [RUN ...] [OPTIONS]\n")
        for name, (kind, _) in ANALYSES.items():
            print(f"  {name:<13} {(kind.__doc__ or '').strip()}")
        print("\ncosub analyse NAME --help tells more")
        raise SystemExit(0)
    if what not in ANALYSES:
        raise InputError(f"analyse: {what!r}: must be {', '.join(ANALYSES)}{nearest(what, list(ANALYSES))}")
    kind, analyse = ANALYSES[what]
    options = parse(kind, words[1:], f"cosub analyse {what}")
    if not options.runs and kind not in (Counts, Quantisation):
        raise InputError("RUNS: is missing; name one or more finished runs")
    for folder in options.runs:
        require_run(folder)
    files = _files(options, what)
    result = {"runs": list(options.runs), **analyse(options, files)}
    result |= {key: str(path) for key, path in files.items()}
    if not as_json:
        print("\n".join(_table(result[_SHOWN[what]], _HIDDEN)))
        print("\n".join(str(path) for path in files.values()))
    return result


def _files(options: Any, what: str) -> dict[str, Path]:
    """What will be written, none of it there yet."""
    default = Path(options.runs[0] if len(options.runs) == 1 else "") / "analysis"
    folder = Path(options.out) if options.out else default
    if folder.exists() and not folder.is_dir():
        raise InputError(f"out: {folder}: is a file; name a folder with --out")
    files = {"csv": folder / f"{what}.csv", "picture": folder / f"{what}.png"}
    if what == "population":
        files["members"] = folder / "population-submodels.csv"
    for path in files.values():
        if path.exists():
            raise InputError(f"out: {path}: exists; name another folder with --out, or remove it")
    return files


def _population(options: Population, files: dict[str, Path]) -> dict[str, Any]:
    from cosub.analysis.population import by_depth, check_depths, draw, plan, population
    from cosub.evaluation.images import load_into_memory
    from cosub.runs.progress import progress

    subjects = _subjects(options)
    check_depths(subjects, options.keep)
    examples = _sets(options, subjects, (options.set,))[options.set]
    plans = [plan(subject, options.keep, options.submodels, options.seed) for subject in subjects]
    members, depths, bad = [], [], 0
    with progress("submodels", len(examples.labels) * sum(map(len, plans))) as advance:
        for subject, planned in zip(subjects, plans, strict=True):
            images = load_into_memory(
                examples, subject.recipe.resolution, subject.recipe.inputs, subject.recipe.bad_share
            )
            found = population(subject, images, planned, options.batch_size, advance)
            depths += by_depth(found, subject.num_layers)
            members, bad = members + found, len(images.bad)
    _write(files, depths, lambda target: draw(depths, target), members=members)
    return _counted(examples, bad) | {"depths": _plain(depths)}


def _layers(options: Layers, files: dict[str, Path]) -> dict[str, Any]:
    from cosub.analysis.layers import ablate, agreement, draw, units
    from cosub.evaluation.images import halves, load_into_memory
    from cosub.runs.progress import progress

    subjects = _subjects(options)
    sets = _sets(options, subjects, options.sets)
    if len(sets) == 1:
        ((name, examples),) = sets.items()
        sets = dict(zip((f"{name}, half 1", f"{name}, half 2"), halves(examples, options.seed), strict=True))
    number = sum(len(examples.labels) for examples in sets.values())
    passes = sum(1 + len(units(subject.layers_per_block, options.unit)) for subject in subjects)
    found, agreements, bad = [], [], 0
    with progress("submodels", number * passes) as advance:
        for subject in subjects:
            recipe = subject.recipe
            images = {
                name: load_into_memory(examples, recipe.resolution, recipe.inputs, recipe.bad_share)
                for name, examples in sets.items()
            }
            mine = ablate(subject, images, options.unit, options.batch_size, advance)
            agreements.append(agreement(mine))
            found, bad = found + mine, sum(len(part.bad) for part in images.values())
    _write(files, found, lambda target: draw(found, agreements, target))
    counted = {"num_images": number - bad, "bad_images": bad}
    return {**counted, "spearman": _plain(agreements), "ablations": _plain(found)}


def _counts(options: Counts, files: dict[str, Path]) -> dict[str, Any]:
    from cosub.analysis.counts import counts, draw
    from cosub.analysis.subjects import load_subjects

    subjects = load_subjects(options.runs)
    rates = {subject.name: subject.drop_rates for subject in subjects}
    rates = rates or {f"drop rate {rate:g}": (rate,) * options.layers for rate in options.drop_rate}
    found = [count for name, values in rates.items() for count in counts(name, values)]
    _write(files, found, lambda target: draw(found, target))
    return {"counts": _plain(found)}


def _quantisation(options: Quantisation, files: dict[str, Path]) -> dict[str, Any]:
    from cosub.analysis.quantisation import draw, mark, quantisation
    from cosub.analysis.subjects import load_subjects

    marks = [mark(subject) for subject in load_subjects(options.runs)]
    rates = quantisation(options.rows, options.layers)
    _write(files, rates, lambda target: draw(rates, marks, target))
    return {"rates": _plain(rates), "marks": _plain(marks)}


def _overfitting(options: Overfitting, files: dict[str, Path]) -> dict[str, Any]:
    from cosub.analysis.overfitting import draw, overfitting
    from cosub.runs import distributed
    from cosub.runs.progress import progress

    subjects = _subjects(options)
    sets = _sets(options, subjects, options.sets)
    world = distributed.join(options.device)
    with progress("images", len(subjects) * sum(len(examples.labels) for examples in sets.values())) as advance:
        found = overfitting(subjects, sets, world, options.batch_size, options.workers, advance)
    _write(files, found, lambda target: draw(found, target))
    return {"accuracies": _plain(found)}


def _tradeoff(options: Tradeoff, files: dict[str, Path]) -> dict[str, Any]:
    import torch

    from cosub.analysis.tradeoff import at_resolution, draw, tradeoff
    from cosub.runs import distributed
    from cosub.runs.progress import progress

    world = distributed.join(options.device)
    trained = _subjects(options)
    examples = _sets(options, trained, (options.set,))[options.set]
    subjects = [
        at_resolution(subject, resolution, world.device)
        for subject in trained
        for resolution in options.resolutions or (subject.recipe.resolution,)
    ]
    with progress("images", len(subjects) * len(examples.labels)) as advance:
        points = tradeoff(
            subjects, examples, world, options.repeats, options.batch_size, options.workers, advance=advance
        )
    _write(files, points, lambda target: draw(points, target))
    machine = {"device": str(world.device), "threads": torch.get_num_threads(), "batch_size": options.batch_size}
    return {**machine, "points": _plain(points)}


def _subjects(options: Any) -> Any:
    """The runs on their device; what is odd about them is said on standard error."""
    from cosub.analysis.subjects import cautions, load_subjects
    from cosub.runs import distributed
    from cosub.runs.progress import Terminal

    subjects = load_subjects(options.runs, distributed.join(options.device).device)
    if isinstance(options, Population | Layers):
        for caution in cautions(subjects):
            Terminal().warn(caution)
    return subjects


def _sets(options: Any, subjects: Any, names: Sequence[str]) -> dict[str, Any]:
    """The named sets, each cut to the limit."""
    from cosub.analysis.subjects import images_of_runs
    from cosub.evaluation.images import subsample

    opened = images_of_runs(subjects, names, options.data.path)
    return {name: subsample(examples, options.limit, options.seed) for name, examples in opened.items()}


def _write(files: dict[str, Path], rows: Sequence[Any], draw: Callable[[Path], None], **more: Sequence[Any]) -> None:
    from cosub.analysis.tables import write_csv

    files["csv"].parent.mkdir(parents=True, exist_ok=True)
    for name, table in {"csv": rows, **more}.items():
        write_csv(table, files[name])
    draw(files["picture"])


def _counted(examples: Any, bad: int) -> dict[str, int]:
    return {"num_images": len(examples.labels) - bad, "bad_images": bad}


def _plain(rows: Sequence[Any]) -> list[dict[str, Any]]:
    from cosub.analysis.tables import plain

    return [plain(row) for row in rows]


ANALYSES: dict[str, tuple[type[Any], Callable[[Any, dict[str, Path]], dict[str, Any]]]] = {
    "population": (Population, _population),
    "layers": (Layers, _layers),
    "counts": (Counts, _counts),
    "quantisation": (Quantisation, _quantisation),
    "overfitting": (Overfitting, _overfitting),
    "tradeoff": (Tradeoff, _tradeoff),
}
# What of a result is printed: the rest is in the CSV.
_SHOWN = {
    "population": "depths",
    "layers": "spearman",
    "counts": "counts",
    "quantisation": "marks",
    "overfitting": "accuracies",
    "tradeoff": "points",
}
_HIDDEN = {"best_layers", "missing"}


def _table(rows: Sequence[dict[str, Any]], hidden: set[str]) -> list[str]:
    """Aligned columns with their titles; nothing for no rows."""
    if not rows:
        return []
    titles = [name for name in rows[0] if name not in hidden]
    cells = [titles, *([_shown(row[name]) for name in titles] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ["  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells]


def _shown(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else ", ".join(value) if isinstance(value, list) else str(value)
