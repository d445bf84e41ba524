"""CaiT-M12 and CaiT-L24 (tables 2 and 6). Neither has published sizes: the CaiT paper has M24 to M48, and no L.

Inferred for both: two class-attention blocks as in every CaiT, and LayerScale initialised at 1e-4, as in DeiT-III,
whose recipe trains them.
"""

from typing import Any

from timm.models import generate_default_cfgs, register_model
from timm.models.cait import Cait

from cosub.architectures.registration import build, configuration

__all__ = ["cait_l24_224", "cait_m12_224"]

default_cfgs = generate_default_cfgs({"cait_m12_224": configuration(), "cait_l24_224": configuration()})

_FORM = {"depth_token_only": 2, "init_values": 1e-4}


@register_model
def cait_m12_224(pretrained: bool = False, **given: Any) -> Cait:
    """CaiT-M12, 100.8 M parameters. Published: width 768 and 16 heads of CaiT-M. Inferred: 12 blocks, from the name."""
    sizes = {"embed_dim": 768, "depth": 12, "num_heads": 16}
    return build(Cait, "cait_m12_224", pretrained, given, **sizes, **_FORM)


@register_model
def cait_l24_224(pretrained: bool = False, **given: Any) -> Cait:
    """CaiT-L24, 329.6 M parameters. Inferred: 24 blocks, from the name; width 1024 and 16 heads, those of ViT-L.

    The paper trains it at ViT-L's drop rate, 0.45.
    """
    sizes = {"embed_dim": 1024, "depth": 24, "num_heads": 16}
    return build(Cait, "cait_l24_224", pretrained, given, **sizes, **_FORM)
