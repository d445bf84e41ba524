"""Table 4's last row: submodel co-training, and a frozen teacher for both submodels."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from cosub.choices import Answer, CosubKind
from cosub.losses import cosub_distillation_loss


@dataclass(frozen=True)
class CosubDistillMethod:
    weight: float
    teacher_weight: float
    loss: CosubKind
    teacher_answer: Answer
    copies: int = 2
    needs: Literal["teacher"] = "teacher"

    def __call__(self, networks: Mapping[str, nn.Module], images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            taught = networks["teacher"](images)
        logits = networks["network"](images)
        shares = self.weight, self.teacher_weight
        return cosub_distillation_loss(logits, targets, taught, *shares, self.loss, self.teacher_answer), logits
