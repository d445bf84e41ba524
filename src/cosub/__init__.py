"""Submodel co-training for image backbones.

import cosub, timm
model = timm.create_model("deit3_base_patch16_224")
cosub.attach(model, drop_rate=0.2, copies=2, seed=0)
loss = cosub.cosub_loss(model(images), targets, weight=0.5)
"""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"

# Public name -> module. Nothing heavy is imported before it is used.
_PUBLIC = {
    "attach": "cosub.attachment",
    "detach": "cosub.attachment",
    "active": "cosub.attachment",
    "state": "cosub.attachment",
    "copies": "cosub.attachment",
    "compile_blocks": "cosub.twins.compilation",
    "cosub_loss": "cosub.losses",
    "cosub_distillation_loss": "cosub.losses",
    "distillation_loss": "cosub.losses",
    "label_loss": "cosub.losses",
    "mixed_targets": "cosub.losses",
    "Submodel": "cosub.submodel",
    "draw": "cosub.submodel",
    "keep_layers": "cosub.submodel",
    "fit": "cosub.api.fitting",
    "Run": "cosub.api.run",
    "Callback": "cosub.runs.callbacks",
    "load": "cosub.runs.folder",
    "load_weights": "cosub.weights.loading",
    "CosubError": "cosub.errors",
    "InputError": "cosub.errors",
    "RunError": "cosub.errors",
    "Stopped": "cosub.errors",
}

__all__ = sorted(_PUBLIC)

if TYPE_CHECKING:
    from cosub.api.fitting import fit
    from cosub.api.run import Run
    from cosub.attachment import active, attach, copies, detach, state
    from cosub.errors import CosubError, InputError, RunError, Stopped
    from cosub.losses import cosub_distillation_loss, cosub_loss, distillation_loss, label_loss, mixed_targets
    from cosub.runs.callbacks import Callback
    from cosub.runs.folder import load
    from cosub.submodel import Submodel, draw, keep_layers
    from cosub.twins.compilation import compile_blocks
    from cosub.weights.loading import load_weights


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(importlib.import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'cosub' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
