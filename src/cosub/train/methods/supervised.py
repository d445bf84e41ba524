"""Figure 2 (a): each image passes through one submodel and learns from its label."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from cosub.choices import LabelLoss
from cosub.losses import label_loss


@dataclass(frozen=True)
class SupervisedMethod:
    loss: LabelLoss
    copies: int = 1
    needs: Literal[""] = ""

    def __call__(self, networks: Mapping[str, nn.Module], images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        logits = networks["network"](images)
        return label_loss(logits, targets, self.loss), logits
