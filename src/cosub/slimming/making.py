"""A slimmed network for real: its layers, the factor of its branches, its BatchNorm statistics, its recipe."""

import dataclasses
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from cosub.attachment import state
from cosub.choices import LabelLoss
from cosub.evaluation.images import Images
from cosub.recipes.recipe import Recipe
from cosub.runs.folder import Trained
from cosub.runs.network import build_network
from cosub.slimming.scorer import Layers, loss_of

_FACTORS = 5


@dataclass(frozen=True)
class Slimmed:
    """A network with the named layers of the one before alone, and the loss that each factor of its branches gave.

    `factor` multiplies the branches; `recipe` builds the network, and names layers of the model as timm builds it.
    """

    recipe: Recipe
    network: nn.Module
    layers: Layers
    factor: float
    loss: float
    losses: dict[float, float]


def make(trained: Trained, layers: Layers, images: Images, loss: LabelLoss, batch_size: int) -> Slimmed:
    """Build the network that has those layers of a run's, and choose the factor of its branches on images.

    A branch of a submodel was trained with the factor 1 / (1 - tau), so that the expected sum was that of all layers
    (section 4); L / k would restore that sum. Which of the factors from 1 to L / k is best is measured. Statistics of
    BatchNorm are those of the images under the factor that is tried, and stay so for the one that is taken. Where no
    layer is removed, they stay those of the run. Weights are shared with the run's network, so that many slimmed ones
    take the memory of one.
    """
    recipe = slim_recipe(trained.recipe, layers, trained)
    device = next(trained.network.parameters()).device
    network = build_network(recipe, len(trained.classes), copies=1).eval().to(device)
    weights, own = trained.network.state_dict(), {name for name, _ in network.named_buffers()}
    taken = {name: weights[name].clone() if name in own else weights[name] for name in network.state_dict()}
    network.load_state_dict(taken, assign=True)
    total = len(state(trained.network).rates)
    fresh = images if len(layers) < total else None
    losses: dict[float, float] = {}
    for factor in factors(total, len(layers)):
        _set(network, recipe.kept_scale * factor, fresh, batch_size)
        losses[factor] = loss_of(network, images, loss, batch_size)
    best = min(losses, key=lambda factor: losses[factor])
    _set(network, recipe.kept_scale * best, fresh, batch_size)
    recipe = dataclasses.replace(recipe, kept_scale=recipe.kept_scale * best)
    return Slimmed(recipe, network, layers, best, losses[best], losses)


def slim_recipe(recipe: Recipe, layers: Layers, trained: Trained) -> Recipe:
    """The recipe with those of its network's layers alone, numbered as in the model that timm builds."""
    names = recipe.kept_layers or tuple(range(len(state(trained.network).rates)))
    return dataclasses.replace(recipe, kept_layers=tuple(names[layer] for layer in layers), weights="")


def factors(layers: int, kept: int) -> list[float]:
    """From 1 to L / k, in equal ratios."""
    if layers == kept:
        return [1.0]
    return [round((layers / kept) ** (step / (_FACTORS - 1)), 4) for step in range(_FACTORS)]


def _set(network: nn.Module, scale: float, images: Images | None, batch_size: int) -> None:
    """Scale the branches. `images`: those that give BatchNorm its statistics; None: it keeps its own."""
    state(network).scale = scale
    if images is not None:
        recalibrate(network, images, batch_size)


@torch.no_grad()
def recalibrate(network: nn.Module, images: Images, batch_size: int) -> None:
    """Give every BatchNorm the mean statistics of the images' whole batches. Without BatchNorm, nothing is done."""
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    if not norms:
        return
    before = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean over batches
        norm.train()
    for batch, labels in images.batches(batch_size, next(network.parameters()).device):
        if len(labels) == min(batch_size, len(images)):
            network(batch)
    for norm, momentum in zip(norms, before, strict=True):
        norm.momentum = momentum
        norm.eval()
