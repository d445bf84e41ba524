"""cosub study [NAME] [--scale S] [--seeds N] [--dry-run] [--budget-minutes M] [--jobs J] [--write] ..."""

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import Positional, arg

from cosub.api.parsing import parse
from cosub.errors import InputError
from cosub.paper.studies import STUDIES, Scale, printed, study
from cosub.recipes.ranges import Checked, NonNegativeInt, PositiveFloat, PositiveInt


@dataclass(frozen=True)
class DataFolder:
    path: str = ""
    """The folder of photographs, for recipes that need some."""


@dataclass(frozen=True)
class Options(Checked):
    """A table or figure of the paper at small scale: trains the missing runs, then prints the table.

    Without a name: lists the studies. The same command continues where it stopped. Each finished run adds a line to
    the ledger, and is not trained again while the line is there.
    """

    name: Positional[str] = ""
    """A study."""
    scale: Scale = "minutes"
    """minutes: one core, a minute or two a run; hour: one GPU; paper: lists the real recipes and their commands."""
    recipe: str = ""
    """Start from this recipe instead of the scale's."""
    seeds: PositiveInt | None = None
    """Seeds of each cell; by default as many as the study asks for."""
    jobs: PositiveInt = 1
    """Runs at a time; several have one thread each."""
    budget_minutes: Annotated[PositiveFloat | None, arg(name="budget-minutes")] = None
    """Stop after so many minutes; the same command continues."""
    dry_run: Annotated[bool, arg(name="dry-run")] = False
    """List the runs, their state and their cost; train none."""
    write: bool = False
    """Write studies.md and its pictures from the ledger, beside it; train nothing."""
    out: str = "out/studies"
    """Folder of the run folders, shared by all studies."""
    ledger: str = "docs/runs.jsonl"
    """A line for each finished run."""
    workers: NonNegativeInt | None = None
    """Processes that load images, for each run, as for `cosub train`; 0 loads in the run's own."""
    data: DataFolder = field(default_factory=DataFolder)


def run(words: list[str], as_json: bool) -> dict[str, Any]:
    options = parse(Options, words, "cosub study")
    if not options.name and not options.write:
        return _list(as_json)
    from cosub.runs import distributed

    distributed.require_one_process("study")
    if options.write:
        return _write(options, as_json)
    if options.scale == "paper" and not options.recipe and (rows := printed(options.name)):
        return _paper(rows, as_json)
    made = study(options.name, options.scale, options.recipe)
    needs_path = [cell for cell in made.cells if not (cell.recipe.data.EMBEDDED or cell.recipe.data.place)]
    if needs_path and not options.data.path and not options.dry_run:
        raise InputError(
            f"data.path: is not given, and {needs_path[0].recipe.name} needs photographs; name their folder"
        )
    return _dry_run(made, options, as_json) if options.dry_run else _study(made, options, as_json)


def _list(as_json: bool) -> dict[str, Any]:
    titles = {name: study(name).title for name in STUDIES}
    if not as_json:
        from cosub.runs.tables import align

        print("\n".join(align(list(titles.items()))))
    return {"studies": titles}


def _paper(rows: list[dict[str, str]], as_json: bool) -> dict[str, Any]:
    """The commands that train the paper's own rows, on many GPUs."""
    if not as_json:
        from cosub.runs.tables import align

        print("\n".join(align([[row["row"], row["paper"], row["command"]] for row in rows])))
    return {"rows": rows}


def _place(options: Options) -> Any:
    from cosub.paper.studies.ledger import Ledger
    from cosub.paper.studies.work import Place

    return Place(Path(options.out), Ledger(Path(options.ledger)), options.data.path, options.workers)


def _study(made: Any, options: Options, as_json: bool) -> dict[str, Any]:
    from cosub.paper.studies import picture, report
    from cosub.paper.studies.work import collect, needed, work

    place, seeds = _place(options), options.seeds or made.seeds
    collect(made, seeds, place)
    missing = needed(made, seeds, place)
    _say(f"{made.name}: {len(missing)} runs to train, {options.jobs} at a time; logs in {place.out / 'logs'}")
    left = work(missing, place, options.jobs, options.budget_minutes, _say)
    collect(made, seeds, place)  # runs shared with another study that was trained meanwhile
    found = report.rows(made, place.ledger, seeds)
    folder = place.out / made.name
    folder.mkdir(parents=True, exist_ok=True)
    drawn = picture.draw(made, found, folder / "picture.png")
    (folder / "table.md").write_text(report.markdown(made, found, "picture.png" if drawn else ""))
    if left:
        _say(f"{left} runs left; the same command continues")
    networks = [str(run.folder(place.out)) for run in made.runs(seeds) if run.cell.shown]
    if not as_json:
        print("\n".join([report.table(found), *report.remarks(made, found), str(folder / "table.md")]))
        print("\n".join(networks if made.weights else []))
    return {
        "study": made.name,
        "recipe": made.cells[0].recipe.name,
        "left": left,
        "rows": [report.as_json(row) for row in found],
        "remarks": report.remarks(made, found),
        "folder": str(folder),
        "runs": networks,
    }


def _dry_run(made: Any, options: Options, as_json: bool) -> dict[str, Any]:
    from cosub.paper.studies.timing import costs
    from cosub.runs.tables import align

    place, seeds = _place(options), options.seeds or made.seeds
    listed = costs(made, seeds, place)
    if not as_json:
        print("\n".join(align([_costs(item) for item in listed], "<<><")))
    left = [item for item in listed if item["state"] in ("new", "interrupted")]
    known = all(item["seconds"] is not None for item in left)
    total = sum(item["seconds"] or 0.0 for item in left) / options.jobs
    if not as_json:
        cost = f"about {total / 60:.0f} minutes with --jobs {options.jobs}" if known else "of unknown duration"
        print(f"{len(left)} of {len(listed)} runs to train, {cost}")
    return {"study": made.name, "runs": listed, "left": len(left), "minutes": round(total / 60, 1) if known else None}


def _costs(item: dict[str, Any]) -> list[str]:
    seconds = "" if item["seconds"] is None else f"{item['seconds']:.0f} s ({item['source']})"
    return [item["run"], item["state"], f"{item['steps'] or '?'} steps", seconds]


def _write(options: Options, as_json: bool) -> dict[str, Any]:
    from cosub.paper.studies.ledger import Ledger
    from cosub.paper.studies.page import orphans, write

    files = [str(path) for path in write(Path(options.ledger))]
    lost = [f"{line['study']}, {line['cell']}, seed {line['seed']}" for line in orphans(Ledger(Path(options.ledger)))]
    for name in lost:
        _say(f"not on the page: {name}: this run belongs to no study")
    if not as_json:
        print("\n".join(files))
    return {"files": files, "not_shown": lost}


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)
