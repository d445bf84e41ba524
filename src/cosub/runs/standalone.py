"""A timm model without some of its residual layers, which no depth expresses. Needs torch, timm and safetensors.

    from model import load

    network = load()  # eval mode; timm.data.resolve_model_data_config(network) is its preprocessing

`config.json` beside this file names the model that timm builds, and in `replaced_modules` what takes the place of which
of its modules. `model.safetensors` holds the weights of what is left, under timm's names.
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
    """Replace modules of timm's model, in place. Names are those of modules, values say what comes there.

    [name, ...]    of a block, nothing but these of its modules, one after the other
    "pass"         its first argument
    "zero"         zeros of the shape of its first argument
    "scalar zero"  one zero, for a sum whose other term has another shape
    "one"          the number 1, for a parameter that is a factor
    0.5            its argument times that number
    """
    for path, kind in replaced.items():
        parent, _, name = path.rpartition(".")
        owner = model.get_submodule(parent)
        old = getattr(owner, name)
        if kind == "one":
            delattr(owner, name)  # a parameter's name takes no number
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
        for name in names:  # the block's own, so that weights keep theirs
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
    """Stands for a module of a branch that is gone."""

    def __init__(self, old: nn.Module, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.q_stride: Any = getattr(old, "q_stride", None)  # by which Hiera's block pools its shortcut

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
