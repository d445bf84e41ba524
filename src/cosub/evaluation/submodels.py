"""Many submodels of one network on the same images: accuracy and loss of each."""

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float64, Int64, UInt8
from torch import Tensor, nn

from cosub.attachment import active, layers_per_block
from cosub.choices import LabelLoss
from cosub.data.transforms import normalize
from cosub.losses import label_loss
from cosub.recipes.inputs import Inputs
from cosub.submodel import keep_layers

_IMAGENET = Inputs()


class Kept(NamedTuple):
    """A submodel made by hand: the residual layers that it keeps, and their factor, as `submodel.keep_layers` has it.

    All layers with scale 1 are the full network.
    """

    layers: tuple[int, ...]
    scale: float | Literal["expectation"] = 1.0


def evaluate_submodels(
    network: nn.Module,
    images: UInt8[Tensor, "N 3 H W"],
    labels: Int64[Tensor, "N"],
    submodels: Sequence[Kept],
    *,
    inputs: Inputs = _IMAGENET,
    loss: LabelLoss = "bce",
    batch_size: int = 256,
    advance: Callable[[int], object] = lambda images: None,
) -> tuple[Float64[Tensor, "S"], Float64[Tensor, "S"]]:
    """Top-1 in [0, 1] and mean label loss of each of the `S` submodels, in eval mode.

    Each batch is normalised once and then passes through all submodels. BatchNorm uses the full network's statistics.

    Args:
        network: attached; runs where its parameters lie. The images may lie elsewhere.
        images: decoded, as `images.in_memory` gives them.
        labels: class indices.
        submodels: what to run, in any order.
        inputs: the mean and deviation that the network expects.
        loss: "bce", averaged over images and classes, or "ce", over images (`losses.label_loss`).
        batch_size: images that pass through a submodel together.
        advance: told after each pass how many images it had, `N * S` in all.

    Raises:
        ValueError: if there is no image, the network is not attached, or a submodel keeps a layer that is not there.
    """
    if not len(labels):
        raise ValueError("there is no image to evaluate submodels on")
    num_layers = sum(layers_per_block(network))
    device = next(network.parameters()).device
    right, total = torch.zeros(2, len(submodels), dtype=torch.float64, device=device)
    training = network.training
    network.eval()
    with torch.no_grad():  # not inference mode: what a network caches in it could not be trained with afterwards
        for part, answers in zip(images.split(batch_size), labels.split(batch_size), strict=True):
            batch, targets = normalize(part.to(device, non_blocking=True), inputs), answers.to(device)
            for index, (layers, scale) in enumerate(submodels):
                with active(network, keep_layers(layers, num_layers, len(targets), scale)):
                    logits = network(batch)
                right[index] += (logits.argmax(1) == targets).sum()
                total[index] += label_loss(logits, targets, loss) * len(targets)
                advance(len(targets))
    network.train(training)
    return (right / len(labels)).cpu(), (total / len(labels)).cpu()
