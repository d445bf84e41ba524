"""Warnings about a recipe, given before the run."""

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from cosub.attachment import state
from cosub.choices import BY_CHANCE
from cosub.recipes.recipe import Recipe
from cosub.runs.tables import number_of
from cosub.twins.twin import Twin

NO_FASTER = 0.1  # the drop rate below which skipping saves no time (section 4; measured on a CPU too)
LAMB_RATE = 2e-3  # at large batches: the paper's AdamW has 1e-3 at 2048, DeiT-III's LAMB 3e-3 and 4e-3
LARGE_BATCH = 1024
FEW_ROWS = 16  # with fewer, the statistics of a batch are mostly noise


def effective_rate(recipe: Recipe, network: nn.Module) -> float:
    """The mean drop rate over the layers of an attached network, with the kept rows rounded to whole numbers."""
    rows = state(network).copies * recipe.group_size
    if recipe.rounding in BY_CHANCE:  # exact on average
        return sum(state(network).rates) / len(state(network).rates)
    kept = state(network).kept(rows)
    return 1 - sum(kept) / (rows * len(kept))


def cautions(recipe: Recipe, network: nn.Module) -> list[str]:
    """One sentence for each thing that may surprise: `network` is the recipe's, attached.

    A value that was inferred was printed when it was, and is not warned about again. That nothing is dropped always is.
    """
    found = []
    inferred = recipe.runtime.inferred
    rates, copies = state(network).rates, state(network).copies
    asked, effective = sum(rates) / len(rates), effective_rate(recipe, network)
    if effective == 0 and (recipe.drop_rate or copies > 1):
        what = "submodel co-training is OFF" if copies > 1 else "stochastic depth is OFF"
        reason = (
            "drop_rate is 0"
            if not recipe.drop_rate
            else (
                f"a drop rate of {recipe.drop_rate:g} on {copies * recipe.group_size} rows rounds to "
                "no row dropped; set a larger --group-size, a larger --drop-rate or --rounding bernoulli"
            )
        )
        found.append(f"{what}: {reason}")
    elif abs(effective - asked) > 0.2 * asked and "group_size" not in inferred:
        found.append(
            f"the effective drop rate is {effective:.4g} instead of {asked:.4g}, because rows are rounded; "
            "set a larger --group-size or --rounding bernoulli"
        )
    skips = recipe.rounding != "masked"
    if 0 < recipe.drop_rate < NO_FASTER and effective and skips and "drop_rate" not in inferred:
        found.append(f"a drop rate below {NO_FASTER} saves memory but hardly any time (docs/performance.md)")
    kept = min(state(network).kept(copies * recipe.group_size))
    branches = [module for twin in network.modules() if isinstance(twin, Twin) for module in twin.modules()]
    few = skips and kept < FEW_ROWS and "group_size" not in inferred
    if few and any(isinstance(module, _BatchNorm) for module in branches):
        found.append(
            f"BatchNorm in a branch sees only the kept rows, which are as few as {kept} per group: "
            "set a larger --group-size"
        )
    if recipe.augment.repeats > recipe.num_groups:
        found.append(
            f"augment.repeats {recipe.augment.repeats} is more than the {recipe.num_groups} groups of a batch, so "
            "repetitions share a group, where mixing may pair an image with itself: set a smaller --group-size"
        )
    if recipe.optimizer.name == "adamw" and recipe.batch_size >= LARGE_BATCH and recipe.peak_lr >= LAMB_RATE:
        found.append(
            f"lr {recipe.lr:g} gives a peak rate of {recipe.peak_lr:.3g}, which is usual for LAMB: for AdamW the paper "
            "has 1e-3 at a batch of 2048; set --lr 1e-3 or --optimizer.name lamb"
        )
    if recipe.epochs <= recipe.optimizer.warmup_epochs:
        found.append(
            f"warm-up takes the whole training, {number_of(recipe.epochs, 'epoch')}, so the learning rate never "
            f"reaches its peak: set --optimizer.warmup-epochs {recipe.epochs / 10:g}"
        )
    if recipe.drop_rate and len(rates) < 8:
        found.append(f"{len(rates)} residual layers are few for dropping layers: accuracy may drop")
    return found
