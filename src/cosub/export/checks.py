"""Compare the logits of an exported network with those of its run, on real images."""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from cosub.data.sources import BadImage, Examples, spaced
from cosub.data.transforms import evaluation, normalize
from cosub.errors import InputError, RunError
from cosub.recipes.recipe import Recipe

IMAGES = 100
SAME = 1e-5  # for timm's model
NEAR = 1e-4  # for another runtime, with kernels of its own

Network = Callable[[Float[Tensor, "B 3 H W"]], Float[Tensor, "B K"]]


def real_images(examples: Examples, recipe: Recipe, number: int = IMAGES) -> Float[Tensor, "B 3 H W"]:
    """Images of a set as a run's evaluation sees them, spread over the set; those that cannot be read are left out.

    Raises:
        InputError: if none can be read.
    """
    transform = evaluation(recipe.resolution, recipe.inputs)
    found, bad = [], "it has none"
    for place in spaced(len(examples.labels), number):
        try:
            found.append(torch.as_tensor(transform(examples.image(place))))
        except BadImage as error:
            bad = str(error)
    if not found:
        raise InputError(f"data.path: no image to compare with can be read ({bad}); name others")
    return normalize(torch.stack(found), recipe.inputs)


def batched_logits(
    network: Network, images: Float[Tensor, "B 3 H W"], batches: Sequence[int] = ()
) -> Float[Tensor, "B K"]:
    """Logits in batches of 32, after first batches of other sizes."""
    rest = images.shape[0] - sum(batches)
    sizes = [*batches, *[32] * (rest // 32), *([rest % 32] if rest % 32 else [])]
    with torch.inference_mode():
        return torch.cat([network(part) for part in images.split(sizes)])


def require_same(found: Float[Tensor, "B K"], source: Float[Tensor, "B K"], tolerance: float, what: str) -> float:
    """The largest difference between logits, which may be `tolerance` times the largest logit, or times 1.

    Raises:
        RunError: if it is larger.
    """
    difference = float((found - source).abs().max())
    if not difference <= tolerance * max(1.0, float(source.abs().max())):
        raise RunError(
            f"{what} and the run differ by {difference:.1e} in the logits of {len(source)} images, more than "
            f"{tolerance:g}; nothing was written"
        )
    return difference
