"""A run's network for use without cosub: what is asked of an export, and its writing."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tyro.conf import Positional

from cosub.choices import Format
from cosub.errors import InputError
from cosub.recipes.data import DataPath
from cosub.recipes.files import require_run


@dataclass(frozen=True)
class Export:
    """Write a run's network for use without cosub, after comparing it with the run on real images."""

    run: Positional[str]
    """The run's folder; it may be a slimmed one."""
    format: Format = "timm"
    """A folder that timm loads (model.safetensors, config.json), ONNX, or a push to the Hugging Face Hub."""
    out: str = ""
    """The folder to write, by default RUN/timm or RUN/onnx; never one with something in it."""
    data: DataPath = field(default_factory=DataPath)
    repo: str = ""
    """For hub: OWNER/NAME."""
    private: bool = False
    """For hub: a new repository is private."""


def export(options: Export) -> dict[str, Any]:
    """Write the network, or push it. Gives where it is, whether it needs a module beside it, and how it was compared.

    Raises:
        InputError: for a run that is not finished, a folder that is taken, or a format that cannot say the network.
        RunError: if what was written gives other logits than the run.
    """
    require_run(options.run)
    folder = Path(options.out) if options.out else Path(options.run) / options.format
    _refuse(options, folder)
    from cosub.evaluation.images import images_in, images_of_run
    from cosub.export.checks import SAME, batched_logits, real_images, require_same
    from cosub.export.exported import open_run
    from cosub.export.plain import plain_model
    from cosub.export.words import loading_words
    from cosub.runs import distributed
    from cosub.runs.progress import Terminal

    distributed.require_one_process("export")
    source = open_run(options.run)
    say = Terminal().say
    recipe = source.trained.recipe
    classes, path = source.trained.classes, options.data.path
    examples = images_in(recipe.data, classes, path) if path else images_of_run(recipe.data, classes)
    images = real_images(examples, recipe)
    logits = batched_logits(source.trained.network, images)
    plain = plain_model(source.model, source.facts.kept, recipe.kept_scale)
    difference = require_same(batched_logits(plain.model, images), logits, SAME, "the plain model")
    values: dict[str, Any] = {"run": options.run, "format": options.format, "images": len(images)}
    values["module"] = plain.needs_module
    if options.format == "timm":
        from cosub.export.writing import write_timm

        difference = write_timm(plain, source.facts, folder, images, logits)
    elif options.format == "onnx":
        from cosub.export.graph import write_onnx

        difference = write_onnx(plain, source.facts, folder, images, logits, say)
    else:
        from cosub.export.upload import push

        values["to"] = push(plain, source.facts, options.repo, options.private)
    values = {"to": str(folder), **values, "difference": difference}
    return {**values, "load": loading_words(plain, options.format, options.repo or str(folder))}


def _refuse(options: Export, folder: Path) -> None:
    """Raise for what is wrong before anything is read."""
    if options.format == "hub":
        from cosub.export.upload import require_name

        require_name(options.repo)
        if options.out:
            raise InputError(f"out: {options.out}: nothing is written for the Hub; leave it out, or take --format timm")
        return
    if options.repo or options.private:
        raise InputError(f"repo, private: belong to --format hub, not to {options.format}; leave them out")
    from cosub.runs.folder import require_free

    require_free(folder)
    if options.format == "onnx":
        from cosub.export.graph import require_packages

        require_packages()
