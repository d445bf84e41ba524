"""When a run is evaluated, and which epoch's network is the best so far."""

import itertools
from typing import TYPE_CHECKING

import torch

from cosub.recipes.recipe import Recipe
from cosub.train.logs import Logs, named
from cosub.train.networks import BEST, Networks
from cosub.train.run_state import Counters

if TYPE_CHECKING:
    from cosub.train.trainer import Trainer


def evaluation_due(recipe: Recipe, epochs: int) -> bool:
    """Whether a run is evaluated after `epochs` epochs. The end of the run has its own evaluation."""
    if recipe.choose == "best":  # the choice must not depend on `evaluate_every`
        return True
    every = recipe.runtime.evaluate_every or max(1, recipe.epochs // 10)
    return epochs % every == 0 and epochs < recipe.epochs


def chooses_before(recipe: Recipe) -> bool:
    """Whether the network before the first step is one to choose: its classifier was fitted."""
    return recipe.choose == "best" and recipe.head == "probe"


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


def keep_fitted(trainer: "Trainer", logs: Logs | None) -> None:
    """Before the first step: a network whose classifier was fitted is the first that may be the best, as epoch 0."""
    state = trainer.state
    if state.step or not chooses_before(trainer.recipe):
        return
    with trainer.micro_step.autocast():
        headline = trainer.evaluate(trainer.source.validation_or_test, network=trainer.networks.latest).headline
    value = headline[trainer.task.metric.key]
    keep_best(trainer.networks, state.counters, 0, value)
    trainer.reporter.say(
        f"head: {trainer.task.metric.name} on the validation images before the first step: {value:.2%}"
    )
    place = {"step": 0, "epoch": 0}
    if logs is not None:
        logs.write({**place, **headline})
    trainer.reporter.evaluated({**place, **named(headline, "validation")})
