"""Evaluate a network: the options of an evaluation, and its results."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, get_args

from tyro.conf import Positional, UseAppendAction, arg

from cosub.api.preparation import Preparation, say
from cosub.api.report import folder_of, report, require_one
from cosub.choices import Protocol
from cosub.errors import InputError
from cosub.recipes import plugins
from cosub.recipes.data import DataPath
from cosub.recipes.files import is_run
from cosub.recipes.ranges import NonNegativeInt, OpenShare, PositiveInt, PositiveShare

_FORM = "--set val=PATH, v2=PATH or real=PATH"
_PRECISIONS = (0.9, 0.95, 0.99)
_TOP = 5


@dataclass(frozen=True)
class Evaluate(Preparation):
    """Accuracy of a network: by default of a run's, on the test images of its recipe; of a segmentation run mIoU."""

    run: Positional[str]
    """A run's folder; a folder that timm or cosub export wrote, or hf-hub:OWNER/NAME; a file of weights (with --model);
    or a name of timm's weights (NAME or timm:NAME)."""
    data: DataPath = field(default_factory=DataPath)
    protocol: Protocol | None = None
    """How --data.path is read: val, class folders; v2, ImageNet-V2; real, ImageNet's validation files by ReaL's labels.
    By default as the run's recipe reads its data."""
    set: UseAppendAction[tuple[str, ...]] = ()
    """val=PATH, v2=PATH or real=PATH. Given several times, the sets are scored one after the other (Figure 5)."""
    real: str = ""
    """ReaL's real.json; by default the copy that comes with timm."""
    keep: PositiveShare | None = None
    """Evaluate a submodel with this share of the blocks, spread evenly over depth, instead of the full network."""
    show: PositiveInt | None = None
    """Write a picture of this many of the images with true and predicted class to RUN/examples.png."""
    report: str = ""
    """Write a report into this folder, which must be new or empty; without a name, RUN/report: accuracy by class, what
    is taken for what, the worst errors, and how far confidence can be trusted."""
    precisions: tuple[OpenShare, ...] = _PRECISIONS
    """Of the report: precisions for which it says below which confidence to reject an image."""
    multi_scale: Annotated[bool, arg(name="multi-scale")] = False
    """Segmentation: mean over six scales and their mirror images."""
    whole: bool = False
    """Segmentation: whole images instead of windows of the training crop's size."""
    device: str = "auto"
    """auto (a GPU where there is one), cpu, cuda or cuda:N."""
    workers: NonNegativeInt = 0
    """Processes that load images; 0 loads in this process."""
    batch_size: Annotated[PositiveInt, arg(name="batch-size")] = 256
    """Images per batch."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.set and (self.protocol or self.data.path):
            raise InputError(f"set: cannot go with --protocol and --data.path; name all with {_FORM}")
        if self.protocol and not self.data.path:
            raise InputError(f"protocol: {self.protocol}: needs the folder, --data.path PATH; or {_FORM}")
        if self.precisions != _PRECISIONS and not self.report:
            raise InputError("precisions: are of a report; add --report, or leave them out")

    def sets(self) -> list[tuple[Protocol, str]]:
        """The named sets, each with the protocol by which it is read; none for the run's own data."""
        if self.protocol:
            return [(self.protocol, self.data.path)]
        return [_named(word) for word in self.set]


def _named(word: str) -> tuple[Protocol, str]:
    name, _, path = word.partition("=")
    for protocol in get_args(Protocol):
        if name == protocol and path:
            return protocol, path
    raise InputError(f"set: {word!r}: must be {_FORM}")


def evaluate(options: Evaluate, as_json: bool = True) -> dict[str, Any] | None:
    """Score a network, or a submodel; print the result too where it is not wanted as JSON. None in other processes.

    Raises:
        InputError: for a network or images that are not there, or options that do not go together.
    """
    named = options.sets()
    if options.real and "real" not in [protocol for protocol, _ in named]:
        raise InputError("real: is for --set real=PATH or --protocol real; leave it out")
    from cosub.runs import distributed

    with distributed.leaving():
        return _evaluate(options, named, as_json)


def _evaluate(options: Evaluate, named: list[tuple[Protocol, str]], as_json: bool) -> dict[str, Any] | None:
    from cosub.evaluation.candidates import layers_kept, open_network
    from cosub.runs import distributed

    folder = folder_of(options.report, options.run) if options.report else None
    candidate = open_network(options.run, options.model, options.resolution, **options.inputs())
    if place := plugins.EVALUATORS.get(candidate.recipe.task.kind):
        return plugins.find(place)(options, candidate, as_json, folder)
    for name in ("multi_scale", "whole"):
        if getattr(options, name):
            raise InputError(f"{name}: {options.run} is no segmentation run; leave it out")
    chosen = _sets(options, candidate, named)
    world = distributed.join(options.device)
    if folder is not None:
        require_one(options, world, [protocol for protocol, _ in named])
    network = candidate.network.to(world.device)
    layers = layers_kept(network, options.keep)
    if world.main:
        say([f"weights: {line}" for line in candidate.messages])
    rows = [_score(options, candidate, chosen_set, layers, world) for chosen_set in chosen]
    if not world.main:
        return None
    recipe = candidate.recipe
    if not as_json:  # before anything is written, which may fail
        _print(options, recipe, rows, len(candidate.classes))
    extra = _shown(options, candidate, chosen[0].examples, layers)
    if folder is not None:
        found = report(options, candidate, chosen[0], layers, world, folder)
        extra["report"] = {"folder": str(folder), **found}
    values = {"run": options.run, **rows[0], "resolution": recipe.resolution, **asdict(recipe.inputs)}
    if options.keep is not None:
        values |= {"keep": options.keep, "layers": layers}
    if not as_json:
        written = [*([extra["picture"]] if options.show else []), *([str(folder / "report.md")] if folder else [])]
        print(*written, sep="\n", end="\n" if written else "")
    return {**values, "sets": rows, **extra}


