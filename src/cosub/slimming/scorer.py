"""What submodels are worth: their loss on calibration images, their accuracy, their time."""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from cosub.attachment import active, state
from cosub.choices import LabelLoss
from cosub.evaluation.images import Images
from cosub.losses import label_loss
from cosub.runs.timing import seconds_of
from cosub.submodel import keep_layers
from cosub.twins.twin import Twin

Layers = tuple[int, ...]  # the residual layers that a submodel keeps, ascending


@dataclass
class Scorer:
    """Losses of submodels of an attached network in eval mode on calibration images.

    `tick` is called with the number of batches of a submodel that are done. Images are in random order.
    """

    network: nn.Module
    images: Images
    loss: LabelLoss
    batch_size: int
    tick: Callable[[int], None] = field(default=lambda _: None)
    evaluations: int = 0

    @property
    def num_layers(self) -> int:
        return len(state(self.network).rates)

    @property
    def everything(self) -> Layers:
        return tuple(range(self.num_layers))

    @property
    def num_batches(self) -> int:
        return -(-len(self.images) // self.batch_size)

    def losses(self, base: Layers, candidates: Sequence[Layers]) -> list[float]:
        """The mean loss of each candidate, computed from the first block on in which it differs from `base`.

        What comes before is computed once per batch and kept: for one batch, the output of every block. That is
        `batch_size` times 4 bytes times the sum of the blocks' outputs (ViT-B at 224 pixels: 7 MB per image). Equal to
        the bit to computing every submodel from the start.
        """
        self.evaluations += len(candidates)
        return (self._sums(base, candidates, range(self.num_batches)) / len(self.images)).tolist()

    def halve_candidates(self, base: Layers, candidates: Sequence[Layers], least: int = 1) -> dict[Layers, float]:
        """Successive halving, one round: the half with the lowest loss on a quarter of the images sees the others.

        Returns the mean loss of each in that half, or of `least`. It takes 5/8 of the time of all evaluations.
        With fewer than eight batches, all candidates see all images.
        """
        quarter = self.num_batches // 4
        if quarter < 2:
            return dict(zip(candidates, self.losses(base, candidates), strict=True))
        self.evaluations += len(candidates)
        first = self._sums(base, candidates, range(quarter))
        order = first.argsort(stable=True).tolist()[: max(math.ceil(len(candidates) / 2), least)]
        self.tick((len(candidates) - len(order)) * (self.num_batches - quarter))
        better = [candidates[place] for place in order]
        sums = first[order] + self._sums(base, better, range(quarter, self.num_batches))
        return dict(zip(better, (sums / len(self.images)).tolist(), strict=True))

    @torch.inference_mode()
    def _sums(self, base: Layers, candidates: Sequence[Layers], batches: range) -> Float[Tensor, "candidates"]:
        """Of the losses of all images in some of the batches."""
        blocks = blocks_of(self.network)
        starts = [_first_change(blocks, base, candidate) for candidate in candidates]
        sums = torch.zeros(len(candidates), dtype=torch.float64)
        for images, labels in itertools.islice(self._batches(), batches.start, batches.stop):
            with recorded(blocks) as outputs:
                self._logits(images, base)
            for place, (start, candidate) in enumerate(zip(starts, candidates, strict=True)):
                with resumed(blocks, outputs, start):
                    logits = self._logits(images, candidate)
                sums[place] += label_loss(logits, labels, self.loss).double().cpu() * len(labels)
                self.tick(1)
        return sums

    @torch.inference_mode()
    def cosine_distances(self) -> list[float]:
        """The cosine distance between the stream before and after each residual layer, over all values of an image."""
        sums = torch.zeros(self.num_layers, dtype=torch.float64)
        for images, _ in self._batches():
            seen: list[Tensor] = []

            def observe(before: Tensor, after: Tensor, seen: list[Tensor] = seen) -> None:
                # In single precision 1 - cosine is zero for small layers as for idle ones.
                first, second = before.flatten(1).double(), after.flatten(1).double()
                seen.append((1 - nn.functional.cosine_similarity(first, second)).sum().cpu())

            state(self.network).observer = observe
            try:
                self._logits(images, self.everything)
            finally:
                state(self.network).observer = None
            sums += torch.stack(seen)
            self.tick(1)
        self.evaluations += 1
        return (sums / len(self.images)).tolist()

    def _batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        return self.images.batches(self.batch_size, next(self.network.parameters()).device)

    def _logits(self, images: Tensor, kept: Layers) -> Tensor:
        with active(self.network, keep_layers(kept, self.num_layers, len(images))):
            return self.network(images)


def blocks_of(network: nn.Module) -> list[Twin]:
    """The blocks of an attached network that have a residual layer, in order."""
    return [module for module in network.modules() if isinstance(module, Twin) and module.cosub.num_layers]


@contextmanager
def recorded(blocks: Sequence[Twin]) -> Iterator[list[Tensor]]:
    """Inside, what each block gives is put into the list, in order."""
    outputs: list[Tensor] = []

    def recording(block: Twin) -> Callable[..., Tensor]:
        def forward(*args: Any, **kwargs: Any) -> Tensor:
            outputs.append(type(block).forward(block, *args, **kwargs))
            return outputs[-1]

        return forward

    with _forwards({block: recording(block) for block in blocks}):
        yield outputs


@contextmanager
def resumed(blocks: Sequence[Twin], outputs: Sequence[Tensor], start: int) -> Iterator[None]:
    """Inside, the blocks before number `start` give what was recorded. What lies between them is computed again."""

    def replaying(block: Twin, output: Tensor) -> Callable[..., Tensor]:
        def forward(x: Tensor, *_: Any, **__: Any) -> Tensor:
            if block.cosub.replicates:  # which fixes the submodel of the pass
                block.cosub.state.begin(x, block)
            return output

        return forward

    with _forwards({block: replaying(block, output) for block, output in zip(blocks[:start], outputs, strict=False)}):
        yield


@contextmanager
def _forwards(forwards: dict[Twin, Callable[..., Tensor]]) -> Iterator[None]:
    for block, forward in forwards.items():
        block.forward = forward
    try:
        yield
    finally:
        for block in forwards:
            del block.forward  # that of its class is there again


def _first_change(blocks: Sequence[Twin], base: Layers, candidate: Layers) -> int:
    """The number of the first block in which two submodels differ; that of all blocks where they do not."""
    different = set(base) ^ set(candidate)
    layers = [range(block.cosub.first_layer, block.cosub.first_layer + block.cosub.num_layers) for block in blocks]
    return next((number for number, inside in enumerate(layers) if different & set(inside)), len(blocks))


@torch.inference_mode()
def loss_of(network: nn.Module, images: Images, loss: LabelLoss, batch_size: int) -> float:
    """The mean loss of a whole network in eval mode."""
    total = 0.0
    for batch, labels in images.batches(batch_size, next(network.parameters()).device):
        total += float(label_loss(network(batch), labels, loss)) * len(labels)
    return total / len(images)


@torch.inference_mode()
def accuracy_of(network: nn.Module, images: Images, batch_size: int) -> float:
    """Top-1 of a whole network in eval mode."""
    device = next(network.parameters()).device
    right = sum(int((network(batch).argmax(1) == labels).sum()) for batch, labels in images.batches(batch_size, device))
    return right / len(images)


@torch.inference_mode()
def milliseconds(networks: Sequence[nn.Module], resolution: int, batch_size: int) -> list[float]:
    """Of one forward pass of each network in eval mode: the shortest of 50, in ten rounds over all networks.

    What else the machine does only adds to a time, and in rounds it does not meet one network alone.
    """
    device = next(networks[0].parameters()).device
    images = torch.randn(batch_size, 3, resolution, resolution, device=device)
    best = [math.inf] * len(networks)
    for _ in range(10):
        for place, network in enumerate(networks):
            best[place] = min(best[place], *(seconds_of(device, network, images) for _ in range(5)))
    return [round(1000 * seconds, 4) for seconds in best]
