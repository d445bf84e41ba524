"""The paper's networks: the rows of tables 11, 12 and B.1, and the backbones of table 13.

Every architecture of these tables is in timm or in `cosub.architectures`. Names are the paper's, without citations.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class SizeRow:
    """A row: its table, the paper's name and timm's, millions of parameters and billions of FLOPs as printed.

    `note` explains a difference of more than 0.5 % (parameters) or 2 % (FLOPs) from what is counted here.
    """

    table: str
    model: str
    timm: str
    params_m: float
    gflops: float
    resolution: int = 224
    note: str = ""
    decoder: int = 0
    """Channels of UperNet on top; 0 is none. With it, FLOPs are of an image four times as wide as high, without
    attention's matrix products and the auxiliary head, as in the paper."""


_DEIT_DISTILLED = (
    "the paper repeats ViT-B's size: the distillation token, its position and its classifier are 0.77 M parameters more"
)
_EFFICIENTNET = (
    "53 belongs to the network of the EfficientNetV2 paper; for the one that its authors released, which is timm's, "
    "they count 56.3"
)
_XCIT = (
    "XCiT's own code makes queries of all 196 patches in two class-attention layers and uses the class token's, which "
    "timm makes alone: 2 * 196 * 384^2 = 0.058 more are 4.85"
)
_DEIT_S = (
    "taken from the paper on Swin, which does not describe DeiT-S's decoder; with no neck (1.77 M less) there would be "
    "52.1 M, and counting attention's products (154.7 more) 1,112 GFLOPs"
)
_B60 = "the paper counts the classifier too, which is not used: 0.77 M, with it 140.6"
_SWIN_L = (
    "taken from the paper on Swin; the same count gives 1,829 for its 1,841 of Swin-B, and attention's products are 16"
)

