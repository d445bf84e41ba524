"""A submodel as a timm model that knows nothing of cosub."""

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import timm
import torch
from timm.models.beit import Beit
from timm.models.cait import Cait
from timm.models.convnext import ConvNeXt
from timm.models.pit import PoolingVisionTransformer
from timm.models.resnet import ResNet
from timm.models.swin_transformer import SwinTransformer
from timm.models.swin_transformer_v2 import SwinTransformerV2
from timm.models.vision_transformer import VisionTransformer
from timm.models.xcit import Xcit
from torch import Tensor, nn

from cosub.architectures.patchconvnet import PatchConvNet
from cosub.errors import InputError
from cosub.export.factors import fold
from cosub.runs import standalone
from cosub.twins import TWINS
from cosub.twins.classes import class_of
from cosub.twins.removal import blocks_of
from cosub.twins.stand_ins import StandIns, slots_of, stand_ins

Removed = dict[str, list[int]]

# The argument that sets the number of blocks; of networks in stages it is a list.
_DEPTH: dict[type[nn.Module], str] = {
    VisionTransformer: "depth",
    Beit: "depth",
    Cait: "depth",
    Xcit: "depth",
    PatchConvNet: "depth",
    PoolingVisionTransformer: "depth",
    SwinTransformer: "depths",
    SwinTransformerV2: "depths",
    ConvNeXt: "depths",
    ResNet: "layers",
}
_STAGES = (PoolingVisionTransformer, SwinTransformer, SwinTransformerV2, ConvNeXt, ResNet)

# Networks of the paper that timm has by another name, with other sizes; these are all in the arguments.
_TIMM_NAMES = {
    "deit3_giant_patch14_224": "deit3_huge_patch14_224",
    "cait_m12_224": "cait_m36_384",
    "cait_l24_224": "cait_m36_384",
    "xcit_large_12_p16_224": "xcit_large_24_p16_224",
}

_OF_WEIGHTS = frozenset({"tag", "license", "description", "origin_url", "paper_name", "paper_ids", "notes"})


@dataclass(frozen=True)
class Plain:
    """A timm model in eval mode, the residual layers that it lacks, by block, blocks whose branches are scaled.

    `replaced` is how: what stands in the place of which of timm's modules.
    """

    model: nn.Module
    removed: Removed
    scaled: dict[str, float]
    replaced: StandIns

    @property
    def architecture(self) -> str:
        name = _name(self.model)
        return _TIMM_NAMES.get(name, name)

    @property
    def needs_module(self) -> bool:
        """Whether timm alone cannot build it from its arguments."""
        return bool(self.replaced) or isinstance(self.model, PatchConvNet)


def plain_model(model: nn.Module, kept: Sequence[int], scale: float = 1.0) -> Plain:
    """The submodel that passes through some residual layers, each times `scale`, as a model of timm's.

    Blocks of which nothing is kept disappear where the architecture has an argument for its depth and the blocks after
    them stay what they are; other residual layers are taken out of timm's full model.

    Args:
        model: timm's full model, not attached, with the weights of what is kept; it is changed.
        kept: indices of the residual layers, in the order in which they run.
        scale: what their branches are multiplied by.

    Raises:
        InputError: if a branch cannot take the factor.
    """
    model = _unlabelled(model.eval())
    names = {module: name for name, module in model.named_modules()}
    removed: Removed = {}
    scaled: dict[str, float] = {}
    whole, layer = set(), 0
    for block in blocks_of(model):
        name, layers = names[block], TWINS[class_of(block)].layers_of(block)
        gone = [number for number in range(layers) if layer + number not in kept]
        layer += layers
        if scale != 1 and not fold(block, sorted({*range(layers)} - {*gone}), scale):
            _require_slots(block, scale)
            scaled[name] = scale
        if gone:
            removed[name] = gone
        if len(gone) == layers:
            whole.add(name)
    if removed and not scaled and whole == removed.keys() and (shallow := _shallower(model, whole)) is not None:
        return Plain(shallow, {}, {}, {})
    replaced = stand_ins(model, removed, scaled)
    standalone.replace(model, replaced)
    return Plain(model, removed, scaled, replaced)


