"""Shared by all tests: tiny real models, and timm's own drop path with an explicit mask as the reference."""

import copy
import functools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from pictures import picture
from PIL import Image
from timm.models._efficientnet_builder import decode_arch_def
from timm.models.mobilenetv3 import MobileNetV3
from timm.models.regnet import RegNet, RegNetCfg
from timm.models.resnet import BasicBlock, Bottleneck
from tiny import run, tiny
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

import cosub
import cosub.architectures
from cosub.twins import KEPT

DATA = Path(os.environ.get("COSUB_DATA", Path(__file__).parents[2] / "shared" / "data"))

if "PYTEST_XDIST_WORKER" in os.environ:  # the workers share the cores
    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"  # for processes that tests start: the bits depend on the number of threads

MAX = {"img_size": 32, "embed_dim": (8, 16, 16), "depths": (1, 2, 2), "stem_width": (8, 8), "transformer_dim_head": 8,
       "num_classes": 5}  # fmt: skip

# One entry an architecture: how to build a small one.
SMALL: dict[str, Callable[[], nn.Module]] = {
    "vit": lambda: _vit("vit_tiny_patch16_224"),
    "deit3": lambda: _vit("deit3_small_patch16_224"),
    "pit": lambda: timm.create_model(
        "pit_ti_224", img_size=32, patch_size=4, stride=4, base_dims=[8, 8, 8], num_classes=5
    ),
    "beit": lambda: timm.create_model(
        "beit_base_patch16_224", img_size=32, patch_size=8, embed_dim=24, depth=4, num_heads=3, num_classes=5
    ),
    "mae": lambda: _vit("vit_base_patch16_224", init_values=None, class_token=True, global_pool="avg"),
    "cait": lambda: timm.create_model(
        "cait_xxs24_224", img_size=32, patch_size=8, embed_dim=24, depth=4, num_heads=3, init_values=0.1, num_classes=5
    ),
    "xcit": lambda: timm.create_model(
        "xcit_nano_12_p16_224", img_size=32, patch_size=8, embed_dim=24, depth=3, num_heads=3, eta=0.1, num_classes=5
    ),
    "swin": lambda: timm.create_model(
        "swin_tiny_patch4_window7_224",
        img_size=32,
        patch_size=2,
        window_size=4,
        embed_dim=8,
        depths=(2, 2, 2),
        num_heads=(2, 2, 2),
        drop_path_rate=0.0,
        num_classes=5,
    ),
    "convnext": lambda: timm.create_model(
        "convnext_atto", depths=(1, 2, 2, 1), dims=(8, 8, 12, 16), ls_init_value=0.1, conv_mlp=False, num_classes=5
    ),
    "convnextv2": lambda: timm.create_model(
        "convnextv2_atto", depths=(1, 2, 2, 1), dims=(8, 8, 12, 16), conv_mlp=False, num_classes=5
    ),
    "resnet": lambda: timm.create_model("resnet26", channels=(8, 8, 8, 8), num_classes=5, zero_init_last=False),
    "resnet18": lambda: timm.create_model("resnet18", channels=(8, 8, 8, 8), num_classes=5, zero_init_last=False),
    "regnet": lambda: RegNet(
        RegNetCfg(depth=8, w0=8, wa=8.0, wm=2.0, group_size=4, se_ratio=0.25), num_classes=5, zero_init_last=False
    ),
    "efficientnet": lambda: timm.create_model("tf_efficientnetv2_b0", channel_multiplier=0.2, num_classes=5),
    "patchconvnet": lambda: timm.create_model(
        "patchconvnet_s60", embed_dim=24, depth=4, init_values=0.1, num_classes=5
    ),
    "eva": lambda: _alive(_vit("eva02_tiny_patch14_224", depth=3)),
    "evapost": lambda: _alive(_vit("eva02_enormous_patch14_clip_224", depth=3, mlp_ratio=2)),
    "dinov3": lambda: _alive(_vit("vit_small_patch16_dinov3", depth=3)),
    "swinv2": lambda: _alive(
        timm.create_model(
            "swinv2_tiny_window8_256",
            img_size=32,
            patch_size=2,
            window_size=4,
            embed_dim=8,
            depths=(2, 2, 2),
            num_heads=(2, 2, 2),
            drop_path_rate=0.0,
            num_classes=5,
        )
    ),
    "mobilenetv4": lambda: _mobilenet(
        ["er_r1_k3_s1_e2_c8"],
        ["uir_r1_a3_k5_s2_e2_c16", "mqa_r1_k3_h2_s1_v2_d8_c16", "uir_r1_a3_k3_s1_e2_c16", "uir_r1_a3_k0_s1_e2_c16"],
        ["uir_r1_a0_k3_s2_e2_c16", "mqa_r1_k3_h2_s1_d8_c16", "uir_r1_a0_k0_s1_e2_c16"],
    ),
    "hiera": lambda: _alive(
        timm.create_model(
            "hiera_tiny_224", img_size=32, embed_dim=8, stages=(2, 2, 1, 1), init_values=0.1, num_classes=5
        )
    ),
    "maxvit": lambda: timm.create_model(
        "test_maxvit", **MAX, block_type=("M",) * 3, transformer_window_size=(2, 2), transformer_grid_size=(2, 2)
    ),
    "coatnext": lambda: timm.create_model("coatnext_nano_rw_224", **MAX, block_type=("C", "T", "T")),
}


