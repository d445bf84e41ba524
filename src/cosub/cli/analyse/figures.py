"""The figures of `cosub analyse`: what each computes, writes and returns."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from cosub.analysis import counts, layers, overfitting, population, quantisation, tradeoff
from cosub.analysis.results import plain, write_csv
from cosub.analysis.subjects import Subject, cautions, images_of_runs, load_subjects, ways_of
from cosub.cli.analyse.options import Counts, Layers, Overfitting, Population, Quantisation, Tradeoff
from cosub.data.sources import Examples
from cosub.errors import nearest
from cosub.evaluation.images import halves, load_into_memory, subsample
from cosub.recipes.ranges import require
from cosub.runs import distributed
from cosub.runs.progress import Terminal, progress


def _population(options: Population, files: dict[str, Path]) -> dict[str, Any]:
    subjects = _subjects(options)
    population.check_depths(subjects, options.keep)
    examples = _sets(options, subjects, (options.set,))[options.set]
    plans = [population.plan(subject, options.keep, options.submodels, options.seed) for subject in subjects]
    members, depths, bad = [], [], 0
    with progress("submodels", len(examples.labels) * sum(map(len, plans))) as advance:
        for subject, planned in zip(subjects, plans, strict=True):
            images = load_into_memory(
                examples, subject.recipe.resolution, subject.recipe.inputs, subject.recipe.bad_share
            )
            found = population.population(subject, images, planned, options.batch_size, advance)
            depths += population.by_depth(found, subject.num_layers)
            members, bad = members + found, len(images.bad)
    _write(files, depths, lambda target: population.draw(depths, ways_of(subjects), target), members=members)
    return _counted(examples, bad) | {"depths": _plain(depths)}


def _layers(options: Layers, files: dict[str, Path]) -> dict[str, Any]:
    subjects = _subjects(options)
    sets = _sets(options, subjects, options.sets)
    if len(sets) == 1:
        ((name, examples),) = sets.items()
        sets = dict(zip((f"{name}, half 1", f"{name}, half 2"), halves(examples, options.seed), strict=True))
    number = sum(len(examples.labels) for examples in sets.values())
    passes = sum(1 + len(layers.units(subject.layers_per_block, options.unit)) for subject in subjects)
    found, agreements, bad = [], [], 0
    with progress("submodels", number * passes) as advance:
        for subject in subjects:
            recipe = subject.recipe
            images = {
                name: load_into_memory(examples, recipe.resolution, recipe.inputs, recipe.bad_share)
                for name, examples in sets.items()
            }
            mine = layers.ablate(subject, images, options.unit, options.batch_size, advance)
            agreements.append(layers.agreement(mine))
            found, bad = found + mine, sum(len(part.bad) for part in images.values())
    _write(files, found, lambda target: layers.draw(found, agreements, ways_of(subjects), target))
    counted = {"num_images": number - bad, "bad_images": bad}
    return {**counted, "spearman": _plain(agreements), "ablations": _plain(found)}


def _counts(options: Counts, files: dict[str, Path]) -> dict[str, Any]:
    subjects = load_subjects(options.runs)
    rates = {subject.name: subject.drop_rates for subject in subjects}
    rates = rates or {f"drop rate {rate:g}": (rate,) * options.layers for rate in options.drop_rate}
    found = [count for name, values in rates.items() for count in counts.counts(name, values)]
    _write(files, found, lambda target: counts.draw(found, ways_of(subjects), target))
    return {"counts": _plain(found)}


def _quantisation(options: Quantisation, files: dict[str, Path]) -> dict[str, Any]:
    subjects = load_subjects(options.runs)
    marks = [quantisation.mark(subject) for subject in subjects]
    rates = quantisation.quantisation(options.rows)
    _write(files, rates, lambda target: quantisation.draw(rates, marks, ways_of(subjects), target))
    return {"rates": _plain(rates), "marks": _plain(marks)}


def _overfitting(options: Overfitting, files: dict[str, Path]) -> dict[str, Any]:
    subjects = _subjects(options)
    sets = _sets(options, subjects, options.sets)
    world = distributed.join(options.device)
    with progress("images", len(subjects) * sum(len(examples.labels) for examples in sets.values())) as advance:
        found = overfitting.overfitting(subjects, sets, world, options.batch_size, options.workers, advance)
    _write(files, found, lambda target: overfitting.draw(found, ways_of(subjects), target))
    return {"accuracies": _plain(found)}


def _tradeoff(options: Tradeoff, files: dict[str, Path]) -> dict[str, Any]:
    import torch  # not at the top: nothing of the command line imports it there

    world = distributed.join(options.device)
    trained = _subjects(options)
    examples = _sets(options, trained, (options.set,))[options.set]
    subjects = [
        tradeoff.at_resolution(subject, resolution, world.device)
        for subject in trained
        for resolution in options.resolutions or (subject.recipe.resolution,)
    ]
    with progress("images", len(subjects) * len(examples.labels)) as advance:
        points = tradeoff.tradeoff(
            subjects, examples, world, options.repeats, options.batch_size, options.workers, advance=advance
        )
    _write(files, points, lambda target: tradeoff.draw(points, ways_of(subjects), target))
    machine = {"device": str(world.device), "threads": torch.get_num_threads(), "batch_size": options.batch_size}
    return {**machine, "points": _plain(points)}


def _subjects(options: Any) -> list[Subject]:
    """The runs on their device; warnings go to standard error."""
    subjects = load_subjects(options.runs, distributed.join(options.device).device)
    if isinstance(options, Population | Layers):
        for caution in cautions(subjects):
            Terminal().warn(caution)
    return subjects


def _sets(options: Any, subjects: Sequence[Subject], names: Sequence[str]) -> dict[str, Examples]:
    """The named sets, each cut to the limit.

    Raises:
        InputError: for a name that is neither one of a set nor a path.
    """
    known, field = ["test", "train"], "sets" if hasattr(options, "sets") else "set"
    for name in names:
        by_path = Path(name).expanduser().exists() or subjects[0].recipe.data.PACKED  # of the Hub, say
        remedy = f"must be test, train, or the path of images{nearest(name, known)}"
        require(name in known or by_path, field, name, remedy)
    opened = images_of_runs(subjects, names, options.data.path)
    return {name: subsample(examples, options.limit, options.seed) for name, examples in opened.items()}


def _write(files: dict[str, Path], rows: Sequence[Any], draw: Callable[[Path], None], **more: Sequence[Any]) -> None:
    files["csv"].parent.mkdir(parents=True, exist_ok=True)
    for name, table in {"csv": rows, **more}.items():
        write_csv(table, files[name])
    draw(files["picture"])


def _counted(examples: Examples, bad: int) -> dict[str, int]:
    return {"num_images": len(examples.labels) - bad, "bad_images": bad}


def _plain(rows: Sequence[Any]) -> list[dict[str, Any]]:
    return [plain(row) for row in rows]


FIGURES: dict[str, Callable[[Any, dict[str, Path]], dict[str, Any]]] = {
    "population": _population,
    "layers": _layers,
    "counts": _counts,
    "quantisation": _quantisation,
    "overfitting": _overfitting,
    "tradeoff": _tradeoff,
}
