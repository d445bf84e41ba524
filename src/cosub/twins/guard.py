"""Refuses calls for which a model of transformers takes rows for images.

Given labels, such a model computes a loss, and a backbone reshapes tokens into maps: both use the number of images at
the input. With several rows per image that fails with an error about shapes, or silently, so a hook raises before.
"""

import inspect
from dataclasses import dataclass
from typing import Any

from torch import nn

from cosub.twins.state import State


@dataclass(frozen=True)
class Guard:
    """A hook before the forward of such a model. It refuses a call only where images have several rows."""

    state: State
    arguments: tuple[str, ...]  # the names of those that may be given by position

    def __call__(self, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        given = dict(zip(self.arguments, args, strict=False)) | kwargs
        images = given.get("pixel_values")
        if images is None or self.state.repeats(len(images), model) == 1:
            return
        if given.get("labels") is not None:
            raise ValueError(
                "labels: the model's own loss is not that of equation 2, and each image has several submodels here: "
                "leave labels out of the call, and pass its logits to cosub.cosub_loss(outputs.logits, labels)"
            )
        if _folds(model):
            raise ValueError(
                f"{type(model).__name__} folds its maps for one submodel per image: attach it with copies=1, or build "
                "it with reshape_hidden_states=False"
            )


def guard(model: nn.Module, state: State) -> None:
    """Register the hook on the models of transformers that need it."""
    for module in model.modules():
        if not getattr(type(module).forward, "__module__", "").startswith("transformers."):
            continue
        arguments = tuple(inspect.signature(type(module).forward).parameters)[1:]
        if "pixel_values" in arguments and ("labels" in arguments or _folds(module)):
            module.register_forward_pre_hook(Guard(state, arguments), with_kwargs=True)


def unguard(model: nn.Module) -> None:
    """Remove the hook."""
    for module in model.modules():
        for key in [key for key, hook in module._forward_pre_hooks.items() if isinstance(hook, Guard)]:
            del module._forward_pre_hooks[key], module._forward_pre_hooks_with_kwargs[key]


def _folds(model: Any) -> bool:
    return "Backbone" in type(model).__name__ and getattr(model.config, "reshape_hidden_states", False)
