"""Figure 2 (c): the teacher is the network with averaged weights, in eval mode, so with all of its layers."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from cosub.choices import CosubKind
from cosub.losses import distillation_loss


@dataclass(frozen=True)
class MeanTeacherMethod:
    weight: float
    loss: CosubKind
    copies: int = 1
    needs: Literal["mean-teacher"] = "mean-teacher"

    def __call__(self, networks: Mapping[str, nn.Module], images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            taught = networks["mean-teacher"](images)
        logits = networks["network"](images)
        return distillation_loss(logits, targets, taught, self.weight, self.loss), logits
