"""Many submodels of one network on the same images: accuracy and loss of each."""

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float64
from torch import Tensor, nn

from cosub.attachment import active, layers_per_block
from cosub.choices import LabelLoss
from cosub.evaluation.images import Images
from cosub.losses import label_loss
from cosub.runs.network import evaluating
from cosub.submodel import keep_layers


class Kept(NamedTuple):
    """A chosen submodel: the residual layers that it keeps, and their factor, the arguments of `keep_layers`.

    All layers with scale 1 give the full network.
    """

    layers: tuple[int, ...]
    scale: float | Literal["expectation"] = 1.0


def evaluate_submodels(
    network: nn.Module,
    images: Images,
    submodels: Sequence[Kept],
    *,
    loss: LabelLoss = "bce",
    batch_size: int = 256,
    advance: Callable[[int], object] = lambda images: None,
) -> tuple[Float64[Tensor, "S"], Float64[Tensor, "S"]]:
    """Top-1 in [0, 1] and mean label loss of each of the `S` submodels, in eval mode.

    Each batch is normalised once and then passes through all submodels. BatchNorm uses the full network's statistics.

    Args:
        network: attached; it runs on the device of its parameters, and images are moved there.
        images: `N` of them, in memory.
        submodels: what to run, in any order.
        loss: "bce", averaged over images and classes, or "ce", over images (`losses.label_loss`).
        batch_size: images that pass through a submodel together.
        advance: called after each pass with its number of images, `N * S` in total.

    Raises:
        ValueError: if there is no image, the network is not attached, or a submodel keeps a layer that does not exist.
    """
    if not len(images):
        raise ValueError("images: there are none to evaluate submodels on")
    num_layers = sum(layers_per_block(network))
    device = next(network.parameters()).device
    right, total = torch.zeros(2, len(submodels), dtype=torch.float64, device=device)
    # Not inference mode: a network could not be trained with tensors that it caches there.
    with evaluating(network), torch.no_grad():
        for batch, targets in images.batches(batch_size, device):
            for index, (layers, scale) in enumerate(submodels):
                with active(network, keep_layers(layers, num_layers, len(targets), scale)):
                    logits = network(batch)
                right[index] += (logits.argmax(1) == targets).sum()
                total[index] += label_loss(logits, targets, loss) * len(targets)
                advance(len(targets))
    return (right / len(images)).cpu(), (total / len(images)).cpu()
