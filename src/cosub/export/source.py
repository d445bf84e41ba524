"""What is exported: a finished run, whole or slimmed, and what it answers."""

from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from jaxtyping import Float
from torch import Tensor

from cosub.attachment import active, layers_per_block
from cosub.export.card import Facts
from cosub.run import RunFolder, Trained, load_run
from cosub.submodel import keep_layers


@dataclass(frozen=True)
class Source:
    """A run's network, and which of its residual layers are kept with which factor."""

    trained: Trained
    facts: Facts
    scale: float

    def network(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B K"]:
        """The run's logits."""
        every = len(self.facts.kept) == self.facts.layers
        submodel = keep_layers(self.facts.kept, self.facts.layers, len(images), self.scale)
        with nullcontext() if every else active(self.trained.network, submodel):
            return self.trained.network(images)


def open_run(run: str) -> Source:
    """A finished run's folder.

    Raises:
        InputError: if the folder holds no finished run.
    """
    trained = load_run(run)
    folder = RunFolder(Path(run))
    layers = sum(layers_per_block(trained.network))
    kept = getattr(trained.recipe, "kept_layers", ()) or tuple(range(layers))
    summary = folder.read_summary() if folder.summary.exists() else {}
    facts = Facts(trained.recipe, trained.classes, summary, kept, layers)
    return Source(trained, facts, getattr(trained.recipe, "kept_scale", 1.0))
