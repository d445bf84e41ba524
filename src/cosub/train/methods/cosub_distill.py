"""Table 4's last row: submodel co-training with a frozen teacher for both submodels."""

from collections.abc import Mapping

from torch import Tensor, nn

from cosub.losses import cosub_distillation_loss
from cosub.recipes.methods import CosubDistill
from cosub.train.methods.teacher import TeacherMethod, teacher_logits


class CosubDistillMethod(TeacherMethod[CosubDistill]):
    copies = 2

    def __call__(self, networks: Mapping[str, nn.Module], images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        teacher = teacher_logits(networks, images)
        logits = networks["network"](images)
        config = self.config
        weights = config.weight, config.teacher_weight
        return cosub_distillation_loss(logits, targets, teacher, *weights, config.loss, config.teacher_answer), logits
