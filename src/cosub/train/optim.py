"""The optimizer, and the learning rate as a function of the step."""

import functools
import math
from collections.abc import Callable
from typing import Any

import torch
from timm.models import group_parameters
from timm.optim import create_optimizer_v2, param_groups_weight_decay  # pyright: ignore[reportPrivateImportUsage]
from torch import nn

from cosub.choices import DecayRule, OptimizerName, RateDecay
from cosub.errors import InputError
from cosub.recipes.recipe import Recipe
from cosub.twins.twin import Twin

# Number of tensors that an optimizer stores per parameter, of its size and type: moments, or momentum.
STATE_TENSORS: dict[OptimizerName, int] = {"adamw": 2, "lamb": 2, "sgd": 1}


def build_optimizer(recipe: Recipe, *models: nn.Module) -> torch.optim.Optimizer:
    """timm's optimizer for the parameters of all models.

    Weight decay excludes biases, norms, position embeddings and class tokens. With layer decay each group has an
    `lr_scale`, by which `set_learning_rate` multiplies the learning rate.

    Raises:
        InputError: if timm's rule of layer decay does not assign every parameter to a layer.
    """
    name, decay = recipe.optimizer.name, recipe.optimizer.weight_decay
    settings: dict[str, Any] = {"opt": name, "lr": recipe.peak_lr, "weight_decay": decay}
    match name:
        case "adamw":
            settings["fused"] = True
        case "lamb":
            # timm's LAMB clips the gradient at 1 by default; here the loop clips.
            settings |= {"max_grad_norm": None, "eps": 1e-8}
        case "sgd":
            settings["momentum"] = 0.9
    first, *more = [
        create_optimizer_v2(model, **settings, param_group_fn=functools.partial(parameter_groups, recipe=recipe))
        for model in models
    ]
    for group in [group for optimizer in more for group in optimizer.param_groups]:
        first.add_param_group(group)
    return first


def parameter_groups(model: nn.Module, recipe: Recipe) -> list[dict[str, Any]]:
    """Groups of parameters with the same weight decay and, with layer decay, the same factor of the learning rate."""
    plain: Any = param_groups_weight_decay(model, recipe.optimizer.weight_decay, no_weight_decay_list=_undecayed(model))
    if recipe.optimizer.layer_decay == 1:
        return plain
    scales = rate_scales(model, recipe.optimizer.layer_decay, recipe.optimizer.layer_decay_rule)
    scale_of = {parameter: scales[name] for name, parameter in model.named_parameters()}
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for group in plain:
        for parameter in group["params"]:
            groups.setdefault((scale_of[parameter], group["weight_decay"]), []).append(parameter)
    return [
        {"params": parameters, "lr_scale": scale, "weight_decay": decay}
        for (scale, decay), parameters in groups.items()
    ]


def _undecayed(model: nn.Module) -> set[str]:
    names: Any = getattr(model, "no_weight_decay", set)
    return set(names())


def rate_scales(model: nn.Module, decay: float, rule: DecayRule) -> dict[str, float]:
    """The factor of each parameter's learning rate, by its name.

    Rule "paper" (Appendix A.1, with the sign of the exponent corrected): `decay ** (L - l)` in block `l` of `L`,
    counted from 1; `decay ** L` before the first block, 1 after the last. Rule "timm": the head has 1, the last block
    `decay`.

    Raises:
        InputError: if timm's rule does not assign a parameter to a layer.
    """
    places = depths(model)
    head = max(places.values())
    if rule == "paper":
        return {name: decay ** max(head - 1 - depth, 0) for name, depth in places.items()}
    matcher: Any = getattr(model, "group_matcher", None)
    if matcher is None:
        raise InputError(
            f"optimizer.layer_decay_rule: timm: {type(model).__name__} does not list its layers for timm; take paper"
        )
    layers: Any = group_parameters(model, matcher(coarse=False), reverse=True)
    last = max(layers.values())
    # timm assigns what its matcher does not name to the head.
    for name, depth in places.items():
        if layers[name] == last and depth < head:
            raise InputError(
                f"optimizer.layer_decay_rule: timm: does not assign {name} to a layer and would train it as the head; "
                "take paper"
            )
    return {name: decay ** (last - layer) for name, layer in layers.items()}


def depths(model: nn.Module) -> dict[str, int]:
    """The depth of each parameter of an attached model: 0 before the first of L blocks, l in block l, L + 1 after.

    A downsampling between two blocks belongs to the second; class-attention blocks and the head come after the last.
    """
    blocks = [name for name, module in model.named_modules() if isinstance(module, Twin) and module.cosub.num_layers]
    found, passed = {}, 0
    for name, _ in model.named_parameters():
        inside = next((place for place, block in enumerate(blocks, 1) if name.startswith(f"{block}.")), 0)
        passed = inside or passed
        found[name] = inside or (passed + 1 if passed else 0)
    return found


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of all parameters, times the factor of their group (`lr_scale`) with layer decay."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get("lr_scale", 1.0)


def rate_table(recipe: Recipe, model: nn.Module) -> dict[str, float]:
    """The peak learning rate by depth: before the blocks, in each block, after them."""
    scales = rate_scales(model, recipe.optimizer.layer_decay, recipe.optimizer.layer_decay_rule)
    places = depths(model)
    head = max(places.values())
    names = {0: "before the blocks", **{depth: f"block {depth}" for depth in range(1, head)}, head: "after the blocks"}
    rates = {depth: scales[name] * recipe.peak_lr for name, depth in places.items()}
    return {names[depth]: rates[depth] for depth in sorted(rates)}


def warmup_steps(recipe: Recipe, steps_per_epoch: int) -> int:
    return min(round(recipe.optimizer.warmup_epochs * steps_per_epoch), recipe.epochs * steps_per_epoch)


# The rate as a share of the peak, by the share of the steps that are done.
_DECAYS: dict[RateDecay, Callable[[float], float]] = {
    "cosine": lambda done: (1 + math.cos(math.pi * done)) / 2,
    "linear": lambda done: 1 - done,
}


def learning_rate(recipe: Recipe, step: int, steps_per_epoch: int) -> float:
    """Linear warm-up to the peak, then the decay, whose length counts the steps of the warm-up too.

    At the first step of each epoch the cosine equals timm's schedule for that epoch (DeiT-III). It ends at the minimum
    learning rate, or at the peak if that is lower: in DeiT's code the rate would rise then.
    """
    optimizer, peak = recipe.optimizer, recipe.peak_lr
    warmup = warmup_steps(recipe, steps_per_epoch)
    if step < warmup:
        return optimizer.warmup_lr + (peak - optimizer.warmup_lr) * step / warmup
    minimum = min(optimizer.min_lr, peak)
    done = step / (recipe.epochs * steps_per_epoch)
    return minimum + (peak - minimum) * _DECAYS[optimizer.decay](done)
