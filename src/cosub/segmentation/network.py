"""UperNet on an attached backbone (Table 13): its maps, a neck if they have one resolution, two heads."""

from typing import Any, NamedTuple, NoReturn

import torch
import torch.nn.functional as F
from jaxtyping import Float
from timm.layers.norm import LayerNorm2d
from torch import Tensor, nn

from cosub.errors import InputError
from cosub.recipes.recipe import Recipe
from cosub.recipes.tasks import Segmentation
from cosub.runs.network import ANY_WRONG, attach_as, check_resolution, create_model
from cosub.seeds import derive
from cosub.segmentation.backbones import ANY_SIZE, Shape, look

try:
    from transformers.models.upernet.configuration_upernet import UperNetConfig
    from transformers.models.upernet.modeling_upernet import UperNetFCNHead, UperNetHead
except ImportError as missing:
    raise InputError(
        "task: segmentation needs the package transformers: pip install 'cosub[segmentation]'"
    ) from missing

DROPOUT = 0.1
AUXILIARY_LEVEL = 2


class Maps(NamedTuple):
    """Logits of the two heads, each at its own resolution."""

    logits: Float[Tensor, "R C h w"]
    auxiliary: Float[Tensor, "R C h2 w2"]


class Segmenter(nn.Module):
    """A backbone with UperNet's heads. Logits have a quarter of the image's height and width, to be resized.

    In train mode `R` is `copies * B`, copy after copy; in eval mode `B`.
    """

    def __init__(self, backbone: nn.Module, shape: Shape, num_classes: int, width: int) -> None:
        super().__init__()
        self.backbone, self.shape = backbone, shape
        self.neck = Neck(shape.channels) if shape.plain else Norms(shape.channels, shape.normalised)
        config: Any = UperNetConfig(hidden_size=width)
        config.num_labels = num_classes
        self.decode_head = UperNetHead(config, shape.channels)
        self.auxiliary_head = UperNetFCNHead(config, shape.channels, in_index=AUXILIARY_LEVEL)
        for head in (self.decode_head, self.auxiliary_head):
            head.classifier.__class__ = Classifier

    @property
    def pretrained_cfg(self) -> NoReturn:
        """Raises InputError: without it, timm would take its own defaults for the preparation of these images."""
        raise InputError(
            "pretrained_cfg: timm's transforms cannot say how scenes are prepared (whole, by their shorter side, and "
            "seen in windows); `cosub evaluate RUN` prepares them"
        )

    def maps(self, images: Float[Tensor, "B 3 H W"]) -> list[Float[Tensor, "R D h w"]]:
        """The backbone's own maps, before the neck."""
        wanted = sorted(set(self.shape.indices))
        found = self.backbone.forward_intermediates(images, indices=wanted, intermediates_only=True)  # pyright: ignore[reportCallIssue]
        by_index = dict(zip(wanted, found, strict=True))
        return [by_index[index] for index in self.shape.indices]

    def logits(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "R C h w"]:
        """The logits of the decoder, without the auxiliary head."""
        return self.decode_head(self.neck(self.maps(images)))

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> Maps:
        levels = self.neck(self.maps(images))
        return Maps(self.decode_head(levels), self.auxiliary_head(levels))

    def no_weight_decay(self) -> set[str]:
        """The backbone's own list, for timm's optimizers."""
        names = self.backbone.no_weight_decay() if hasattr(self.backbone, "no_weight_decay") else ()  # pyright: ignore[reportCallIssue]
        return {f"backbone.{name}" for name in names}


class Classifier(nn.Conv2d):
    """The 1x1 classifier of a head, after dropout of whole channels, which transformers' heads lack."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(F.dropout2d(input, DROPOUT, self.training))


class Neck(nn.Module):
    """Four maps of stride 16 to strides 4, 8, 16 and 32, as by the authors of BEiT and XCiT."""

    def __init__(self, channels: list[int]) -> None:
        super().__init__()
        first, second, _, _ = channels
        self.levels = nn.ModuleList(
            [
                nn.Sequential(_upsample(first), nn.BatchNorm2d(first), nn.GELU(), _upsample(first)),
                _upsample(second),
                nn.Identity(),
                nn.MaxPool2d(2),
            ]
        )

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        return [level(values) for level, values in zip(self.levels, maps, strict=True)]


class Norms(nn.Module):
    """The maps of a pyramid, normalised if the network is pre-normalised, as by the authors of Swin and ConvNeXt."""

    def __init__(self, channels: list[int], normalised: bool) -> None:
        super().__init__()
        self.levels = nn.ModuleList([LayerNorm2d(number) if normalised else nn.Identity() for number in channels])

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        return [level(values) for level, values in zip(self.levels, maps, strict=True)]


def _upsample(channels: int) -> nn.ConvTranspose2d:
    """A transposed convolution that doubles height and width."""
    return nn.ConvTranspose2d(channels, channels, kernel_size=2, stride=2)


# --- from a recipe


def build_segmenter(recipe: Recipe, num_classes: int, copies: int) -> Segmenter:
    """The recipe's segmenter, initialised from its seed; its backbone is attached.

    Parameters of the backbone on which no map depends stay, so that published weights fit, but are not trained.

    Raises:
        InputError: as `network.build_network`, and for a backbone that returns no maps.
    """
    assert isinstance(recipe.task, Segmentation)
    backbone = create_model(recipe, 0, **ANY_SIZE)
    check_resolution(backbone, recipe.model, recipe.resolution)
    try:
        with torch.device("meta"):
            shape = look(create_model(recipe, 0, **ANY_SIZE), recipe.resolution)
    except ANY_WRONG as error:
        raise InputError(
            f"model: {recipe.model}: cannot be a backbone of UperNet ({' '.join(str(error).split())})"
        ) from error
    for name, parameter in backbone.named_parameters():
        parameter.requires_grad_(name not in shape.unused)
    attach_as(backbone, recipe, copies)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(derive("heads", recipe.seed))
        return Segmenter(backbone, shape, num_classes, recipe.task.width)
