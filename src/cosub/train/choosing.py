"""When a run is evaluated and saved, and which epoch's network is the best so far."""

import itertools

import torch

from cosub.recipes.recipe import Recipe
from cosub.train.networks import BEST, Networks
from cosub.train.state import Counters

SECONDS_BETWEEN_CHECKPOINTS = 60


def evaluation_due(recipe: Recipe, epochs: int) -> bool:
    """Whether a run is evaluated after `epochs` epochs. The end of the run has its own evaluation."""
    if recipe.choose == "best":  # the choice must not depend on `evaluate_every`
        return True
    every = recipe.runtime.evaluate_every or max(1, recipe.epochs // 10)
    return epochs % every == 0 and epochs < recipe.epochs


def keep_best(networks: Networks, counters: Counters, epoch: int, value: float) -> None:
    """Copy the latest network if it is the best so far; of equal ones the first is kept."""
    if BEST not in networks.others or value <= counters.best[1]:
        return
    counters.best = epoch, value
    latest, best = networks.latest, networks.others[BEST]
    now = {**dict(latest.named_parameters()), **dict(latest.named_buffers())}
    with torch.no_grad():
        for name, kept in itertools.chain(best.named_parameters(), best.named_buffers()):
            kept.copy_(now[name])
