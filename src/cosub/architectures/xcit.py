"""XCiT-L12 (table 2)."""

from typing import Any

from timm.models import generate_default_cfgs, register_model
from timm.models.xcit import Xcit

from cosub.architectures.registration import build, configuration

__all__ = ["xcit_large_12_p16_224"]

default_cfgs = generate_default_cfgs({"xcit_large_12_p16_224": configuration(first_conv="patch_embed.proj.0.0")})


@register_model
def xcit_large_12_p16_224(pretrained: bool = False, **given: Any) -> Xcit:
    """XCiT-L12 on patches of 16, 103.8 M parameters.

    Published: width 768 and 16 heads of XCiT-L24 (189.1 M in this code). Inferred, since the paper states no sizes: 12
    blocks and patches of 16; LayerScale initialised at 1, as in every published XCiT of 12 blocks (1e-5 in those of
    24).
    """
    sizes = {"patch_size": 16, "embed_dim": 768, "depth": 12, "num_heads": 16}
    return build(Xcit, "xcit_large_12_p16_224", pretrained, given, **sizes, eta=1.0, tokens_norm=True)
