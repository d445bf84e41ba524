"""The table timm class -> twin. A new architecture is a file beside this one and a line here.

TWINS   blocks: their forward is rewritten around `residual`
DOORS   modules before whose blocks copies must be made (default: the first block)
HOSTS   modules that checkpoint blocks, or fold their output with the number of images read at entry
"""

from timm.models.pit import Transformer as PiTTransformer
from timm.models.vision_transformer import Block, VisionTransformer
from torch import nn

from cosub.blocks.twin import Host, Twin
from cosub.blocks.vit import PiTStage, ViTBlock, ViTHost

FAMILIES = ("ViT", "DeiT", "DeiT-III", "PiT")

TWINS: dict[type[nn.Module], type[Twin]] = {Block: ViTBlock}
DOORS: dict[type[nn.Module], type[Twin]] = {PiTTransformer: PiTStage}
HOSTS: dict[type[nn.Module], type[Host]] = {VisionTransformer: ViTHost}
