"""A step whose loss or gradient is not finite: where it first occurs, its images, and whether the run continues."""

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from torch import Tensor

from cosub.data.loading import Batch
from cosub.errors import RunError
from cosub.recipes.recipe import Recipe
from cosub.runs.distributed import World
from cosub.runs.progress import Reporter
from cosub.train.checkpoint import save_weights
from cosub.train.finite import MOST_IN_A_ROW, find_first_nonfinite
from cosub.train.networks import Networks

_AGAIN = "begin again, in another --out, with a lower --lr, a higher --optimizer.warmup-epochs or --optimizer.clip"


@dataclass
class NonFiniteSteps:
    """The steps of a run that are not finite."""

    recipe: Recipe
    world: World
    folder: Path
    reporter: Reporter
    in_a_row: int = 0

    def examine(
        self,
        networks: Networks,
        batches: Sequence[Batch],
        values: Tensor,
        *,
        step: int,
        rate: float,
        rerun: Callable[[], float],
    ) -> None:
        """Report the step, and keep its images. All processes call it.

        Args:
            networks: all networks of the run, uncompiled.
            batches: those of this process in the step.
            values: loss first, norm of the gradient last.
            step: the step of the run, from 0.
            rate: learning rate of the step.
            rerun: runs the step again; returns its loss.

        Raises:
            RunError: if the recipe stops at such a step, or too many in a row were skipped.
        """
        places = self.world.gather({find_first_nonfinite(networks.trained, rerun)} - {""})
        loss, *_, norm = values.tolist()
        report = (
            f"step {step + 1}: loss {loss:g}, gradient {norm:g}: not finite first "
            f"{min(places, default='nowhere when the step is run again')} "
            f"(learning rate {rate:.3g}; the images are in {self._keep(batches, step, rate)})"
        )
        self.in_a_row += 1
        if self.recipe.non_finite == "stop":
            raise RunError(
                f"{report}: the same command with --non-finite skip goes on from the last checkpoint, and skips up to "
                f"{MOST_IN_A_ROW - 1} such steps in a row; or {_AGAIN}"
            )
        if self.in_a_row == MOST_IN_A_ROW:
            raise RunError(f"{report}, after {MOST_IN_A_ROW - 1} such steps in a row: {_AGAIN}")
        self.reporter.warn(f"{report}; skipped")

    def _keep(self, batches: Sequence[Batch], step: int, rate: float) -> Path:
        """Write the images and labels of this process in the step, as loaded. Returns the path."""
        path = self.folder / f"non-finite-step-{step + 1}-process-{self.world.rank}.safetensors"
        tensors = {name: torch.cat([getattr(batch, name) for batch in batches]) for name in ("images", "labels")}
        facts = {"step": step + 1, "learning_rate": rate, "seed": self.recipe.seed}
        with suppress(OSError, SafetensorError):  # a full disk should not hide the report
            save_weights(tensors, path, {"facts": json.dumps(facts)})
        return path
