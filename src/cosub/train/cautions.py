"""What a person would want to know before a run, and not after it."""

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from cosub.attachment import state
from cosub.recipes.recipe import Recipe
from cosub.twins.twin import Twin

NO_FASTER = 0.1  # the paper's figure (section 4); measured on a CPU too
LAMB_RATE = 2e-3  # at large batches: the paper's AdamW has 1e-3 at 2048, DeiT-III's LAMB 3e-3 and 4e-3
LARGE_BATCH = 1024
FEW_ROWS = 16  # below it the statistics of a batch are mostly noise


def effective_rate(recipe: Recipe, network: nn.Module) -> float:
    """The mean drop rate over the layers of an attached network, rows being whole."""
    rows = state(network).copies * recipe.group_size
    if recipe.rounding == "bernoulli":  # exact on average
        return sum(state(network).rates) / len(state(network).rates)
    kept = state(network).kept(rows)
    return 1 - sum(kept) / (rows * len(kept))


def cautions(recipe: Recipe, network: nn.Module) -> list[str]:
    """One sentence for each surprise that the recipe holds for its attached network."""
    found = []
    rates, copies = state(network).rates, state(network).copies
    asked, effective = sum(rates) / len(rates), effective_rate(recipe, network)
    if effective == 0 and (recipe.drop_rate or copies > 1):
        what = "submodel co-training is OFF" if copies > 1 else "stochastic depth is OFF"
        reason = (
            "drop_rate is 0"
            if not recipe.drop_rate
            else (
                f"a drop rate of {recipe.drop_rate:g} on {copies * recipe.group_size} rows rounds to "
                "no row dropped; take --rounding spread, a larger --group-size or a larger --drop-rate"
            )
        )
        found.append(f"{what}: {reason}")
    elif abs(effective - asked) > 0.2 * asked:
        found.append(
            f"the effective drop rate is {effective:.4g} where {asked:.4g} was asked, because rows are whole; "
            "take --rounding spread or a larger --group-size"
        )
    if 0 < recipe.drop_rate < NO_FASTER and effective:
        found.append(f"a drop rate below {NO_FASTER} saves memory and hardly any time (docs/performance.md)")
    kept = min(state(network).kept(copies * recipe.group_size))
    branches = [module for twin in network.modules() if isinstance(twin, Twin) for module in twin.modules()]
    if kept < FEW_ROWS and any(isinstance(module, _BatchNorm) for module in branches):
        found.append(
            f"BatchNorm in a branch sees the rows kept alone, and in some layers that is {kept} of a group: "
            "take a larger --group-size"
        )
    if recipe.augment.repeats > recipe.num_groups:
        found.append(
            f"augment.repeats {recipe.augment.repeats} is more than the {recipe.num_groups} groups of a batch, so "
            "copies of an image share a group, where mixing may pair an image with itself: take a smaller --group-size"
        )
    if recipe.optimizer.name == "adamw" and recipe.batch_size >= LARGE_BATCH and recipe.peak_lr >= LAMB_RATE:
        found.append(
            f"lr {recipe.lr:g} makes a rate of {recipe.peak_lr:.3g}, which is LAMB's: for AdamW the paper has "
            "1e-3 at a batch of 2048; take --lr 1e-3 or --optimizer.name lamb"
        )
    if len(rates) < 8:
        found.append(f"{len(rates)} residual layers are few for dropping layers: it may hurt")
    return found
