"""Submodel co-training (section 3, figure 2 (e)): each image passes through two submodels of one network."""

from collections.abc import Mapping

from torch import Tensor, nn

from cosub.losses import cosub_loss
from cosub.recipes.methods import Cosub
from cosub.train.methods.method import Method


class CosubMethod(Method[Cosub]):
    copies = 2

    def __call__(self, networks: Mapping[str, nn.Module], images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        logits = networks["network"](images)  # (2B, C): the network is attached with two copies
        return cosub_loss(logits, targets, self.config.weight, self.config.loss), logits
