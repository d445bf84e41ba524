"""Figure 2 (d): two networks, each with its own weights and optimizer state, are each other's teacher (equation 2)."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from cosub.losses import cosub_loss
from cosub.recipes.methods import Cotrain
from cosub.train.methods.method import Builder, Method
from cosub.train.networks import Networks

PEER = "peer"


class CotrainMethod(Method[Cotrain]):
    def networks(self, build: Builder) -> Networks:
        return Networks(trained={PEER: build.another(PEER)})

    def __call__(self, networks: Mapping[str, nn.Module], images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        logits = networks["network"](images)
        both = torch.cat([logits, networks[PEER](images)])
        return cosub_loss(both, targets, self.config.weight, self.config.loss), logits
