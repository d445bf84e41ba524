"""Optimizer, and the learning rate as a pure function of the step."""

import math
from typing import Any

import torch
from timm.optim import create_optimizer_v2  # pyright: ignore[reportPrivateImportUsage]
from torch import nn

from cosub.choices import OptimizerName
from cosub.recipes.config import Recipe

# Tensors of a parameter's size and type that an optimizer keeps for it: moments, or momentum.
STATE_TENSORS: dict[OptimizerName, int] = {"adamw": 2, "lamb": 2, "sgd": 1}


def build_optimizer(recipe: Recipe, *models: nn.Module) -> torch.optim.Optimizer:
    """timm's optimizer for the parameters of all models.

    No weight decay on biases, norms, position embeddings and class tokens.
    """
    settings: dict[str, Any] = {"momentum": 0.9} if recipe.optimizer.name == "sgd" else {}
    if recipe.optimizer.name == "adamw":
        settings["fused"] = True
    if recipe.optimizer.name == "lamb":
        # timm's LAMB clips the gradient itself, at 1 unless told otherwise; clipping is the loop's.
        settings["max_grad_norm"] = None
    settings |= {"opt": recipe.optimizer.name, "lr": recipe.peak_lr, "weight_decay": recipe.optimizer.weight_decay}
    first, *more = [create_optimizer_v2(model, **settings) for model in models]
    for group in [group for optimizer in more for group in optimizer.param_groups]:
        first.add_param_group(group)
    return first


def warmup_steps(recipe: Recipe, steps_per_epoch: int) -> int:
    return min(round(recipe.optimizer.warmup_epochs * steps_per_epoch), recipe.epochs * steps_per_epoch)


def learning_rate(recipe: Recipe, step: int, steps_per_epoch: int) -> float:
    """Linear warm-up to the peak, then half a cosine, or a line, to the least rate at the last step."""
    optimizer, peak = recipe.optimizer, recipe.peak_lr
    total = recipe.epochs * steps_per_epoch
    warmup = warmup_steps(recipe, steps_per_epoch)
    if step < warmup:
        return optimizer.warmup_lr + (peak - optimizer.warmup_lr) * step / warmup
    done = (step - warmup) / max(total - 1 - warmup, 1)
    least = min(optimizer.min_lr, peak)
    left = 1 - done if optimizer.decay == "linear" else (1 + math.cos(math.pi * done)) / 2
    return least + (peak - least) * left
