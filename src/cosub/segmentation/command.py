"""cosub evaluate of a segmentation run: mIoU, a table by class, overlays."""

from pathlib import Path
from typing import Any

from cosub.attachment import layers_per_block
from cosub.errors import InputError
from cosub.evaluation.images import images_in, images_of_run
from cosub.runs import distributed
from cosub.runs.folder import require_writable
from cosub.runs.tables import align, number_of
from cosub.segmentation.evaluation import SCALES, Mode, Result, evaluate, viewer
from cosub.segmentation.overlays import show_scenes
from cosub.segmentation.report import write_report
from cosub.submodel import evenly


def evaluate_scenes(options: Any, trained: Any, as_json: bool, report: Path | None = None) -> dict[str, Any] | None:
    """Evaluate the run's network as the options say; print and return the results.

    Args:
        options: those of `cosub evaluate`.
        report: a folder for a report.

    Raises:
        InputError: for an option of classification.
    """
    for name in ("set", "protocol", "real", "resolution", *options.inputs()):
        if getattr(options, name):
            raise InputError(f"{name}: is for classification, and {options.run} is a segmentation run; leave it out")
    if options.show:
        require_writable(options.run, "show")
    data, path = trained.recipe.data, options.data.path
    examples: Any = images_in(data, trained.classes, path) if path else images_of_run(data, trained.classes)
    world = distributed.join(options.device)
    if report is not None and world.size > 1:
        raise InputError(f"report: {report}: is written by one process; start it without torchrun")
    network, recipe = trained.network.to(world.device), trained.recipe
    mode = Mode(options.whole, SCALES if options.multi_scale else (1.0,), flip=options.multi_scale)
    layers = None if options.keep is None else evenly(layers_per_block(network), options.keep)
    result = evaluate(
        network, examples, trained.classes, recipe, world, mode=mode, layers=layers, workers=options.workers
    )
    if not world.main:
        return None
    values = {"run": options.run, **result.summary, "bad_images": len(result.bad)}
    values |= {"whole": options.whole, "multi_scale": options.multi_scale}
    if layers is not None:
        values |= {"keep": options.keep, "layers": layers}
    look = viewer(recipe, network, mode, world.device)
    if not as_json:  # before anything is written, which may fail
        print("\n".join(table(result)))
    if options.show:
        target = Path(options.run) / "examples.png"
        show_scenes(network, examples, trained.classes, look, options.show, target, layers=layers)
        values["picture"] = str(target)
    if report is not None:
        found = write_report(result, network, examples, look, options.run, report, layers)
        values["report"] = {"folder": str(report), **found}
    if not as_json:
        written = [*([values["picture"]] if options.show else []), *([str(report / "report.md")] if report else [])]
        print(*written, sep="\n", end="\n" if written else "")
    return values


def table(result: Result) -> list[str]:
    """The result as lines of text: classes with their share of the pixels, then the means."""
    total = max(sum(score.pixels for score in result.classes), 1)
    lines = [["class", "IoU", "accuracy", "pixels"]]
    for score in result.classes:
        shares = ("-" if value is None else f"{value:.2%}" for value in (score.iou, score.accuracy))
        lines.append([score.name, *shares, f"{score.pixels / total:.1%}"])
    means = f"mIoU {result.miou:.2%}  mean accuracy {result.mean_accuracy:.2%}  pixel accuracy {result.accuracy:.2%}"
    return [*align(lines, "<>>>"), f"{means}  ({number_of(result.num_images, 'image')})"]
