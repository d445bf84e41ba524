"""Figure 2 (d): two networks, each with weights and optimizer state of its own, teach each other by equation 2."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from cosub.choices import CosubKind
from cosub.losses import cosub_loss


@dataclass(frozen=True)
class CotrainMethod:
    weight: float
    loss: CosubKind
    copies: int = 1
    needs: Literal["peer"] = "peer"

    def __call__(self, networks: Mapping[str, nn.Module], images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        logits = networks["network"](images)
        both = torch.cat([logits, networks["peer"](images)])
        return cosub_loss(both, targets, self.weight, self.loss), logits
