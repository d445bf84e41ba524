"""What a classifier makes of one image, prepared as its run prepares images."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor, nn

from cosub.data.transforms import evaluation, normalize
from cosub.evaluation.accuracy import logits_of
from cosub.recipes.recipe import Recipe


def probabilities(
    network: nn.Module, recipe: Recipe, image: Image.Image, kept: Sequence[int] | None = None
) -> Float[Tensor, " C"]:
    """The probability of each class, computed on the network's device, on the CPU.

    Args:
        network: in eval mode.
        recipe: says how the image is prepared.
        image: in RGB, of any size.
        kept: the residual layers of a submodel; None for all.
    """
    pixels = torch.as_tensor(evaluation(recipe.resolution, recipe.inputs)(image))
    device = next(network.parameters()).device
    with torch.inference_mode():
        logits = logits_of(network, normalize(pixels[None].to(device), recipe.inputs), kept)
    return logits.softmax(1)[0].cpu()