def _sets(options: Evaluate, candidate: Any, named: Sequence[tuple[Protocol, str]]) -> list[Any]:
    from cosub.data.pixels import by_rule
    from cosub.evaluation.sets import open_set

    if options.show and (len(named) > 1 or "real" in [protocol for protocol, _ in named]):
        raise InputError(f"show: {options.show}: needs one set in which each image has one class")
    if options.show and not is_run(options.run):
        raise InputError(f"show: {options.show}: writes into a run's folder, and {options.run} is none; leave it out")
    if options.show:
        from cosub.runs.folder import require_writable

        require_writable(options.run, "show")
    if named:
        found = [open_set(protocol, path, candidate.classes, options.real) for protocol, path in named]
        return [replace(item, examples=by_rule(item.examples, candidate.recipe.data)) for item in found]
    if not is_run(options.run):
        raise InputError(f"set: is not given, and {options.run} has no data of its own; name {_FORM}")
    return [_of_recipe(candidate, options.run, options.data.path)]


def _score(options: Evaluate, candidate: Any, chosen: Any, layers: list[int] | None, world: Any) -> dict[str, Any]:
    """One set: its name and path, accuracies in [0, 1], numbers of images scored, unreadable and without label."""
    from cosub.data.sources.walking import list_left_out
    from cosub.evaluation.accuracy import evaluate
    from cosub.runs.progress import counted

    def show_progress(batches: Any, total: int) -> Any:
        return counted(batches, total, chosen.protocol) if world.main else batches

    recipe = candidate.recipe
    result = evaluate(
        candidate.network,
        chosen.examples,
        len(candidate.classes),
        recipe.resolution,
        world,
        inputs=recipe.inputs,
        targets=chosen.targets,
        submodels={} if layers is None else {"kept": layers},
        batch_size=options.batch_size,
        workers=options.workers,
        bad_share=recipe.bad_share,
        progress=show_progress,
    )
    if world.main:
        say([f"cannot be read: {name}" for name in result.bad])
        say([f"not read: {list_left_out(chosen.left_out)}"] if chosen.left_out else [])
    row = {"set": chosen.protocol, "path": chosen.path, "top1": result.submodels.get("kept", result.top1)}
    if layers is None:  # top-5 is measured for the full network alone
        row["top5"] = result.top5
    return {**row, "num_images": result.num_images, "bad_images": len(result.bad), "unlabelled": chosen.skipped}


def _print(options: Evaluate, recipe: Any, rows: list[dict[str, Any]], classes: int) -> None:
    """A line, or a table of several sets. Top-5 of five classes would say nothing."""
    from cosub.runs.tables import align, number_of

    what = "full network" if options.keep is None else f"{options.keep:.0%} of the blocks"
    how = f"{what}, {recipe.resolution} pixels, crop {recipe.inputs.crop_ratio:g}"
    if len(rows) == 1:
        row = rows[0]
        top5 = f"top-5 {row['top5']:.2%}  " if "top5" in row and classes > _TOP else ""
        print(f"top-1 {row['top1']:.2%}  {top5}({how}, {number_of(row['num_images'], 'image')}, {options.run})")
        return
    print(f"{options.run} ({how})")
    lines = [["set", "top-1", "top-5", "images", "folder"]]
    for row in rows:
        top5 = f"{row['top5']:.2%}" if "top5" in row and classes > _TOP else "-"
        lines.append([row["set"], f"{row['top1']:.2%}", top5, f"{row['num_images']:,}", row["path"]])
    print("\n".join(align(lines, "<>>><")))


def _shown(options: Evaluate, candidate: Any, examples: Any, layers: list[int] | None) -> dict[str, Any]:
    """Draw a page of images where it is asked for. Gives its path."""
    if options.show is None:
        return {}
    from cosub.evaluation.pictures import show_examples

    recipe, target = candidate.recipe, Path(options.run) / "examples.png"
    show_examples(
        candidate.network, examples, candidate.classes, recipe.resolution, recipe.inputs, options.show, target, layers
    )
    return {"picture": str(target)}


def _of_recipe(candidate: Any, run: str, path: str) -> Any:
    """The held-out images of the run's data, where they were or have moved to; or the images at a path."""
    from cosub.evaluation.images import has_moved_to, images_in, images_of_run
    from cosub.evaluation.sets import EvaluationSet
    from cosub.runs.folder import RunFolder
    from cosub.runs.summary import fingerprint_of, scored_on

    recipe, classes, summary = candidate.recipe, candidate.classes, RunFolder(Path(run)).read_summary()
    if path and not has_moved_to(recipe, classes, path, fingerprint_of(summary)):
        return EvaluationSet("images", path, images_in(recipe.data, classes, path))
    protocol = "validation" if scored_on(summary) == "validation" else "test"
    examples = images_of_run(recipe.data, classes, "test", path)
    return EvaluationSet(protocol, path or recipe.data.place or recipe.data.kind, examples)
