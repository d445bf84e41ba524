"""Small networks that share a twin with a family of the contract and differ in what their blocks are made of."""

import timm
from conftest import MAX, _mobilenet, _vit
from timm.models.byobnet import ByoBlockCfg, ByobNet, ByoModelCfg
from timm.models.cspnet import CspModelCfg, CspNet, CspStagesCfg, CspStemCfg
from torch import nn


def _small(name: str, **settings) -> nn.Module:
    return timm.create_model(name, num_classes=5, **settings)


def _byob(*kinds: str) -> nn.Module:
    blocks = [ByoBlockCfg(type=kind, d=1 + (kind == "dark"), c=16, s=2, gs=0, br=0.5) for kind in kinds]
    return ByobNet(ByoModelCfg(blocks=blocks, stem_chs=8, num_features=0), num_classes=5)


def _attentive() -> nn.Module:
    blocks = [ByoBlockCfg(type="self_attn", d=depth, c=16, s=2, gs=0, br=1.0) for depth in (1, 2)]
    attention = {"self_attn_layer": "bottleneck", "self_attn_kwargs": {"dim_head": 8, "num_heads": 2}}
    shape = ByoModelCfg(blocks, stem_chs=8, num_features=0, fixed_input_size=True, **attention)
    return ByobNet(shape, num_classes=5, img_size=32)


def _csp(block: str, stage: str) -> nn.Module:
    stages = CspStagesCfg(depth=(2, 2), out_chs=(16, 32), expand_ratio=2.0, block_type=block, stage_type=stage)
    return CspNet(CspModelCfg(CspStemCfg(out_chs=8), stages, zero_init_last=False), num_classes=5)


VARIANTS = {
    "dinov2 with registers": lambda: _vit("vit_small_patch14_reg4_dinov2", depth=2),
    "dinov2 giant": lambda: _vit("vit_giant_patch14_reg4_dinov2", depth=2),
    "rope of each block": lambda: _vit("vit_small_patch16_rope_mixed_224", depth=2),
    "eva with split projections": lambda: _vit("eva02_base_patch14_224", depth=2),
    "maps of conditional kernels": lambda: _mobilenet(["ir_r3_k3_s2_e2_c16_se0.25_cc2"]),
    "separable": lambda: _mobilenet(["ds_r2_k3_s1_c8_se0.25"], ["ds_r2_k3_s2_c16"]),
    "mobilenetv4 without attention": lambda: _mobilenet(["cn_r1_k3_s2_c16"], ["uir_r2_a5_k0_s1_e2_c16"]),
    "hiera without a projection": lambda: timm.create_model(
        "hiera_tiny_224", img_size=32, embed_dim=8, stages=(1, 1, 1, 1), use_expand_proj=False, num_classes=5
    ),
    "maxvit in other order": lambda: timm.create_model(
        "test_maxvit", **MAX, block_type=("M",) * 3, transformer_window_size=(2, 2), transformer_grid_size=(2, 2),
        transformer_use_nchw_attn=True, transformer_norm_layer="layernorm2d"
    ),
    "resnetv2 of two convolutions": lambda: _small("resnetv2_18", layers=(1, 2), channels=(8, 16)),
    "resnetv2": lambda: _small("resnetv2_50", layers=(1, 2), channels=(16, 32)),
    "resnetv2 in the first order": lambda: _small("resnetv2_50", layers=(1, 2), channels=(16, 32), preact=False),
    "nfnet": lambda: _small("nfnet_l0", depths=(1, 2), channels=(16, 32), stem_chs=8, group_size=8, num_features=0),
    "relative positions": lambda: _vit("vit_relpos_small_patch16_224", depth=2),
    "relative positions, norms after": lambda: _vit("vit_relpos_small_patch16_rpn_224", depth=2),
    "byobnet": lambda: _byob("basic", "bottle", "dark", "edge"),
    "byobnet of attention": _attentive,
    "cspnet": lambda: _csp("bottle", "csp"),
    "darknet": lambda: _csp("dark", "dark"),
    "cspnet of edges": lambda: _csp("edge", "cs3"),
    "coatnet": lambda: timm.create_model("test_coatnet", **MAX, block_type=("C", "C", "T")),
}  # fmt: skip
