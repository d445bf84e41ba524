"""Losses: equation 2 of the paper, the methods of figure 2 that it is compared with, and the label loss."""

from typing import get_args

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from cosub.choices import CosubKind, LabelLoss, TargetForm

Targets = Int[Tensor, "B"] | Shaped[Tensor, "B C"]


def cosub_loss(
    logits: Float[Tensor, "R C"], targets: Targets, weight: float = 0.5, kind: CosubKind = "bce-soft"
) -> Float[Tensor, ""]:
    """Equation 2: the target of each submodel is the label mixed with the other's prediction, without its gradient.

    Cross-entropy is linear in its target, so the four terms are two, each against one mixed target,
    `weight * y + (1 - weight) * stop_gradient(other)`: the same value and gradient, half the memory.

    Args:
        logits: the first copy of all images, then the second: `R = 2 * B`.
        targets: class indices `(B,)`, or one value per class `(B, C)` (mixed or multi-label; any type), used as they
            are. On a GPU, where checking indices would synchronise, torch asserts that they are in range.
        weight: the paper's lambda, the weight of the label loss, in [0, 1].
        kind: the loss (binary or softmax cross-entropy) and the other's target: soft (its probabilities) or hard
            (one-hot of its largest logit), as in table 3.

    Raises:
        ValueError: if the rows are not two copies of the targets, these have another shape, type or device, or a value
            is out of range.
    """
    loss, form = parse_kind(kind, weight)
    logits, target = _two_copies(logits, targets, weight)
    other = logits.detach().roll(targets.shape[0], dims=0)
    return _cross_entropy(logits, target.add_(target_from(other, loss, form), alpha=1 - weight), loss)