ROWS = (
    SizeRow("11", "ResNet-50", "resnet50", 25.6, 4.1),
    SizeRow("11", "ResNet-101", "resnet101", 44.5, 7.9),
    SizeRow("11", "ResNet-101 - cosub", "resnet101", 44.5, 7.9),
    SizeRow("11", "ResNet-152", "resnet152", 60.2, 11.6),
    SizeRow("11", "ResNet-152 - cosub", "resnet152", 60.2, 11.6),
    SizeRow("11", "RegNetY-8GF", "regnety_080", 39.2, 8.0),
    SizeRow("11", "RegNetY-16GF", "regnety_160", 83.6, 16.0),
    SizeRow("11", "RegNetY-16GF - cosub", "regnety_160", 83.6, 16.0),
    SizeRow("11", "Swin-T", "swin_tiny_patch4_window7_224", 28.3, 4.5),
    SizeRow("11", "Swin-B", "swin_base_patch4_window7_224", 87.8, 15.4),
    SizeRow("11", "PiT-S", "pit_s_224", 23.5, 2.9),
    SizeRow("11", "PiT-S - cosub", "pit_s_224", 23.5, 2.9),
    SizeRow("11", "PiT-B", "pit_b_224", 73.8, 12.5),
    SizeRow("11", "PiT-B - cosub", "pit_b_224", 73.8, 12.5),
    SizeRow("11", "ViT-S", "deit_small_patch16_224", 22.0, 4.6),
    SizeRow("11", "ViT-S - DeiT-III", "deit3_small_patch16_224", 22.0, 4.6),
    SizeRow("11", "ViT-S - cosub", "deit3_small_patch16_224", 22.0, 4.6),
    SizeRow("11", "ViT-B", "vit_base_patch16_224", 86.6, 17.5),
    SizeRow("11", "ViT-B - DeiT", "deit_base_patch16_224", 86.6, 17.5),
    SizeRow("11", "ViT-B - DeiT/distilled", "deit_base_distilled_patch16_224", 86.6, 17.5, note=_DEIT_DISTILLED),
    SizeRow("11", "ViT-B - DeiT-III", "deit3_base_patch16_224", 86.6, 17.5),
    SizeRow("11", "ViT-B - cosub", "deit3_base_patch16_224", 86.6, 17.5),
    SizeRow("11", "ViT-L - DeiT-III", "deit3_large_patch16_224", 304.4, 61.6),
    SizeRow("11", "ViT-L - cosub", "deit3_large_patch16_224", 304.4, 61.6),
    SizeRow("11", "ViT-H - DeiT-III", "deit3_huge_patch14_224", 632.1, 167.4),
    SizeRow("11", "ViT-H - cosub", "deit3_huge_patch14_224", 632.1, 167.4),
    SizeRow("12", "EfficientNetV2-M", "tf_efficientnetv2_m", 54.1, 25.0, 480),
    SizeRow("12", "EfficientNetV2-L", "tf_efficientnetv2_l", 118.5, 53.0, 480, _EFFICIENTNET),
    SizeRow("12", "ResNet-152", "resnet152", 60.2, 11.6),
    SizeRow("12", "ResNet-152 - cosub", "resnet152", 60.2, 11.6),
    SizeRow("12", "RegNetY-16GF - cosub", "regnety_160", 83.6, 16.0),
    SizeRow("12", "ConvNeXt-S - cosub", "convnext_small", 50.2, 8.7),
    SizeRow("12", "ConvNeXt-B", "convnext_base", 88.6, 15.4),
    SizeRow("12", "ConvNeXt-B - cosub", "convnext_base", 88.6, 15.4),
    SizeRow("12", "ConvNeXt-L", "convnext_large", 197.8, 34.4),
    SizeRow("12", "ConvNeXt-XL", "convnext_xlarge", 350.2, 60.9),
    SizeRow("12", "Swin-B", "swin_base_patch4_window7_224", 87.8, 15.4),
    SizeRow("12", "Swin-B - cosub", "swin_base_patch4_window7_224", 87.8, 15.4),
    SizeRow("12", "Swin-L", "swin_large_patch4_window7_224", 196.5, 34.5),
    SizeRow("12", "Swin-L - cosub", "swin_large_patch4_window7_224", 196.5, 34.5),
    SizeRow("12", "PiT-B - cosub", "pit_b_224", 73.8, 12.5),
    SizeRow("12", "XCiT-S12 - cosub", "xcit_small_12_p16_224", 26.2, 4.9, note=_XCIT),
    SizeRow("12", "XCiT-M24 - cosub", "xcit_medium_24_p16_224", 84.4, 16.2),
    SizeRow("12", "XCiT-L24 - cosub", "xcit_large_24_p16_224", 189.0, 36.1),
    SizeRow("12", "ViT-S - cosub", "deit3_small_patch16_224", 22.0, 4.6),
    SizeRow("12", "ViT-M - cosub", "deit3_medium_patch16_224", 39.0, 8.0),
    SizeRow("12", "ViT-B - DeiT-III", "deit3_base_patch16_224", 86.6, 17.6),
    SizeRow("12", "ViT-B - cosub", "deit3_base_patch16_224", 86.6, 17.6),
    SizeRow("12", "ViT-L - DeiT-III", "deit3_large_patch16_224", 304.4, 61.6),
    SizeRow("12", "ViT-L - cosub", "deit3_large_patch16_224", 304.4, 61.6),
    SizeRow("12", "ViT-H - DeiT-III", "deit3_huge_patch14_224", 632.1, 167.4),
    SizeRow("12", "ViT-H - cosub", "deit3_huge_patch14_224", 632.1, 167.4),
    SizeRow("B.1", "ResNet-152", "resnet152", 60, 11.6),
    SizeRow("B.1", "RegNet-16GF", "regnety_160", 84, 16.0),
    SizeRow("B.1", "PiT-B", "pit_b_224", 74, 12.5),
    SizeRow("B.1", "ConvNeXt-S", "convnext_small", 50, 8.7),
    SizeRow("B.1", "ConvNeXt-B", "convnext_base", 89, 15.4),
    SizeRow(
        "B.1", "XCiT-S12", "xcit_small_12_p16_224", 26, 4.9, note="26.25 M in whole millions; FLOPs as in table 12"
    ),
    SizeRow("B.1", "XCiT-M24", "xcit_medium_24_p16_224", 84, 16.2),
    SizeRow("B.1", "XCiT-L24", "xcit_large_24_p16_224", 189, 36.1),
    SizeRow("B.1", "Swin-B", "swin_base_patch4_window7_224", 88, 15.4),
    SizeRow("B.1", "Swin-L", "swin_large_patch4_window7_224", 197, 34.5),
    SizeRow("13", "UperNet DeiT-S", "deit_small_patch16_224", 52.0, 1099, 512, _DEIT_S, 512),
    SizeRow("13", "UperNet Swin-T", "swin_tiny_patch4_window7_224", 59.9, 945, 512, decoder=512),
    SizeRow("13", "UperNet ViT-S", "deit3_small_patch16_224", 41.7, 588, 512, decoder=384),
    SizeRow("13", "UperNet PatchConvNet-B60", "patchconvnet_b60", 140.6, 1258, 512, _B60, 512),
    SizeRow("13", "UperNet PatchConvNet-B120", "patchconvnet_b120", 229.8, 1550, 512, decoder=512),
    SizeRow("13", "UperNet MAE ViT-B", "vit_base_patch16_224", 127.7, 1283, 512, decoder=512),
    SizeRow("13", "UperNet Swin-B", "swin_base_patch4_window7_224", 121.0, 1188, 512, decoder=512),
    SizeRow("13", "UperNet ViT-B", "deit3_base_patch16_224", 127.7, 1283, 512, decoder=512),
    SizeRow("13", "UperNet ViT-L", "deit3_large_patch16_224", 353.6, 2231, 512, decoder=512),
    SizeRow("13", "UperNet PatchConvNet-B60 (21k)", "patchconvnet_b60", 140.6, 1258, 512, _B60, 512),
    SizeRow("13", "UperNet Swin-B (21k)", "swin_base_patch4_window7_224", 121.0, 1841, 640, decoder=512),
    SizeRow("13", "UperNet ViT-B (21k)", "deit3_base_patch16_224", 127.7, 1283, 512, decoder=512),
    SizeRow("13", "UperNet PatchConvNet-L120 (21k)", "patchconvnet_l120", 383.7, 2086, 512, decoder=512),
    SizeRow("13", "UperNet Swin-L (21k)", "swin_large_patch4_window7_224", 234.0, 3230, 640, _SWIN_L, 512),
    SizeRow("13", "UperNet ViT-L (21k)", "deit3_large_patch16_224", 353.6, 2231, 512, decoder=512),
)
