"""Figure 2 (a): each image passes through one submodel and learns from its label."""

from dataclasses import dataclass

from torch import Tensor, nn

from cosub.choices import LabelLoss
from cosub.losses import label_loss


@dataclass(frozen=True)
class SupervisedMethod:
    loss: LabelLoss
    copies: int = 1

    def __call__(self, model: nn.Module, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        logits = model(images)
        return label_loss(logits, targets, self.loss), logits
