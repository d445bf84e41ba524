"""A model card: what the network is, how it was trained, how good it is, how it is loaded."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from timm.models._hub import generate_readme

import cosub
from cosub.export.opening import with_opening
from cosub.export.plain import Plain
from cosub.recipes.recipe import Recipe
from cosub.runs.counting import count_parameters
from cosub.runs.summary import scored_on
from cosub.runs.tables import number_of

_PAPER = """@inproceedings{touvron2023cotraining,
  title = {Co-training 2^L Submodels for Visual Recognition},
  author = {Touvron, Hugo and Cord, Matthieu and Oquab, Maxime and Bojanowski, Piotr and Verbeek, Jakob and
            J{\\'e}gou, Herv{\\'e}},
  booktitle = {CVPR},
  year = {2023}
}"""

_TIMM = """import timm
import torch
from PIL import Image
{imports}
{load}
config = timm.data.resolve_model_data_config(network)
transform = timm.data.create_transform(**config, is_training=False)
image = Image.open("image.png").convert("RGB")
with torch.inference_mode():
    probabilities = network(transform(image)[None]).softmax(1)[0]
print(network.pretrained_cfg["label_names"][int(probabilities.argmax())], float(probabilities.max()))
"""

_ONNX = """import json
import math

import numpy as np
import onnxruntime
from PIL import Image

config = json.load(open("config.json"))
inputs = config["pretrained_cfg"]
size = inputs["input_size"][-1]
image = Image.open("image.png").convert("RGB")
short = math.floor(size / inputs["crop_pct"])
filter = Image.Resampling[inputs["interpolation"].upper()]
image = image.resize([int(short * side / min(image.size)) for side in image.size], filter)
left, top = round((image.width - size) / 2), round((image.height - size) / 2)
image = image.crop((left, top, left + size, top + size))
pixels = (np.asarray(image, np.float32) / 255 - inputs["mean"]) / inputs["std"]
session = onnxruntime.InferenceSession("model.onnx")
(logits,) = session.run(None, {"images": pixels.transpose(2, 0, 1)[None].astype(np.float32)})
print(config["label_names"][logits[0].argmax()])
"""


@dataclass(frozen=True)
class Facts:
    """What a card says of a run."""

    recipe: Recipe
    classes: tuple[str, ...]
    summary: dict[str, Any]
    kept: Sequence[int]
    layers: int


def card(facts: Facts, plain: Plain, usage: str) -> dict[str, Any]:
    """The card as timm takes it; the license is for whoever publishes it to say."""
    recipe = facts.recipe
    details: dict[str, Any] = {
        "Model": f"{plain.architecture} of timm, {_millions(plain)} M parameters"
        + (", with residual layers taken out by model.py" if plain.removed else ""),
        "Residual layers": f"{len(facts.kept)} of the {facts.layers} that were trained",
        "Classes": len(facts.classes),
        "Images": f"{recipe.resolution} x {recipe.resolution}, {recipe.inputs.interpolation}, "
        f"crop ratio {recipe.inputs.crop_ratio:g}, mean {recipe.inputs.mean}, deviation {recipe.inputs.std}",
        "Training": f"{recipe.method.kind}, drop rate {recipe.drop_rate:g}, {number_of(recipe.epochs, 'epoch')} of "
        f"recipe {recipe.name}, batch {recipe.batch_size}, {recipe.optimizer.name}, seed {recipe.seed}",
        "Software": f"cosub {cosub.__version__}",
        "Paper": "Co-training 2^L Submodels for Visual Recognition, https://arxiv.org/abs/2212.04884",
    }
    if recipe.weights:
        details["Start"] = recipe.weights
    top1, images = (facts.summary.get(name) for name in ("top1", "num_images"))
    if isinstance(top1, float) and isinstance(images, int):  # a run's own summary always says so
        details["Accuracy"] = f"top-1 {top1:.2%} on {number_of(images, scored_on(facts.summary) + ' image')}"
    return {
        "license": "unknown",
        "tags": ["image-classification", "timm", "cosub"],
        "description": f"An image classifier trained with {recipe.method.kind}.",
        "details": details,
        "usage": f"```python\n{with_opening(usage, recipe.data)}```",
        "citation": _PAPER,
    }


def readme(facts: Facts, plain: Plain, usage: str) -> str:
    return generate_readme(card(facts, plain, usage), f"{plain.architecture}, {facts.recipe.name}")


def timm_usage(source: str) -> str:
    """The words that load a timm checkpoint, `local-dir:.` or `hf-hub:OWNER/NAME`."""
    return _TIMM.format(imports="", load=f'network = timm.create_model("{source}", pretrained=True).eval()')


def module_usage() -> str:
    """The words that load a network that timm alone cannot build."""
    return _TIMM.format(imports="\nfrom model import load\n", load="network = load()")


def onnx_usage() -> str:
    return _ONNX


def _millions(plain: Plain) -> str:
    return f"{count_parameters(plain.model) / 1e6:.2f}"
