"""Top-1 and top-5 accuracy of the full network and of submodels, each image counted once."""

import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torchmetrics.classification import MulticlassAccuracy

from cosub.attachment import active, layers_per_block
from cosub.data.loading import Batch, TestSet, test_loader
from cosub.data.sources import Examples
from cosub.data.transforms import evaluation, normalize
from cosub.errors import RunError
from cosub.recipes.inputs import Inputs
from cosub.runs.distributed import World
from cosub.runs.network import evaluating
from cosub.submodel import evenly, keep_layers

_IMAGENET = Inputs()
SHARES = (0.75, 0.5)


@dataclass(frozen=True)
class Result:
    """Accuracies in [0, 1] of the full network, and top-1 accuracy of submodels by name."""

    top1: float
    top5: float
    submodels: Mapping[str, float]
    num_images: int
    bad: list[str]

    @property
    def headline(self) -> dict[str, float]:
        return {"top1": self.top1}

    @property
    def summary(self) -> dict[str, Any]:
        """Plain values for a run's summary."""
        submodels = dict(self.submodels)
        return {"top1": self.top1, "top5": self.top5, "top1_submodels": submodels, "num_images": self.num_images}


def evaluate(
    network: nn.Module,
    examples: Examples,
    num_classes: int,
    resolution: int,
    world: World,
    *,
    inputs: Inputs = _IMAGENET,
    targets: Int[Tensor, "n most"] | None = None,
    submodels: Mapping[str, Sequence[int]] | None = None,
    batch_size: int = 256,
    workers: int = 0,
    bad_share: float = 0.01,
    progress: Callable[[Iterable[Any], int], Iterable[Any]] = lambda batches, _total: batches,
) -> Result:
    """Run the network over a set of images. `submodels` names lists of residual layers to keep.

    If `targets` is given, labels are indices of its rows, which hold the classes that are correct for an image (ReaL).
    `progress` gets the batches and their number, and yields the batches.

    Each process evaluates every world.size-th image; sums are reduced and nothing is padded. All processes run the
    network equally often, because a sharded one needs all of them: without images left, a process runs it on a blank
    image, which is not counted.

    Raises:
        RunError: if more images than `bad_share` cannot be read.
    """
    layers = {"": None, **(submodels or {})}
    top1 = {name: _accuracy(num_classes, 1, world) for name in layers}
    top5 = _accuracy(num_classes, min(5, num_classes), world)
    dataset = TestSet(examples, evaluation(resolution, inputs), range(world.rank, len(examples.labels), world.size))
    loader = test_loader(dataset, batch_size, workers, world.device.type == "cuda")
    bad: list[str] = []
    targets = None if targets is None else targets.to(world.device)
    nothing = torch.zeros(1, 3, resolution, resolution, device=world.device)
    most = math.ceil(math.ceil(len(examples.labels) / world.size) / batch_size)  # batches per process
    # Not inference mode: sharded parameters that were gathered in it could not be trained again.
    with evaluating(network), torch.no_grad():
        for batch in progress(itertools.islice(itertools.chain(loader, itertools.repeat([])), most), most):
            labels, images = None, nothing
            if isinstance(batch, Batch):
                images = normalize(batch.images.to(world.device, non_blocking=True), inputs)
                labels = batch.labels.to(world.device, non_blocking=True)
            bad += batch.bad if isinstance(batch, Batch) else batch
            for name, kept in layers.items():
                logits = logits_of(network, images, kept)
                if labels is not None:
                    correct = labels if targets is None else best_target(logits, targets[labels])
                    top1[name].update(logits, correct)
                    if kept is None:
                        top5.update(logits, correct)
    bad = sorted(world.gather(set(bad)))
    check_bad(bad, len(examples.labels), bad_share)
    values = {name: _value(metric) for name, metric in top1.items()}
    full = values.pop("")
    return Result(full, _value(top5), values, len(examples.labels) - len(bad), bad)


def best_target(logits: Float[Tensor, "B C"], targets: Int[Tensor, "B most"]) -> Int[Tensor, " B"]:
    """The highest-scored of the correct classes: it is the top-1 (or in the top-5) if any of them is."""
    return targets.gather(1, logits.gather(1, targets).argmax(1, keepdim=True)).squeeze(1)


def shares_of(network: nn.Module, shares: Sequence[float] = SHARES) -> dict[str, list[int]]:
    """The layers of submodels with a fraction of the blocks, evenly spaced over depth, named by the fraction."""
    return {f"{share:g}": evenly(layers_per_block(network), share) for share in shares}


def check_bad(bad: Sequence[str], num_images: int, share: float) -> None:
    """Raise RunError if more images than `share` are unreadable, and more than one, or all, or `share` is 0."""
    if len(bad) > max(share * num_images, min(num_images - 1, share > 0)):
        raise RunError(
            f"{len(bad)} of {num_images} images cannot be read, more than bad_share {share:g} allows; the first: "
            f"{sorted(bad)[0]}; mend or remove them; in training, the same command goes on with a higher --bad-share, "
            "or begins again in another --out"
        )


def logits_of(network: nn.Module, images: Tensor, kept: Sequence[int] | None) -> Tensor:
    """Logits of the full network, or of the submodel with the residual layers `kept`."""
    if kept is None:
        return network(images)
    num_layers = sum(layers_per_block(network))
    with active(network, keep_layers(kept, num_layers, len(images))):
        return network(images)


def _accuracy(num_classes: int, top_k: int, world: World) -> Any:
    metric = MulticlassAccuracy(num_classes, top_k=top_k, average="micro", validate_args=False)
    return metric.to(world.device)


def _value(metric: Any) -> float:
    """The metric as a share of images, rounded because it divides in single precision."""
    return round(float(metric.compute()), 6)
