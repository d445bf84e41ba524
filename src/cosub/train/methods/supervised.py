"""Figure 2 (a): each image passes through one submodel and learns from its label."""

from collections.abc import Mapping

from torch import Tensor, nn

from cosub.losses import label_loss
from cosub.recipes.methods import Supervised
from cosub.train.methods.method import Method


class SupervisedMethod(Method[Supervised]):
    def __call__(self, networks: Mapping[str, nn.Module], images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        logits = networks["network"](images)
        return label_loss(logits, targets, self.config.loss), logits
