"""Training methods behind one protocol. The loop knows none of them."""

from typing import Protocol

from torch import Tensor, nn

from cosub.methods.cosub import CosubMethod
from cosub.methods.supervised import SupervisedMethod
from cosub.recipes.config import Cosub, MethodConfig, Supervised


class Method(Protocol):
    """From a batch to a loss. `copies` is the number of submodels an image."""

    @property
    def copies(self) -> int: ...

    def __call__(self, model: nn.Module, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Loss, and logits `(copies * B, C)`, of images `(B, 3, H, W)` with dense targets `(B, C)`."""
        ...


def build(config: MethodConfig) -> Method:
    match config:
        case Supervised():
            return SupervisedMethod(config.loss)
        case Cosub():
            return CosubMethod(config.weight, config.loss)
