"""cosub train [RECIPE] [--method M] [--source S] [--key value ...] [--dry-run [--devices N] ...]"""

import os
from typing import Any

from cosub.api.configuring import configure
from cosub.api.fitting import train
from cosub.cli.dry_run import FLAGS, DryRun, show, take_dry_run
from cosub.recipes.recipe import Recipe

DESCRIPTION = """Train a recipe, or continue it: the same command on the same folder continues where it stopped.

RECIPE is a name (see `cosub recipes`) or the recipe.json of an earlier run; the default is digits.
--method {methods} and --source {sources} have options of their own; those of the chosen ones are listed.
--model NAME is any timm model of a supported family (here {model}), and --model-args depth=12 embed_dim=192 ...
its arguments (here {arguments}), added to the recipe's unless --model names another model.
--pretrained starts from the weights that timm publishes for the model; --weights from a file or a run.
--json prints the summary as one JSON object.
--dry-run plans the run instead, without its data: steps, FLOPs, time, memory per device, and what to change where it
does not fit. Its options: cosub train --dry-run --help."""


def run(words: list[str], as_json: bool) -> dict[str, Any] | None:
    recipe, dry_run = understand(words)
    if dry_run is not None:
        return show(recipe, dry_run, as_json)
    run = train(recipe)
    return run.summary if os.environ.get("RANK", "0") == "0" else None


def understand(words: list[str]) -> tuple[Recipe, DryRun | None]:
    """The recipe of a command line, and how to plan it; None where it is to be trained."""
    words = list(words)
    dry_run = take_dry_run(words)
    planned = None if dry_run is None else dry_run.images or 0
    return configure(words, DESCRIPTION, FLAGS, planned), dry_run
