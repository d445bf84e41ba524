"""What is exported: a finished run, whole or slimmed."""

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from cosub.errors import InputError
from cosub.export.card import Facts
from cosub.runs.folder import RunFolder, Trained, load_classifier
from cosub.runs.network import create, settings_of
from cosub.twins import TWINS
from cosub.twins.removal import blocks_of


@dataclass(frozen=True)
class Exported:
    """A run, and timm's full model with the run's weights; branches that the run lacks have any."""

    trained: Trained
    facts: Facts
    model: nn.Module


def open_run(run: str) -> Exported:
    """A finished run's folder.

    Raises:
        InputError: if the folder holds no finished run.
    """
    folder = RunFolder(Path(run).expanduser())
    trained = load_classifier(run)
    summary = folder.read_summary() if folder.summary.exists() else {}
    if (state := summary.get("state", "done")) != "done":
        raise InputError(f"run: {folder.path}: is {state}, not done; finish it with the same train command")
    recipe = trained.recipe
    model = create(recipe.model, recipe.resolution, len(trained.classes), settings_of(recipe))
    model.load_state_dict(
        trained.network.state_dict(), strict=False
    )  # load_classifier has seen that its own are all there
    layers = sum(TWINS[type(block)].layers_of(block) for block in blocks_of(model))
    kept = recipe.kept_layers or tuple(range(layers))
    return Exported(trained, Facts(recipe, trained.classes, summary, kept, layers), model)