def _vit(name: str, **settings: Any) -> nn.Module:
    shape = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 4, "num_heads": 3, "num_classes": 5}
    return timm.create_model(name, **{**shape, "init_values": 0.1, **settings})


def _mobilenet(*stages: list[str]) -> nn.Module:
    arch = decode_arch_def(list(stages))
    return MobileNetV3(arch, stem_size=8, num_features=16, layer_scale_init_value=0.1, num_classes=5)


def _alive(model: Any) -> nn.Module:
    """Without what starts near zero and hides the rest: norms that close Swin V2's branches, small classifiers."""
    for parameter in model.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.5)
    nn.init.normal_(model.get_classifier().weight)
    return model


class Mask(nn.Module):
    """Stands in timm's drop path slots: multiplies each row by a factor of our choice, those of each call in turn."""

    def __init__(self, factors: list[Tensor]) -> None:
        super().__init__()
        self.factors, self.calls = factors, 0

    def forward(self, x: Tensor) -> Tensor:
        factor = self.factors[self.calls % len(self.factors)]
        self.calls += 1
        return x * factor.view(-1, *[1] * (x.dim() - 1))


# The modules with which the branches of blocks from outside timm end, in the order in which they run.
ENDS = {
    "torchvision.models.vision_transformer.EncoderBlock": ("dropout", "mlp"),
    "torchvision.models.swin_transformer.SwinTransformerBlock": ("stochastic_depth", "stochastic_depth"),
    "torchvision.models.swin_transformer.SwinTransformerBlockV2": ("stochastic_depth", "stochastic_depth"),
    "torchvision.models.convnext.CNBlock": ("stochastic_depth",),
    "torchvision.models.resnet.BasicBlock": ("bn2",),
    "torchvision.models.resnet.Bottleneck": ("bn3",),
    "torchvision.models.regnet.ResBottleneckBlock": ("f",),
    "transformers.models.vit.modeling_vit.ViTLayer": ("dropout", "dropout"),
    "transformers.models.dinov2.modeling_dinov2.Dinov2Layer": ("drop_path", "drop_path"),
}


def _mask_ends(block: nn.Module, ends: tuple[str, ...], masks: Iterator[Tensor]) -> None:
    """A mask after each branch; a module that ends two of them is called twice."""
    factors = [next(masks) for _ in ends]
    for name in set(ends):
        mask = Mask([factor for end, factor in zip(ends, factors, strict=True) if end == name])
        getattr(block, name).register_forward_hook(lambda _module, _given, added, mask=mask: mask(added))


def masked_reference(model: nn.Module, mask: Tensor, family: str = "") -> nn.Module:
    """The model (not attached) with an explicit mask in each of its drop path slots, in execution order."""
    masks = iter(mask)
    for module in model.modules():
        if ends := ENDS.get(f"{type(module).__module__}.{type(module).__qualname__}"):
            _mask_ends(module, ends, masks)
            continue
        names = [name for name, _ in module.named_children() if name.startswith("drop_path")]
        names += ["drop_path"] if isinstance(module, BasicBlock | Bottleneck) else []  # None where there is no rate
        if not names or type(module) in KEPT or not _skips(module):
            continue
        for name in {"xcit": ["drop_path1", "drop_path3", "drop_path2"]}.get(family, names):
            stand_in = Mask([next(masks), next(masks)] if family == "cait" else [next(masks)])
            setattr(module, name, stand_in)
    assert next(masks, None) is None
    return model


def _skips(module: nn.Module) -> bool:
    return getattr(module, "has_skip", True) and getattr(module, "shortcut", True) is not None


def frozen(model: nn.Module) -> nn.Module:
    """BatchNorm with its running statistics: those of a batch depend on which rows it sees."""
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            module.eval()
    return model


@functools.cache
def _built(family: str) -> nn.Module:
    torch.manual_seed(0)
    return SMALL[family]()


@pytest.fixture(params=sorted(SMALL))
def family(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def build(family: str) -> Callable[[], nn.Module]:
    """Makes the same small model (same weights) at every call."""
    return lambda: copy.deepcopy(_built(family))


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


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny run. Tests of a module share it."""
    out = tmp_path_factory.mktemp("finished") / "run"
    run(tiny(out))
    return out


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six images to train and three to validate, of each of two classes."""
    for split, number in (("train", 6), ("val", 3)):
        for name in ("cat", "dog"):
            (tmp_path / split / name).mkdir(parents=True)
            for index in range(number):
                picture(index).save(tmp_path / split / name / f"{index}.png")
    return tmp_path


@pytest.fixture
def scenes(tmp_path: Path) -> Path:
    """Twelve scenes of two bands each, 40x30 pixels, 0 in a corner; four to test."""
    root = tmp_path / "scenes"
    for part, number in (("training", 12), ("validation", 4)):
        for kind in ("images", "annotations"):
            (root / kind / part).mkdir(parents=True)
        for index in range(number):
            values = np.full((30, 40), 1 + index % 3, np.uint8)
            values[10 + index :] = 2 + index % 2
            values[:3, :3] = 0
            colours = np.array([[0, 0, 0], [250, 20, 20], [20, 250, 20], [20, 20, 250]], np.uint8)
            Image.fromarray(colours[values]).save(root / "images" / part / f"{index}.png")
            Image.fromarray(values).save(root / "annotations" / part / f"{index}.png")
    (root / "classes.txt").write_text("red\ngreen\nblue\n")
    return root
