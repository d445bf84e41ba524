"""A timm model without some of its residual layers, which no depth can express. Needs torch, timm and safetensors.

    from model import load

    network = load()  # eval mode; timm.data.resolve_model_data_config(network) is its preprocessing

`config.json` beside this file names the model that timm builds, and in `replaced_modules` what replaces which of its
modules. `model.safetensors` holds the weights of the remaining modules, under timm's names.
"""

import json
from pathlib import Path
from typing import Any

import timm
from safetensors.torch import load_file
from torch import Tensor, nn


def load(folder: str | Path = Path(__file__).parent) -> nn.Module:
    """The network in a folder, in eval mode."""
    folder = Path(folder)
    config = json.loads((folder / "config.json").read_text())
    described = {**config["pretrained_cfg"], "label_names": config.get("label_names")}
    model = timm.create_model(
        config["architecture"], pretrained=False, pretrained_cfg=described, **config["model_args"]
    )
    replace(model, config["replaced_modules"])
    model.load_state_dict(load_file(folder / "model.safetensors"))
    return model.eval()


def replace(model: nn.Module, replaced: dict[str, Any]) -> None:
    """Replace modules of timm's model, in place. Keys are names of modules, values say what replaces them.

    [name, ...]    for a block: only these of its modules, in sequence
    "pass"         return the first argument
    "zero"         return zeros of the shape of the first argument
    "scalar zero"  return one zero, for a sum whose other term has another shape
    "one"          the number 1, for a parameter that is a factor
    0.5            multiply the argument by that number
    """
    for path, kind in replaced.items():
        parent, _, name = path.rpartition(".")
        owner = model.get_submodule(parent)
        old = getattr(owner, name)
        if kind == "one":
            delattr(owner, name)  # torch lets no number replace a parameter
        setattr(owner, name, 1.0 if kind == "one" else _stand_in(old, kind))


def _stand_in(old: Any, kind: Any) -> nn.Module:
    if isinstance(kind, list):
        return Around(old, kind)
    if isinstance(kind, str):
        return Silent(old, kind)
    return Times(kind)


class Around(nn.Module):
    """What is left of a block without its branches."""

    def __init__(self, block: nn.Module, names: list[str]) -> None:
        super().__init__()
        self.names = names
        for name in names:  # under their names in the block, so that weights keep theirs
            setattr(self, name, getattr(block, name))

    def forward(self, x: Tensor, *_: Any, **__: Any) -> Tensor:
        for name in self.names:
            part: Any = getattr(self, name)
            if isinstance(part, float):
                x = part * x
            else:
                x = part(x.clone() if getattr(part, "inplace", False) else x)
        return x


class Silent(nn.Module):
    """Replaces a module of a branch that is removed."""

    def __init__(self, old: nn.Module, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.q_stride: Any = getattr(old, "q_stride", None)  # Hiera's block reads it to pool its shortcut

    def forward(self, x: Tensor, *_: Any, **__: Any) -> Tensor:
        if self.kind == "pass":
            return x
        return x.new_zeros(x.shape if self.kind == "zero" else 1)


class Times(nn.Module):
    """Multiplies by a constant."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return self.factor * x
