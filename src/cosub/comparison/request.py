"""What `cosub compare` can be asked."""

import os
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field
from tyro.conf import Positional

from cosub.choices import ArmName
from cosub.paper.studies.arms import FIRST
from cosub.recipes.ranges import Checked, NonNegativeInt, PositiveFloat, require

THREE: tuple[ArmName, ...] = (FIRST, "stochastic-depth", "co-training")
MOST_SEEDS = 100


@dataclass(frozen=True)
class Request(Checked):
    """Is co-training worth it on my images? timm's masked drop path, efficient stochastic depth and co-training.

    All get the same time for training. Drop rate and learning rate are chosen for each on validation images, in short
    runs from a seed that is not used again. It ends in a table with 95 % intervals, a picture and a sentence. The same
    command goes on where it stopped.
    """

    folder: Positional[str]
    """Images in classes: FOLDER/train/CLASS/*.jpg with val and, where there is one, test; or FOLDER/CLASS/*.jpg."""
    minutes: PositiveFloat = 15.0
    """For all of it, on this machine. What is not finished then is left to the next call of the same command."""
    seeds: Annotated[int, Field(ge=1, le=MOST_SEEDS)] = 3
    """Runs of each way, all from seeds that the others have too. One gives no interval."""
    model: str = ""
    """A timm model of a supported family; by default that of the weights, or the small ViT of the recipe scratch."""
    weights: str = ""
    """Start from these weights, as cosub train finetune does: a file, a run's folder or a name; empty: from scratch."""
    resolution: NonNegativeInt = 0
    """Height and width of the images in pixels; 0: that of the weights or of the recipe scratch."""
    arms: tuple[ArmName, ...] = THREE
    """What is compared: masking and others; two-copies is co-training without the other's prediction (weight 1)."""
    out: str = ""
    """Folder of plan, runs, table and picture; by default out/compare-FOLDER."""
    jobs: NonNegativeInt = 0
    """Runs at a time, each with one thread; 0: as many as there are cores and runs in the table, and one on a GPU."""
    workers: NonNegativeInt | None = None
    """Processes that load images, for each run, as for `cosub train`; 0 loads in the run's own."""

    def __post_init__(self) -> None:
        super().__post_init__()
        several = FIRST in self.arms and len(set(self.arms)) > 1
        remedy = f"must be {FIRST} and others to compare with it, e.g. {FIRST} co-training"
        require(several, "arms", " ".join(self.arms), remedy)

    @property
    def asked(self) -> dict[str, Any]:
        """What the plan depends on."""
        names = ("minutes", "seeds", "model", "weights", "resolution")
        values = {name: getattr(self, name) for name in names}
        return {"folder": os.path.realpath(self.folder), **values, "arms": list(self.arms)}
