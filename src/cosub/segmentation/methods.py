"""Methods for a label at every pixel. The auxiliary head has the decoder's loss, with less weight."""

from collections.abc import Callable, Mapping

import torch.nn.functional as F
from torch import Tensor, nn

from cosub.recipes.methods import Cosub, MethodConfig, Supervised
from cosub.segmentation.losses import dense_cosub_loss, dense_label_loss
from cosub.segmentation.network import Maps
from cosub.train.methods import Method

AUXILIARY_WEIGHT = 0.4


class DenseSupervised(Method[Supervised]):
    """Figure 2 (a) at every pixel."""

    def __call__(self, networks: Mapping[str, nn.Module], images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        kind = self.config.loss
        return _both(networks["network"](images), targets, lambda logits: dense_label_loss(logits, targets, kind))


class DenseCosub(Method[Cosub]):
    """Submodel co-training of the dense output: the target at each pixel includes the other submodel's prediction."""

    copies = 2

    def __call__(self, networks: Mapping[str, nn.Module], images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        def loss(logits: Tensor) -> Tensor:
            return dense_cosub_loss(logits, targets, self.config.weight, self.config.loss)

        return _both(networks["network"](images), targets, loss)


_METHODS: dict[type, type[Method]] = {Supervised: DenseSupervised, Cosub: DenseCosub}


def build_dense(config: MethodConfig) -> Method:
    """A recipe's method for segmentation; the recipe has already refused others."""
    return _METHODS[type(config)](config)


def _both(maps: Maps, targets: Tensor, loss: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    """The loss of both heads at the labels' resolution, and the decoder's logits there, `(copies * B, C, H, W)`."""
    logits, auxiliary = (enlarged(values, targets.shape[-2:]) for values in maps)
    return loss(logits) + AUXILIARY_WEIGHT * loss(auxiliary), logits


def enlarged(logits: Tensor, size: tuple[int, ...]) -> Tensor:
    """Logits resized by bilinear interpolation, as the heads are trained."""
    return F.interpolate(logits, size, mode="bilinear", align_corners=False)
