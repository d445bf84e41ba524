"""The folder of a finished run, without training."""

import dataclasses

import torch

from cosub.recipes import get
from cosub.runs.folder import RunFolder
from cosub.runs.network import build_network
from cosub.runs.published import metadata
from cosub.train.checkpoint import save_weights

CLASSES = ("crane", "dahlia", "temple")
FAMILIES = {
    "deit3_small_patch16_224": {"depth": 2, "embed_dim": 32, "num_heads": 2, "init_values": 0.5},
    "convnext_tiny": {"depths": (1, 1, 1, 1), "dims": (8, 16, 24, 32), "ls_init_value": 0.5},
    "resnet18": {"layers": (1, 1, 1, 2)},
    "swin_tiny_patch4_window7_224": {"depths": (1, 1, 1, 1), "embed_dim": 24, "window_size": 2},
    "xcit_nano_12_p16_224": {"depth": 2, "embed_dim": 32, "num_heads": 2, "eta": 0.5},
}


def finished(out, model, **changes):
    """A run's folder as training leaves it, with the network's first weights."""
    recipe = dataclasses.replace(get("digits"), model=model, model_args=FAMILIES[model], resolution=64, **changes)
    torch.manual_seed(0)
    network = build_network(recipe, len(CLASSES), copies=1)
    torch.nn.init.normal_(network.get_classifier().weight, std=0.1)  # timm starts it near zero
    RunFolder(out).claim(recipe)
    save_weights(network.state_dict(), RunFolder(out).weights, metadata(recipe, CLASSES))
    return recipe
