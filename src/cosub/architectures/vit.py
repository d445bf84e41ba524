"""ViT-g/14 in the form of DeiT-III: position embedding of the patches alone, LayerScale on both branches."""

from typing import Any

from timm.models import generate_default_cfgs, register_model
from timm.models.vision_transformer import VisionTransformer

from cosub.architectures.registration import build, configuration

__all__ = ["deit3_giant_patch14_224"]

default_cfgs = generate_default_cfgs({"deit3_giant_patch14_224": configuration()})


@register_model
def deit3_giant_patch14_224(pretrained: bool = False, **given: Any) -> VisionTransformer:
    """ViT-g/14, 955.0 M parameters (table 9).

    Published, in the code of DeiT-III: width 1408, 40 blocks, 16 heads, MLP ratio 4, LayerScale initialised at 1e-4.
    Inferred: that this is the paper's ViT-g, whose sizes it does not state. timm's `vit_giant_patch14_224` is another
    network (MLP ratio 48/11, no LayerScale, 1012.6 M).
    """
    sizes = {"patch_size": 14, "embed_dim": 1408, "depth": 40, "num_heads": 16}
    form = {"no_embed_class": True, "init_values": 1e-4}
    return build(VisionTransformer, "deit3_giant_patch14_224", pretrained, given, **sizes, **form)
