"""Shared by all tests: tiny real models, and timm's own drop path with an explicit mask as the reference."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch
from torch import Tensor, nn

import cosub

DATA = Path(os.environ.get("COSUB_DATA", Path(__file__).parents[2] / "shared" / "data"))

# One entry an architecture: how to build a small one.
SMALL: dict[str, Callable[[], nn.Module]] = {
    "vit": lambda: _vit("vit_tiny_patch16_224"),
    "deit3": lambda: _vit("deit3_small_patch16_224"),
    "pit": lambda: timm.create_model(
        "pit_ti_224", img_size=32, patch_size=4, stride=4, base_dims=[8, 8, 8], num_classes=5
    ),
}


def _vit(name: str) -> nn.Module:
    return timm.create_model(
        name, img_size=32, patch_size=8, embed_dim=24, depth=4, num_heads=3, num_classes=5, init_values=0.1
    )


class Mask(nn.Module):
    """Stands in timm's drop path slots: multiplies each row by a factor of our choice."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = torch.ones(1)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor.view(-1, *[1] * (x.dim() - 1))


def masked_reference(model: nn.Module, mask: Tensor) -> nn.Module:
    """timm's model (not attached) with an explicit mask in each of its drop path slots, in execution order."""
    slots = []
    for module in model.modules():
        for name in [name for name, _ in module.named_children() if name.startswith("drop_path")]:
            slots.append((module, name))
    assert len(slots) == len(mask)
    for (module, name), factor in zip(slots, mask, strict=True):
        stand_in = Mask()
        stand_in.factor = factor
        setattr(module, name, stand_in)
    return model


@pytest.fixture(params=sorted(SMALL))
def family(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def build(family: str) -> Callable[[], nn.Module]:
    """Makes the same small model (same weights) at every call."""

    def make() -> nn.Module:
        torch.manual_seed(0)
        return SMALL[family]()

    return make


@pytest.fixture
def images() -> Tensor:
    return torch.randn(6, 3, 32, 32, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def table() -> Callable[..., cosub.Submodel]:
    """A drawn submodel for a model: half of the rows in each layer."""

    def make(layers: int, rows: int, rate: float = 0.5, seed: int = 0) -> cosub.Submodel:
        from cosub.submodel import count

        return cosub.draw(rows, count(rows, [rate] * layers), torch.Generator().manual_seed(seed))

    return make


@pytest.fixture
def data() -> Path:
    """The folder of real images; tests that need it skip where it is absent."""
    if not DATA.is_dir():
        pytest.skip(f"no real images at {DATA}: set COSUB_DATA to the folder that holds cifar10, cifar10-mini, ...")
    return DATA
