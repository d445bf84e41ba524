"""Table 4's last row: submodel co-training with a frozen teacher for both submodels."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from cosub.choices import CosubKind, TargetForm
from cosub.losses import cosub_distillation_loss
from cosub.train.methods.teacher import TeacherMethod, teacher_logits


@dataclass(frozen=True)
class CosubDistillMethod(TeacherMethod):
    weight: float
    teacher_weight: float
    loss: CosubKind
    teacher_target: TargetForm
    copies: ClassVar[int] = 2

    def __call__(self, networks: Mapping[str, nn.Module], images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        teacher = teacher_logits(networks, images)
        logits = networks["network"](images)
        weights = self.weight, self.teacher_weight
        return cosub_distillation_loss(logits, targets, teacher, *weights, self.loss, self.teacher_target), logits
