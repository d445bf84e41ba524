"""Figure 2 (a): each image passes through one submodel and learns from its label."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from cosub.choices import LabelLoss
from cosub.losses import label_loss
from cosub.train.methods.method import Method


@dataclass(frozen=True)
class SupervisedMethod(Method):
    loss: LabelLoss

    def __call__(self, networks: Mapping[str, nn.Module], images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        logits = networks["network"](images)
        return label_loss(logits, targets, self.loss), logits
