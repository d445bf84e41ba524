"""Figure 2 (c): the teacher is the network with averaged weights, in eval mode, that is with all layers."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from cosub.losses import distillation_loss
from cosub.recipes.methods import MeanTeacher
from cosub.train.methods.method import Builder, Method
from cosub.train.networks import Networks

MEAN_TEACHER = "mean-teacher"


class MeanTeacherMethod(Method[MeanTeacher]):
    def networks(self, build: Builder) -> Networks:
        return Networks(others={MEAN_TEACHER: build.average(self.config.momentum)})

    def __call__(self, networks: Mapping[str, nn.Module], images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            teacher = networks[MEAN_TEACHER](images)
        logits = networks["network"](images)
        return distillation_loss(logits, targets, teacher, self.config.weight, self.config.loss), logits

    def after_step(self, networks: Mapping[str, nn.Module]) -> None:
        average = networks[MEAN_TEACHER]
        assert isinstance(average, AveragedModel)
        average.update_parameters(networks["network"])