def _require_slots(block: nn.Module, scale: float) -> None:
    if not slots_of(block):
        raise InputError(
            f"kept_scale: {scale:g}: a branch of {type(block).__name__} ends in no parameter that can take it, and has "
            "no drop path in whose place it could stand; slim with factor 1"
        )


def _unlabelled(model: nn.Module) -> nn.Module:
    """Without what timm says of weights that it has for the architecture: these are others."""
    described = vars(model).get("pretrained_cfg", {})
    model.pretrained_cfg = {key: value for key, value in described.items() if key not in _OF_WEIGHTS}  # pyright: ignore[reportArgumentType]
    return model


def module_text(plain: Plain) -> str:
    """The file that builds what timm alone cannot: `standalone`, and before it a network that timm lacks."""
    text = inspect.getsource(standalone)
    if not isinstance(plain.model, PatchConvNet):
        return text
    from cosub.architectures import patchconvnet, registration

    docstring, rest = text.split('"""\n', 1)
    sources = [_without_imports(inspect.getsource(module)) for module in (registration, patchconvnet)]
    # Shapes in annotations need a package; unevaluated they are words.
    return f'{docstring}"""\n\nfrom __future__ import annotations\n' + "\n".join([*sources, rest])


def _without_imports(source: str) -> str:
    """Without the imports of this package and of shapes, and without the docstring, which stays as a comment."""
    _, docstring, body = source.split('"""', 2)
    lines = [line for line in body.splitlines() if not line.startswith(("from cosub", "from jaxtyping"))]
    return "\n".join(["", "", *(f"# {line}".rstrip() for line in docstring.splitlines()), *lines])


def _shallower(model: nn.Module, whole: set[str]) -> nn.Module | None:
    """timm's model with a smaller depth and the weights of the blocks that stay; None where a depth cannot say it."""
    argument = next((argument for kind, argument in _DEPTH.items() if isinstance(model, kind)), None)
    blocks = {name: module for name, module in model.named_modules() if type(module) in TWINS}
    if argument is None or not all(TWINS[type(blocks[name])].vanishes(blocks[name]) for name in whole):
        return None
    stages = list(dict.fromkeys(name.rpartition(".")[0] for name in blocks))
    left = {stage: [index for index in _children(model, stage) if f"{stage}.{index}" not in whole] for stage in stages}
    depths = [len(indices) for indices in left.values()]
    if not all(depths):
        return None
    settings = {**vars(model)["_model_args"], argument: depths if isinstance(model, _STAGES) else depths[0]}
    with torch.random.fork_rng(devices=[]):  # its first weights are thrown away
        shallow = _unlabelled(timm.create_model(_name(model), **settings).eval())
    renamed = {f"{stage}.{old}": f"{stage}.{new}" for stage, indices in left.items() for new, old in enumerate(indices)}
    if any(_shift(model, old) != _shift(shallow, new) for old, new in renamed.items()):
        return None
    shallow.load_state_dict(_renumbered(model.state_dict(), left, renamed))
    return shallow


def _children(model: nn.Module, stage: str) -> list[int]:
    return [int(name) for name, _ in model.get_submodule(stage).named_children()]


def _shift(model: nn.Module, block: str) -> Any:
    """Of Swin's blocks every second one shifts its windows."""
    return getattr(model.get_submodule(block), "shift_size", None)


def _renumbered(weights: dict[str, Tensor], left: dict[str, list[int]], renamed: dict[str, str]) -> dict[str, Tensor]:
    result = {}
    for key, value in weights.items():
        stage = next((stage for stage in left if key.startswith(f"{stage}.")), None)
        if stage is None:
            result[key] = value
            continue
        index, _, rest = key.removeprefix(f"{stage}.").partition(".")
        if f"{stage}.{index}" in renamed:
            result[f"{renamed[f'{stage}.{index}']}.{rest}"] = value
    return result


def _name(model: nn.Module) -> str:
    return str(vars(model)["pretrained_cfg"]["architecture"])
