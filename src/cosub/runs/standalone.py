"""A timm model without some of its residual layers, which no depth expresses. Needs torch, timm and safetensors.

    from model import load

    network = load()  # eval mode; timm.data.resolve_model_data_config(network) is its preprocessing

`config.json` beside this file says which model timm builds, and in `removed_layers` what is then taken out: names of
blocks, and of each the residual layers by number, in the order in which they run. `scaled_blocks` names those whose
branch is multiplied by a factor that no weight could take. `model.safetensors` holds the weights of what is left, under
timm's names.
"""

import json
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

# Blocks of several residual layers: of each its norm, its branch, and the factors that may follow.
_LAYERS: dict[str, tuple[tuple[str, ...], ...]] = {
    "Block": (("norm1", "attn", "ls1", "gamma_1"), ("norm2", "mlp", "ls2", "gamma_2")),
    "LayerScaleBlock": (("norm1", "attn", "gamma_1"), ("norm2", "mlp", "gamma_2")),
    "SwinTransformerBlock": (("norm1", "attn"), ("norm2", "mlp")),
    "XCABlock": (("norm1", "attn", "gamma1"), ("norm3", "local_mp", "gamma3"), ("norm2", "mlp", "gamma2")),
    "EvaBlock": (("norm1", "attn", "gamma_1"), ("norm2", "mlp", "gamma_2")),
    "EvaBlockPostNorm": (("norm1", "attn"), ("norm2", "mlp")),
    "SwinTransformerV2Block": (("norm1", "attn"), ("norm2", "mlp")),
    "RelPosBlock": (("norm1", "attn", "ls1"), ("norm2", "mlp", "ls2")),
    "ResPostRelPosBlock": (("norm1", "attn"), ("norm2", "mlp")),
    "HieraBlock": (("norm1", "attn", "ls1"), ("norm2", "mlp", "ls2")),
    "TransformerBlock2d": (("norm1", "attn", "ls1"), ("norm2", "mlp", "ls2")),
    "PartitionAttentionCl": (("norm1", "attn", "ls1"), ("norm2", "mlp", "ls2")),
    "PartitionAttention2d": (("norm1", "attn", "ls1"), ("norm2", "mlp", "ls2")),
}

# Blocks whose shortcut, where it changes the shape, starts from what their first norm or activation gives.
_ACTIVATED_BEFORE = ("PreActBasic", "PreActBottleneck", "NormFreeBlock")


def load(folder: str | Path = Path(__file__).parent) -> nn.Module:
    """The network in a folder, in eval mode."""
    folder = Path(folder)
    config = json.loads((folder / "config.json").read_text())
    described = {**config["pretrained_cfg"], "label_names": config.get("label_names")}
    model = timm.create_model(
        config["architecture"], pretrained=False, pretrained_cfg=described, **config["model_args"]
    )
    remove(model, config["removed_layers"])
    scale(model, config["scaled_blocks"])
    model.load_state_dict(load_file(folder / "model.safetensors"))
    return model.eval()


def remove(model: nn.Module, removed: dict[str, list[int]]) -> None:
    """Take residual layers out of timm's model, in place: names of blocks, and numbers of the layers in each."""
    for name, layers in removed.items():
        parent, _, child = name.rpartition(".")
        owner = model.get_submodule(parent)
        block = getattr(owner, child)
        names = _LAYERS.get(type(block).__name__, ((),))
        if len(layers) == len(names) and not _pools(block):
            setattr(owner, child, Around(block))
        else:
            for layer in layers:
                _silence(block, *names[layer])


def scale(model: nn.Module, factors: dict[str, float]) -> None:
    """Multiply the branches of blocks of one residual layer, in place: names of blocks, and factors."""
    for name, factor in factors.items():
        model.get_submodule(name).drop_path = Times(factor)  # where timm would drop the branch


class Times(nn.Module):
    """Multiplies by a constant."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return self.factor * x


class Around(nn.Module):
    """What is left of a block without its branches: the way around them, and the activation after the addition."""

    def __init__(self, block: Any) -> None:
        super().__init__()
        self.shortcut = getattr(block, "shortcut", None)  # timm's names, so that the weights keep theirs
        self.downsample = getattr(block, "downsample", None)
        before = type(block).__name__ in _ACTIVATED_BEFORE
        final = getattr(block, "act3", getattr(block, "act2", getattr(block, "act", None)))
        self.activation = None if before else final
        self.norm1: Any = None
        if before and self.downsample is not None:
            self.norm1, self.gain = getattr(block, "norm1", getattr(block, "act1", None)), getattr(block, "beta", 1.0)

    def forward(self, x: Tensor, *_: Any, **__: Any) -> Tensor:
        if self.norm1 is not None:
            x = self.gain * self.norm1(x)
        around = self.shortcut if self.downsample is None else self.downsample
        if around is not None:
            x = around(x)
        return x if self.activation is None else self.activation(x.clone())  # it may write in place


class Nothing(nn.Module):
    """Stands where a branch was, and adds nothing."""

    def forward(self, x: Tensor, *_: Any, **__: Any) -> Tensor:
        return torch.zeros_like(x)


class NoShape(Nothing):
    """The same where the shortcut has another shape: adds nothing to any."""

    def __init__(self, branch: nn.Module) -> None:
        super().__init__()
        self.q_stride: Any = getattr(branch, "q_stride", None)  # by which Hiera pools the shortcut

    def forward(self, x: Tensor, *_: Any, **__: Any) -> Tensor:
        return x.new_zeros(1)


def _pools(block: nn.Module) -> bool:
    """Whether this is a block of Hiera's whose shortcut is made of what its first norm gives."""
    return bool(getattr(block, "do_expand", False))


def _silence(block: nn.Module, norm: str, branch: str, *factors: str) -> None:
    """Take one residual layer out of a block that keeps others."""
    first = branch == "attn"
    if not (first and _pools(block)):
        setattr(block, norm, nn.Identity())
    reshaped = first and (_pools(block) or hasattr(block, "shortcut"))
    setattr(block, branch, NoShape(getattr(block, branch)) if reshaped else Nothing())
    for name in factors:
        factor = getattr(block, name, None)
        if isinstance(factor, nn.Parameter):
            delattr(block, name)
            setattr(block, name, 1.0)
        elif factor is not None:
            setattr(block, name, nn.Identity())
