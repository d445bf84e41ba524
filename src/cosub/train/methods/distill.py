"""Figure 2 (b): the network learns from the label and from a frozen teacher that sees the same augmented images."""

from collections.abc import Mapping

from torch import Tensor, nn

from cosub.losses import distillation_loss
from cosub.recipes.methods import Distill
from cosub.train.methods.teacher import TeacherMethod, teacher_logits


class DistillMethod(TeacherMethod[Distill]):
    def __call__(self, networks: Mapping[str, nn.Module], images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        teacher = teacher_logits(networks, images)
        logits = networks["network"](images)
        return distillation_loss(logits, targets, teacher, self.config.weight, self.config.loss), logits
