"""Mixup and CutMix within a group: partners, shares and boxes are functions of (seed, step, group)."""

import numpy as np
import torch
from timm.data.mixup import cutmix_bbox_and_lam
from torch import Tensor

from cosub.choices import LabelLoss
from cosub.losses import mixed_targets
from cosub.recipes.augmentation import Augment
from cosub.seeds import derive


def mix(
    images: Tensor,
    labels: Tensor,
    augment: Augment,
    num_classes: int,
    targets: LabelLoss,
    key: tuple[int, int, int],
) -> tuple[Tensor, Tensor]:
    """Mix a group of images with the same group in reverse order. Returns images and dense targets.

    `key` is (seed, step, group). timm's box formula reads numpy's global generator, which is seeded here.
    """
    np.random.seed(derive("mixing", *key) % 2**32)
    share = 1.0
    if (augment.mixup or augment.cutmix) and np.random.rand() < augment.mix_probability:
        cut = bool(augment.cutmix) and (not augment.mixup or np.random.rand() < 0.5)
        alpha = augment.cutmix if cut else augment.mixup
        share = float(np.random.beta(alpha, alpha))
        if cut:
            images, share = _cutmix(images, share)
        else:
            images = images * share + images.flip(0) * (1 - share)
    return images, mixed_targets(labels, labels.flip(0), share, num_classes, targets, augment.smoothing)


def _cutmix(images: Tensor, share: float) -> tuple[Tensor, float]:
    (top, bottom, left, right), share = cutmix_bbox_and_lam(tuple(images.shape), share)
    mixed = images.clone()
    mixed[:, :, top:bottom, left:right] = images.flip(0)[:, :, top:bottom, left:right]
    return mixed, float(share)


def mix_groups(
    images: Tensor,
    labels: Tensor,
    augment: Augment,
    num_classes: int,
    targets: LabelLoss,
    seed: int,
    step: int,
    groups: range,
) -> tuple[Tensor, Tensor]:
    """Mix each group of a batch with itself."""
    parts = [
        mix(group_images, group_labels, augment, num_classes, targets, (seed, step, group))
        for group, group_images, group_labels in zip(
            groups, images.chunk(len(groups)), labels.chunk(len(groups)), strict=True
        )
    ]
    return torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts])
