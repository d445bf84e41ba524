"""Models of transformers that use the number of images after their layers, where copies have made it that of rows.

With labels they compute a loss themselves, and backbones fold their tokens into maps. Both would fail with a line about
shapes, or not at all, so a hook says it before their forward.
"""

import inspect
from dataclasses import dataclass
from typing import Any

from torch import nn

from cosub.twins.state import State


@dataclass(frozen=True)
class Guard:
    """A hook before the forward of such a model, which refuses a call only where an image has several rows."""

    state: State
    arguments: tuple[str, ...]  # the names of those that may be given by position

    def __call__(self, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        given = dict(zip(self.arguments, args, strict=False)) | kwargs
        images = given.get("pixel_values")
        if images is None or self.state.repeats(len(images), model) == 1:
            return
        if given.get("labels") is not None:
            raise ValueError(
                "labels: the model's own loss is not that of equation 2, and an image has several submodels here: "
                "leave labels out of the call, and give its logits to cosub.cosub_loss(outputs.logits, labels)"
            )
        if _folds(model):
            raise ValueError(
                f"{type(model).__name__} folds its maps for one submodel an image: attach it with copies=1, or build "
                "it with reshape_hidden_states=False"
            )


def guard(model: nn.Module, state: State) -> None:
    """Put the hook where a model of transformers needs it."""
    for module in model.modules():
        if not getattr(type(module).forward, "__module__", "").startswith("transformers."):
            continue
        arguments = tuple(inspect.signature(type(module).forward).parameters)[1:]
        if "pixel_values" in arguments and ("labels" in arguments or _folds(module)):
            module.register_forward_pre_hook(Guard(state, arguments), with_kwargs=True)


def unguard(model: nn.Module) -> None:
    """Take it away again."""
    for module in model.modules():
        for key in [key for key, hook in module._forward_pre_hooks.items() if isinstance(hook, Guard)]:
            del module._forward_pre_hooks[key], module._forward_pre_hooks_with_kwargs[key]


def _folds(model: Any) -> bool:
    return "Backbone" in type(model).__name__ and getattr(model.config, "reshape_hidden_states", False)
