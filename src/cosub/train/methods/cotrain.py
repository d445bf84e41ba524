"""Figure 2 (d): two networks, each with its own weights and optimizer state, are each other's teacher (equation 2)."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cosub.choices import CosubKind
from cosub.losses import cosub_loss
from cosub.train.methods.method import Builder, Method
from cosub.train.networks import Networks

PEER = "peer"


@dataclass(frozen=True)
class CotrainMethod(Method):
    weight: float
    loss: CosubKind

    def networks(self, build: Builder) -> Networks:
        return Networks(trained={PEER: build.another(PEER)})

    def __call__(self, networks: Mapping[str, nn.Module], images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        logits = networks["network"](images)
        both = torch.cat([logits, networks[PEER](images)])
        return cosub_loss(both, targets, self.weight, self.loss), logits
