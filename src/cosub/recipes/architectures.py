"""The paper's architectures: timm's name, drop rates and layer decay, from tables A.1, 2 and 6 or inferred."""

from dataclasses import dataclass

EXTRA_DROP_RATE = 0.05
"""Added to the drop rate on ImageNet-21k for 270 epochs, or for more than 224 pixels (Appendix A.1)."""


@dataclass(frozen=True)
class Architecture:
    """One architecture; `inferred` names those of its values that the paper does not publish."""

    title: str
    model: str
    imagenet: float = 0.0
    """Drop rate on ImageNet-1k; 0: the paper has no such training."""
    imagenet21k: float = 0.0
    """Drop rate of 90 epochs on ImageNet-21k; 0: the paper has no such training."""
    layer_decay: float = 1.0
    inferred: tuple[str, ...] = ()


# Inferred rates on 21k: about two thirds of table 2's rate on ImageNet-1k where there is one, as in table A.1 (for L;
# less for B). Swin and ConvNeXt have their authors' rates on 21k (0.2; 0.1), XCiT-S12 and M24 their authors' 0.05 and
# 0.15. The others follow the number of parameters. Appendix B.1 sets them in the same way, without stating them.
ARCHITECTURES = {
    "deit3-s": Architecture("ViT-S", "deit3_small_patch16_224", 0.05, 0.05, 0.7),
    "deit3-m": Architecture("ViT-M", "deit3_medium_patch16_224", 0.1, 0.05, 0.75),
    "deit3-b": Architecture("ViT-B", "deit3_base_patch16_224", 0.2, 0.1, 0.75),
    "deit3-l": Architecture("ViT-L", "deit3_large_patch16_224", 0.45, 0.3, 0.8),
    "deit3-h": Architecture("ViT-H", "deit3_huge_patch14_224", 0.6, 0.5, 0.85),
    "deit3-g": Architecture("ViT-g", "deit3_giant_patch14_224", 0.0, 0.6, 0.9, ("imagenet21k", "layer_decay")),
    "cait-m12": Architecture("CaiT-M12", "cait_m12_224", 0.2),
    "cait-l24": Architecture("CaiT-L24", "cait_l24_224", 0.45),
    "pit-s": Architecture("PiT-S", "pit_s_224", 0.05, inferred=("imagenet",)),
    "pit-b": Architecture("PiT-B", "pit_b_224", 0.25, 0.15, inferred=("imagenet21k",)),
    "xcit-s12": Architecture("XCiT-S12", "xcit_small_12_p16_224", 0.0, 0.05, inferred=("imagenet21k",)),
    "xcit-m24": Architecture("XCiT-M24", "xcit_medium_24_p16_224", 0.0, 0.15, inferred=("imagenet21k",)),
    "xcit-l12": Architecture("XCiT-L12", "xcit_large_12_p16_224", 0.2),
    "xcit-l24": Architecture("XCiT-L24", "xcit_large_24_p16_224", 0.0, 0.2, inferred=("imagenet21k",)),
    "swin-b": Architecture("Swin-B", "swin_base_patch4_window7_224", 0.2, 0.2, inferred=("imagenet21k",)),
    "swin-l": Architecture("Swin-L", "swin_large_patch4_window7_224", 0.45, 0.2, inferred=("imagenet21k",)),
    "convnext-s": Architecture("ConvNeXt-S", "convnext_small", 0.0, 0.1, inferred=("imagenet21k",)),
    "convnext-b": Architecture("ConvNeXt-B", "convnext_base", 0.0, 0.1, inferred=("imagenet21k",)),
    "resnet50": Architecture("ResNet-50", "resnet50", 0.1),
    "resnet101": Architecture("ResNet-101", "resnet101", 0.2),
    "resnet152": Architecture("ResNet-152", "resnet152", 0.3, 0.2, inferred=("imagenet21k",)),
    "regnety-16gf": Architecture("RegNet-16GF", "regnety_160", 0.3, 0.2, inferred=("imagenet21k",)),
}


def inferred_drop_rate(architecture: Architecture, data: str) -> tuple[str, ...]:
    """("drop_rate",) where the rate on `data`, imagenet or imagenet21k, is not published."""
    return ("drop_rate",) if data in architecture.inferred else ()


def group_size(architecture: Architecture) -> int:
    """Images per GPU in table 7, 2048 on 32 GPUs (ViT-L) and on 64 (ViT-H): the granularity of the drop rate.

    For other sizes it is not published: those above ViT-L have ViT-H's, the rest ViT-L's.
    """
    return 32 if architecture.title in ("ViT-H", "ViT-g") else 64
