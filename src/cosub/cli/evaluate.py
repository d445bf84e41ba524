"""cosub evaluate RUN [--data.path P] [--keep SHARE] [--show N] [--multi-scale] [--whole]"""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import Positional, arg

from cosub.cli.parsing import parse
from cosub.errors import InputError


@dataclass(frozen=True)
class DataPath:
    path: str = ""
    """Where the data lie now; by default where the run found them."""


@dataclass(frozen=True)
class Evaluate:
    """Accuracy of a run's network on the test images of its recipe; of a segmentation run mIoU."""

    run: Positional[str]
    """The run's folder."""
    data: DataPath = field(default_factory=DataPath)
    keep: float | None = None
    """Evaluate a submodel with this share of the blocks, spread evenly over depth, instead of the full network."""
    show: int = 0
    """Write a picture of this many test images with true and predicted class to RUN/examples.png."""
    multi_scale: Annotated[bool, arg(name="multi-scale")] = False
    """Segmentation: mean over six scales and their mirror images."""
    whole: bool = False
    """Segmentation: whole images instead of windows of the training crop's size."""
    device: str = "auto"
    workers: int = 0
    batch_size: Annotated[int, arg(name="batch-size")] = 256

    def __post_init__(self) -> None:
        for name, least in (("show", 0), ("workers", 0), ("batch_size", 1)):
            if getattr(self, name) < least:
                raise InputError(f"{name}: {getattr(self, name)}: must be {least} or more")
        if self.keep is not None and not 0 < self.keep <= 1:
            raise InputError(f"keep: {self.keep}: must be in (0, 1]")


def run(words: list[str], as_json: bool) -> dict[str, Any] | None:
    options = parse(Evaluate, words, "cosub evaluate")
    from cosub import distributed

    try:
        return _evaluate(options, as_json)
    finally:
        distributed.leave()


def _evaluate(options: Evaluate, as_json: bool) -> dict[str, Any] | None:
    from cosub import distributed
    from cosub.evaluation.classification import evaluate, shares_of
    from cosub.evaluation.pictures import show_examples
    from cosub.run import load_run

    trained = load_run(options.run)
    examples = _examples(trained, options.data.path)
    if trained.recipe.task.kind == "segmentation":
        from cosub.cli.scenes import evaluate_scenes

        return evaluate_scenes(options, trained, examples, as_json)
    for name in ("multi_scale", "whole"):
        if getattr(options, name):
            raise InputError(f"{name}: {options.run} is no segmentation run; leave it out")
    world = distributed.join(options.device)
    network = trained.network.to(world.device)
    wanted = {} if options.keep is None else shares_of(network, (options.keep,))
    result = evaluate(
        network,
        examples,
        len(trained.classes),
        trained.recipe.resolution,
        world,
        inputs=trained.recipe.inputs,
        submodels=wanted,
        batch_size=options.batch_size,
        workers=options.workers,
        bad_share=trained.recipe.bad_share,
    )
    if not world.main:
        return None
    if options.show:
        target = Path(options.run) / "examples.png"
        recipe = trained.recipe
        show_examples(network, examples, trained.classes, recipe.resolution, recipe.inputs, options.show, target)
    values = {
        "run": options.run,
        "top1": next(iter(result.submodels.values()), result.top1),
        "num_images": result.num_images,
        "bad_images": len(result.bad),
    }
    if options.keep is None:
        values["top5"] = result.top5
    else:  # top-5 is measured for the full network alone
        values |= {"keep": options.keep, "layers": wanted[f"{options.keep:g}"]}
    if not as_json:
        what = "full network" if options.keep is None else f"{options.keep:.0%} of the blocks"
        print(f"top-1 {values['top1']:.4f}  ({what}, {result.num_images:,} images, {options.run})")
    return values


def _examples(trained: Any, path: str) -> Any:
    """The test images of the run's recipe, or those at a path: there, all of a folder that has no splits."""
    from cosub.data.sources import all_images, open_source

    data = trained.recipe.data
    if path:
        if data.kind == "digits":
            raise InputError("data.path: the run was trained on the embedded digits, which have no path; leave it out")
        data = dataclasses.replace(data, path=path)
        examples = all_images(data, trained.classes)
        if examples is not None:
            return examples
    source = open_source(data)
    if source.classes != trained.classes:
        raise InputError(
            f"data.path: {getattr(data, 'path', '')}: has {len(source.classes)} classes that are not those of the run "
            f"({', '.join(trained.classes[:3])}, ...)"
        )
    return source.test
