"""Folders that are written as a whole or not at all: timm's checkpoint in the layout of the Hub, and ONNX."""

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, TypedDict

import timm
from jaxtyping import Float
from safetensors.torch import load_file, save_file
from timm.models import save_for_hf
from torch import Tensor

from cosub.data.pixels import reading
from cosub.errors import RunError
from cosub.export.card import Facts, module_usage, readme, timm_usage
from cosub.export.checks import SAME, batched_logits, require_same
from cosub.export.plain import Plain, module_text
from cosub.runs.folder import aside
from cosub.runs.names import write_text
from cosub.runs.published import data_config

# Run where cosub cannot be imported, as by someone who has the folder alone.
_ALONE = """
import sys
sys.modules["cosub"] = None
sys.path.insert(0, sys.argv[1])
import torch
from model import load
from safetensors.torch import load_file, save_file
network, images = load(), load_file(sys.argv[2])["images"]
with torch.inference_mode():
    save_file({"logits": torch.cat([network(part) for part in images.split(32)])}, sys.argv[3])
"""


class Settings(TypedDict):
    """What a config says beside what timm records of the model, as arguments of timm's functions."""

    model_config: dict[str, Any]
    data_config: dict[str, Any]


def settings(facts: Facts, plain: Plain) -> Settings:
    """Names of classes, residual layers taken out, and how images are prepared."""
    model: dict[str, Any] = {"pretrained_cfg": {"architecture": plain.architecture}, "label_names": [*facts.classes]}
    model |= reading(facts.recipe.data)
    if plain.needs_module:
        model |= {"removed_layers": plain.removed, "scaled_blocks": plain.scaled, "replaced_modules": plain.replaced}
    return {"model_config": model, "data_config": data_config(facts.recipe)}


def write_timm(
    plain: Plain, facts: Facts, folder: Path, images: Float[Tensor, "B 3 H W"], source: Float[Tensor, "B K"]
) -> float:
    """Write what `timm.create_model("local-dir:FOLDER", pretrained=True)` loads, or else FOLDER/model.py.

    Before the folder gets its name, it is loaded as its card says and compared with the run's logits.

    Returns:
        The largest difference between logits.

    Raises:
        InputError: if something is there already.
        RunError: if what was written gives other logits than the run.
    """
    with aside(folder) as place:
        save_for_hf(plain.model, str(place), safe_serialization=True, **settings(facts, plain))
        # safetensors lets nobody else read what it writes.
        (place / "model.safetensors").chmod((place / "config.json").stat().st_mode)
        usage = module_usage() if plain.needs_module else timm_usage("local-dir:.")
        write_text(place / "README.md", readme(facts, plain, usage))
        if plain.needs_module:
            (place / "model.py").write_text(module_text(plain))
            found = _alone(place, images)
        else:
            found = batched_logits(timm.create_model(f"local-dir:{place}", pretrained=True).eval(), images)
        return require_same(found, source, SAME, "the exported checkpoint")


def _alone(folder: Path, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B K"]:
    """The logits that a folder's module gives in a process of its own."""
    with tempfile.TemporaryDirectory() as name:
        given, found = Path(name) / "images.safetensors", Path(name) / "logits.safetensors"
        save_file({"images": images}, given)
        words = [sys.executable, "-I", "-B", "-c", _ALONE, str(folder.resolve()), str(given), str(found)]
        ended = subprocess.run(words, capture_output=True, text=True, check=False)
        if ended.returncode:
            reason = (ended.stderr.strip().splitlines() or ["no word"])[-1]
            raise RunError(f"the exported module cannot be loaded ({reason}); nothing was written")
        return load_file(found)["logits"]
