"""Submodel co-training (section 3, figure 2 (e)): each image passes through two submodels of one network."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from cosub.choices import CosubKind
from cosub.losses import cosub_loss
from cosub.train.methods.method import Method


@dataclass(frozen=True)
class CosubMethod(Method):
    weight: float
    loss: CosubKind
    copies: ClassVar[int] = 2

    def __call__(self, networks: Mapping[str, nn.Module], images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        logits = networks["network"](images)  # (2B, C): the network is attached with two copies
        return cosub_loss(logits, targets, self.weight, self.loss), logits
