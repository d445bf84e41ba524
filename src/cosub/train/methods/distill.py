"""Figure 2 (b): the network learns from the label and from a frozen teacher that sees the same augmented images."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from cosub.choices import CosubKind
from cosub.losses import distillation_loss


@dataclass(frozen=True)
class DistillMethod:
    weight: float
    loss: CosubKind
    copies: int = 1
    needs: Literal["teacher"] = "teacher"

    def __call__(self, networks: Mapping[str, nn.Module], images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            taught = networks["teacher"](images)
        logits = networks["network"](images)
        return distillation_loss(logits, targets, taught, self.weight, self.loss), logits
