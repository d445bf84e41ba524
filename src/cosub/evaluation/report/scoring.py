"""What a network says of every image of a set."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cosub.data.decoding import Read, rgb
from cosub.data.loading import Batch, TestSet, test_loader
from cosub.data.sources import Examples
from cosub.data.transforms import evaluation, normalize
from cosub.evaluation.accuracy import check_bad, logits_of
from cosub.evaluation.candidates import Candidate


@dataclass(frozen=True)
class Scored:
    """The logits and labels of the images that can be read, and the places of these images in their set."""

    logits: Float[Tensor, "N C"]
    labels: Int[Tensor, " N"]
    places: Int[Tensor, " N"]
    bad: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    def part(self, rows: Tensor | Sequence[int]) -> "Scored":
        rows = torch.as_tensor(rows)
        return Scored(self.logits[rows], self.labels[rows], self.places[rows], self.bad)

    @property
    def probabilities(self) -> Float[Tensor, "N C"]:
        return self.logits.softmax(1)

    @property
    def predicted(self) -> Int[Tensor, " N"]:
        return self.logits.argmax(1)

    @property
    def right(self) -> Tensor:
        return self.predicted == self.labels

    @property
    def confidence(self) -> Float[Tensor, " N"]:
        """The probability of the predicted class, as `cosub predict` prints it."""
        return self.probabilities.amax(1)


@dataclass(frozen=True)
class _Numbered:
    """The images of a set, each with its place as its label."""

    whole: Examples

    @property
    def labels(self) -> range:
        return range(len(self.whole.labels))

    def image(self, index: int, read: Read = rgb) -> Any:
        return self.whole.image(index, read)

    def name(self, index: int) -> str:
        return self.whole.name(index)


def score(
    candidate: Candidate,
    examples: Examples,
    device: torch.device,
    *,
    layers: Sequence[int] | None = None,
    batch_size: int = 256,
    workers: int = 0,
    progress: Callable[[Iterable[Any], int], Iterable[Any]] = lambda batches, _total: batches,
) -> Scored:
    """Run a network, which is on the device, over a set. `layers`: the residual layers of a submodel.

    Raises:
        RunError: if more images than the recipe's share cannot be read.
    """
    recipe = candidate.recipe
    dataset = TestSet(_Numbered(examples), evaluation(recipe.resolution, recipe.inputs), range(len(examples.labels)))
    loader = test_loader(dataset, batch_size, workers, device.type == "cuda")
    logits, places, bad = [torch.empty(0, len(candidate.classes))], [torch.empty(0, dtype=torch.long)], []
    with torch.inference_mode():
        for batch in progress(loader, len(loader)):
            bad += batch.bad if isinstance(batch, Batch) else batch
            if isinstance(batch, Batch):
                images = normalize(batch.images.to(device, non_blocking=True), recipe.inputs)
                logits.append(logits_of(candidate.network, images, layers).float().cpu())
                places.append(batch.labels)
    check_bad(bad, len(examples.labels), recipe.bad_share)
    found = torch.cat(places)
    labels = torch.as_tensor([examples.labels[place] for place in found.tolist()], dtype=torch.long)
    return Scored(torch.cat(logits), labels, found, tuple(sorted(set(bad))))
