"""A submodel as a timm model that knows nothing of cosub."""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import timm
import torch
from torch import Tensor, nn

from cosub.architectures import patchconvnet, registration
from cosub.errors import InputError
from cosub.runs import standalone
from cosub.twins import TWINS
from cosub.twins.classes import class_of
from cosub.twins.depth import depth_without
from cosub.twins.factors import fold
from cosub.twins.removal import blocks_of
from cosub.twins.stand_ins import StandIns, slots_of, stand_ins

Removed = dict[str, list[int]]

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
        return bool(self.replaced) or isinstance(self.model, patchconvnet.PatchConvNet)


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
    if not isinstance(plain.model, patchconvnet.PatchConvNet):
        return text
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
    depth = depth_without(model, whole)
    if depth is None:
        return None
    settings = {**vars(model)["_model_args"], depth.argument: depth.value}
    with torch.random.fork_rng(devices=[]):  # its first weights are thrown away
        shallow = _unlabelled(timm.create_model(_name(model), **settings).eval())
    shallow.load_state_dict(_renumbered(model.state_dict(), depth.left))
    return shallow


def _renumbered(weights: dict[str, Tensor], left: Mapping[str, list[int]]) -> dict[str, Tensor]:
    renamed = {f"{stage}.{old}": f"{stage}.{new}" for stage, indices in left.items() for new, old in enumerate(indices)}
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
