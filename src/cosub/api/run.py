"""A finished run in Python: its network, its results, and what the verbs of the command line do with it."""

import functools
import itertools
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cosub.api.keywords import words_of
from cosub.api.parsing import parse
from cosub.errors import InputError
from cosub.recipes.files import read_run, require_run
from cosub.recipes.recipe import Recipe

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image
    from torch import Tensor, nn

    from cosub.runs.folder import Trained

    AnImage = str | os.PathLike[str] | Image.Image | np.ndarray

_BATCH = 64  # images that are predicted together


@dataclass(frozen=True)
class Prediction:
    """What a network takes an image for."""

    label: str
    """The most likely class."""
    probability: float
    """Of that class."""
    probabilities: Mapping[str, float]
    """Of every class, the most likely first."""
    image: str = ""
    """Its file; empty for an image in memory."""


class Run:
    """The folder of a run: one that `cosub.fit` gives, or an earlier one.

    Options of the methods are the flags of the verb of that name, written as those of `cosub.fit`.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        """Raises InputError if the folder holds no run."""
        self.folder = Path(folder).expanduser()
        require_run(self.folder)

    def __repr__(self) -> str:
        return f"Run({str(self.folder)!r})"

    @functools.cached_property
    def recipe(self) -> Recipe:
        """What the run is a function of."""
        return read_run(self.folder)

    @property
    def summary(self) -> dict[str, Any]:
        """Its results, as summary.json has them now. Raises InputError where there are none yet."""
        from cosub.runs.folder import RunFolder

        return RunFolder(self.folder).read_summary()

    @property
    def network(self) -> "nn.Module":
        """Attached, in eval mode; on the CPU until it is moved. Always the same object; as `cosub.load` gives it."""
        return self._trained.network

    @property
    def classes(self) -> tuple[str, ...]:
        """Their names, in the order of the network's logits."""
        return self._trained.classes

    @functools.cached_property
    def _trained(self) -> "Trained":
        from cosub.runs.folder import load_run

        return load_run(self.folder)

    def predict(self, images: "AnImage | Iterable[AnImage]", keep: float | None = None) -> list[Prediction]:
        """What the network takes images for, computed in batches where `network` is.

        Args:
            images: one or several: files, folders, patterns such as "photos/**/*.jpg", PIL images, or arrays of uint8
                with shape (H, W) or (H, W, 3).
            keep: use a submodel with this share of the blocks, spread evenly over depth.

        Raises:
            InputError: for a file that cannot be read, and for a segmentation run. What cannot be read in a folder is
                left out with a warning.
        """
        import torch

        from cosub.data.given import opened
        from cosub.data.transforms import evaluation
        from cosub.evaluation.candidates import layers_kept
        from cosub.evaluation.prediction import probabilities
        from cosub.runs.folder import require_classification

        require_classification(self.recipe, self.folder)
        if keep is not None and not (isinstance(keep, int | float) and 0 < keep <= 1):
            raise InputError(f"keep: {keep!r}: must be a share of the blocks, above 0 and at most 1")
        kept, found = layers_kept(self.network, keep), []
        transform = evaluation(self.recipe.resolution, self.recipe.inputs)

        def crop(one: "tuple[str, Image.Image]") -> "tuple[str, Tensor]":
            return one[0], torch.as_tensor(transform(one[1]))

        # No generator of ours around `opened`: it warns of the line of its caller's caller, which is the user's.
        crops = map(crop, opened(images, self.recipe.data))
        while batch := list(itertools.islice(crops, _BATCH)):
            files, pixels = zip(*batch, strict=True)
            likely = probabilities(self.network.eval(), self.recipe, torch.stack(pixels), kept).sort(descending=True)
            for file, values, order in zip(files, likely.values.tolist(), likely.indices.tolist(), strict=True):
                by_name = {self.classes[index]: value for index, value in zip(order, values, strict=True)}
                found.append(Prediction(self.classes[order[0]], values[0], by_name, file))
        return found

    def evaluate(self, **options: Any) -> dict[str, Any]:
        """Accuracy on the run's test images, or others (`data="FOLDER"`), of the network or a submodel (`keep=0.5`).

        Returns:
            What `cosub evaluate RUN --json` prints: top1, top5, num_images, ...
        """
        from cosub.api.evaluate import Evaluate, evaluate

        return evaluate(parse(Evaluate, self._words(options), "cosub evaluate")) or {}

    def slim(self, **options: Any) -> "Run":
        """A smaller network: `keep` of the blocks, or with `unit="layer"` of the residual layers. Its run, or where it
        is healed (`heal=2`) that run.

        Raises:
            InputError: for a number of layers that the network cannot have, or a folder that holds something else.
        """
        from cosub.runs import distributed
        from cosub.slimming.request import Request

        request = parse(Request, self._words(options), "cosub slim")
        if request.frontier:
            raise InputError(f"frontier: gives a table and no network; `cosub slim {self.folder} --frontier` writes it")
        from cosub.slimming.slim import slim

        with distributed.leaving():
            summary = slim(request)
        return Run(summary.get("healed", summary)["run"])

    def export(self, **options: Any) -> dict[str, Any]:
        """Write the network for use without cosub, after comparing it with the run on real images.

        Returns:
            What `cosub export RUN --json` prints: the folder (`to`), whether it needs its module, the difference.
        """
        from cosub.api.export import Export, export

        return export(parse(Export, self._words(options), "cosub export"))

    def _words(self, options: Mapping[str, Any]) -> list[str]:
        return [str(self.folder), *words_of(options)]