def distillation_loss(
    logits: Float[Tensor, "R C"],
    targets: Targets,
    teacher: Float[Tensor, "B K"],
    weight: float = 0.5,
    kind: CosubKind = "bce-hard",
) -> Float[Tensor, ""]:
    """Figure 2 (b) and (c), distillation: the target is the label mixed with a teacher's prediction.

    `weight * L(z, y) + (1 - weight) * L(z, teacher)`, as one cross-entropy against the mixed target. No gradient flows
    through the teacher's logits; temperature 1.

    Args:
        logits: one or more copies of all images, `R` a multiple of `B`.
        targets: as for `cosub_loss`.
        teacher: the teacher's logits, one row per image.
        weight: of the label loss, in [0, 1].
        kind: the loss, and the teacher's target: soft (its probabilities) or hard (one-hot of its largest logit).

    Raises:
        ValueError: if a value is out of range, or the teacher's logits have other classes, rows or another device.
    """
    loss, form = parse_kind(kind, weight)
    check_tensors(logits, targets)
    logits = full_precision(logits)
    _check_teacher(teacher, logits, targets)
    target = _dense_for(logits, targets) * weight
    target.add_(target_from(full_precision(teacher.detach()), loss, form), alpha=1 - weight)
    return _cross_entropy(logits, target.repeat(logits.shape[0] // targets.shape[0], 1), loss)


def cosub_distillation_loss(
    logits: Float[Tensor, "R C"],
    targets: Targets,
    teacher: Float[Tensor, "B K"],
    weight: float = 0.25,
    teacher_weight: float = 0.25,
    kind: CosubKind = "bce-soft",
    teacher_target: TargetForm = "hard",
) -> Float[Tensor, ""]:
    """Submodel co-training with distillation, table 4's last row: the label, a teacher and the other submodel.

    Their weights are `weight`, `teacher_weight` and `1 - weight - teacher_weight`. The paper does not define the
    combination. With the defaults it is equation 1 at lambda 0.5, its label term replaced by figure 2 (b) at 0.5.

    Args:
        logits: the first copy of all images, then the second: `R = 2 * B`.
        targets: as for `cosub_loss`.
        teacher: the teacher's logits, one row per image.
        weight: of the label loss.
        teacher_weight: of the teacher's target.
        kind: the loss, and the other submodel's target, as for `cosub_loss`.
        teacher_target: soft (the teacher's probabilities) or hard (one-hot of its largest logit).

    Raises:
        ValueError: as for the two losses that it combines, or if the weights add up to more than 1.
    """
    loss, form = parse_kind(kind, weight)
    if not 0 <= teacher_weight <= 1 - weight:
        raise ValueError(f"teacher_weight must be in [0, {1 - weight:g}] (1 - weight), got {teacher_weight}")
    logits, target = _two_copies(logits, targets, weight)
    _check_teacher(teacher, logits, targets)
    from_teacher = target_from(full_precision(teacher.detach()), loss, teacher_target).repeat(2, 1)
    other = target_from(logits.detach().roll(targets.shape[0], dims=0), loss, form)
    target.add_(from_teacher, alpha=teacher_weight).add_(other, alpha=1 - weight - teacher_weight)
    return _cross_entropy(logits, target, loss)


def label_loss(logits: Float[Tensor, "R C"], targets: Targets, loss: LabelLoss = "bce") -> Float[Tensor, ""]:
    """Cross-entropy with the label, for one or more copies of the images: `R` is a multiple of `B`.

    Binary cross-entropy is averaged over rows and classes, as in DeiT-III; softmax cross-entropy over rows.

    Raises:
        ValueError: for another loss, or targets that do not fit the logits.
    """
    if loss not in get_args(LabelLoss):
        raise ValueError(f"loss must be one of {', '.join(get_args(LabelLoss))}, got {loss!r}")
    check_tensors(logits, targets)
    logits = full_precision(logits)
    target = _dense_for(logits, targets)
    return _cross_entropy(logits, target.repeat(logits.shape[0] // targets.shape[0], 1), loss)


def dense(targets: Targets, num_classes: int) -> Float[Tensor, "B C"]:
    """Class indices as one-hot rows; dense targets as they are."""
    if targets.dim() == 2:
        return targets if targets.is_floating_point() else targets.float()
    try:
        return F.one_hot(targets.long(), num_classes).float()
    except RuntimeError as error:
        found = f"{int(targets.min())} to {int(targets.max())}"
        raise ValueError(f"targets: must be class indices from 0 to {num_classes - 1}, got {found}") from error


def mixed_targets(
    labels: Int[Tensor, "B"],
    partners: Int[Tensor, "B"],
    share: float,
    num_classes: int,
    loss: LabelLoss,
    smoothing: float = 0.0,
) -> Float[Tensor, "B C"]:
    """Targets of images that are mixed: `share` of each is the image itself, the rest its partner.

    For binary cross-entropy both classes are positive, whatever their share (DeiT-III). The labels decide that, not a
    threshold on a soft target, which would make all classes positive where labels are smoothed.

    Raises:
        ValueError: for smoothing with binary cross-entropy.
    """
    if loss == "bce" and smoothing:
        raise ValueError(f"smoothing: {smoothing}: binary targets cannot be smoothed: set it to 0")
    own, other = F.one_hot(labels, num_classes).float(), F.one_hot(partners, num_classes).float()
    if loss == "bce":
        return torch.maximum(own * float(share > 0), other * float(share < 1))
    return (share * own + (1 - share) * other) * (1 - smoothing) + smoothing / num_classes


def parse_kind(kind: CosubKind, weight: float) -> tuple[str, str]:
    """The loss, "bce" or "ce", and the form of the other's target, "soft" or "hard". Checks both arguments."""
    if not 0 <= weight <= 1:
        raise ValueError(f"weight must be in [0, 1], got {weight}")
    if kind not in get_args(CosubKind):
        raise ValueError(f"kind must be one of {', '.join(get_args(CosubKind))}, got {kind!r}")
    loss, form = kind.split("-")
    return loss, form


def _two_copies(logits: Tensor, targets: Tensor, weight: float) -> tuple[Tensor, Tensor]:
    """The logits of two copies in full precision, and the labels, times `weight`, repeated for both."""
    check_tensors(logits, targets)
    if logits.shape[0] != 2 * targets.shape[0]:
        raise ValueError(
            f"logits: need two copies of {targets.shape[0]} images and got {logits.shape[0]} rows: "
            "attach with copies=2 and keep the model in train mode"
        )
    logits = full_precision(logits)
    return logits, _dense_for(logits, targets).repeat(2, 1).mul_(weight)


def _dense_for(logits: Tensor, targets: Tensor) -> Tensor:
    """Targets as one value per class, in the type of the logits."""
    return dense(targets, logits.shape[1]).to(logits.dtype)


def check_tensors(logits: object, targets: object) -> None:
    """Raise ValueError unless these are logits `(R, C)` and targets `(B,)` or `(B, C)` on one device."""
    for name, value in (("logits", logits), ("targets", targets)):
        if not isinstance(value, Tensor):
            raise ValueError(f"{name}: must be a tensor, got {type(value).__name__}")
    assert isinstance(logits, Tensor)
    assert isinstance(targets, Tensor)
    if logits.dim() != 2:
        raise ValueError(f"logits: must have shape (rows, classes), got {tuple(logits.shape)}")
    classes = logits.shape[1]
    if targets.dim() != 1 and targets.shape[1:] != (classes,):
        raise ValueError(
            f"targets: must be class indices of shape (images,) or values of shape (images, {classes}), "
            f"got {tuple(targets.shape)}"
        )
    if targets.dim() == 1 and targets.is_floating_point():
        raise ValueError(f"targets: class indices must be integers, got {targets.dtype}: pass targets.long()")
    if targets.device != logits.device:
        raise ValueError(
            f"targets: are on {targets.device} and the logits on {logits.device}: pass targets.to(logits.device)"
        )


def _check_teacher(teacher: Tensor, logits: Tensor, targets: Tensor) -> None:
    """Raise ValueError unless these are logits `(B, C)` on the student's device: one row would serve all images."""
    if teacher.dim() != 2 or teacher.shape[0] != targets.shape[0]:
        raise ValueError(
            f"teacher: must be logits of shape ({targets.shape[0]}, {logits.shape[1]}), one row per image, got "
            f"{tuple(teacher.shape)}: call the teacher in eval mode"
        )
    if logits.shape[1] != teacher.shape[1]:
        raise ValueError(
            f"teacher: the teacher has {teacher.shape[1]} classes and the student {logits.shape[1]}: take a teacher of "
            "the same classes"
        )
    if teacher.device != logits.device:
        raise ValueError(
            f"teacher: is on {teacher.device} and the logits on {logits.device}: pass teacher.to(logits.device)"
        )


def full_precision(logits: Tensor) -> Tensor:
    """Logits in at least fp32: mixed targets would be rounded to the eight significant bits of bfloat16."""
    return logits.float() if logits.dtype in (torch.bfloat16, torch.float16) else logits


def _cross_entropy(logits: Tensor, targets: Tensor, loss: str) -> Tensor:
    if loss == "bce":
        return F.binary_cross_entropy_with_logits(logits, targets)
    return F.cross_entropy(logits, targets)


def target_from(logits: Tensor, loss: str, form: str) -> Tensor:
    """The soft or hard target made from another network's logits `(R, C, ...)`."""
    if form == "hard":
        return F.one_hot(logits.argmax(dim=1), logits.shape[1]).movedim(-1, 1).to(logits.dtype)
    return logits.sigmoid() if loss == "bce" else logits.softmax(dim=1)
