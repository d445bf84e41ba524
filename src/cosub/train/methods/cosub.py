"""Submodel co-training (section 3, figure 2 (e)): each image passes through two submodels of one network."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from cosub.choices import CosubKind
from cosub.losses import cosub_loss


@dataclass(frozen=True)
class CosubMethod:
    weight: float
    loss: CosubKind
    copies: int = 2
    needs: Literal[""] = ""

    def __call__(self, networks: Mapping[str, nn.Module], images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        logits = networks["network"](images)  # (2B, C): the network is attached with two copies
        return cosub_loss(logits, targets, self.weight, self.loss), logits
