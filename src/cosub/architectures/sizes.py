"""Sizes of ViT, CaiT and XCiT that the paper has and timm lacks."""

from timm.models.cait import Cait
from timm.models.vision_transformer import VisionTransformer
from timm.models.xcit import Xcit

from cosub.architectures.registration import register

# ViT-g (table 9), 955.0 M parameters, in the form of DeiT-III: position embedding of the patches alone, LayerScale on
# both branches. Published, in the code of DeiT-III: width 1408, 40 blocks, 16 heads, MLP ratio 4, LayerScale
# initialised at 1e-4. Inferred: that this is the paper's ViT-g, whose sizes it does not state. timm's
# `vit_giant_patch14_224` is another network (MLP ratio 48/11, no LayerScale, 1012.6 M).
_DEIT3 = {"no_embed_class": True, "init_values": 1e-4}
register(
    VisionTransformer,
    {"deit3_giant_patch14_224": {"patch_size": 14, "embed_dim": 1408, "depth": 40, "num_heads": 16, **_DEIT3}},
)

# CaiT-M12 (table 6), 100.8 M parameters. Published: width 768 and 16 heads of CaiT-M. Inferred: 12 blocks, from the
# name. CaiT-L24 (table 2), 329.6 M. Inferred: 24 blocks, from the name; width 1024 and 16 heads, those of ViT-L, at
# whose drop rate the paper trains it. Neither has published sizes: the CaiT paper has M24 to M48, and no L. Inferred
# for both: two class-attention blocks as in every CaiT, and LayerScale initialised at 1e-4, as in DeiT-III.
_CAIT = {"num_heads": 16, "depth_token_only": 2, "init_values": 1e-4}
register(
    Cait,
    {
        "cait_m12_224": {"embed_dim": 768, "depth": 12, **_CAIT},
        "cait_l24_224": {"embed_dim": 1024, "depth": 24, **_CAIT},
    },
)

# XCiT-L12 (table 2), 103.8 M parameters. Published: width 768 and 16 heads of XCiT-L24 (189.1 M in this code).
# Inferred, since the paper states no sizes: 12 blocks and patches of 16; LayerScale initialised at 1, as in every
# published XCiT of 12 blocks (1e-5 in those of 24).
_XCIT = {"num_heads": 16, "eta": 1.0, "tokens_norm": True}
register(
    Xcit,
    {"xcit_large_12_p16_224": {"patch_size": 16, "embed_dim": 768, "depth": 12, **_XCIT}},
    first_conv="patch_embed.proj.0.0",
)
