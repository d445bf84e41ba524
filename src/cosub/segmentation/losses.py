"""The losses of `cosub.losses` for a class at every pixel. Ignored pixels are in no term."""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from cosub.choices import CosubKind, LabelLoss
from cosub.losses import full_precision, parse_kind, target_from

IGNORE = 255

DenseLogits = Float[Tensor, "R C H W"]
Labels = Shaped[Tensor, "B H W"]


def dense_cosub_loss(
    logits: DenseLogits, labels: Labels, weight: float = 0.5, kind: CosubKind = "ce-soft"
) -> Float[Tensor, ""]:
    """Equation 2 at every pixel: the target is the pixel's label mixed with the other submodel's prediction there.

    The mean over the pixels whose label is not `IGNORE`, or 0: `losses.cosub_loss` of those pixels.

    Args:
        logits: the first copy of all images, then the second: `R = 2 * B`.
        labels: class indices, or `IGNORE`, of any integer type.
        weight: the weight of the label loss, in [0, 1].
        kind: as for `losses.cosub_loss`.

    Raises:
        ValueError: if the rows are not two copies of the labels, or a value is out of range.
    """
    loss, form = parse_kind(kind, weight)
    if logits.shape[0] != 2 * labels.shape[0]:
        raise ValueError(
            f"logits: need two copies of {labels.shape[0]} images and got {logits.shape[0]} rows: "
            "attach with copies=2 and keep the model in train mode"
        )
    logits = full_precision(logits)
    target, valid = _targets(logits, labels)
    other = target_from(logits.detach().roll(labels.shape[0], dims=0), loss, form)
    return _mean(logits, target.mul_(weight).add_(other, alpha=1 - weight), valid, loss)


def dense_label_loss(logits: DenseLogits, labels: Labels, loss: LabelLoss = "ce") -> Float[Tensor, ""]:
    """Cross-entropy with the label at every pixel, for one or more copies of the images: `R` is a multiple of `B`.

    The mean over the pixels whose label is not `IGNORE`, or 0.
    """
    logits = full_precision(logits)
    return _mean(logits, *_targets(logits, labels), loss)


def _targets(logits: DenseLogits, labels: Labels) -> tuple[DenseLogits, Bool[Tensor, "R H W"]]:
    """For each row: targets with one value per class, and which pixels count."""
    copies = logits.shape[0] // labels.shape[0]
    valid = labels != IGNORE
    target = torch.zeros_like(logits)
    index = labels.long().where(valid, 0).repeat(copies, 1, 1)
    return target.scatter_(1, index.unsqueeze(1), 1.0), valid.repeat(copies, 1, 1)


def _mean(logits: DenseLogits, target: DenseLogits, valid: Bool[Tensor, "R H W"], loss: str) -> Float[Tensor, ""]:
    """The mean over valid pixels. Indexing them would make shapes depend on data, and synchronise with the host."""
    if loss == "bce":
        pixels = F.binary_cross_entropy_with_logits(logits, target, reduction="none").mean(1)
    else:
        pixels = F.cross_entropy(logits, target, reduction="none")
    return pixels.where(valid, 0).sum() / valid.sum().clamp(min=1)
