"""The state of a run, saved to a checkpoint and restored from it."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from cosub.errors import RunError
from cosub.runs.distributed import World
from cosub.train.checkpoint import Checkpoint
from cosub.train.networks import Networks
from cosub.train.sharding import full, load_network, load_optimizer, local


@dataclass
class Counters:
    """What a run counts besides steps."""

    seconds: float = 0.0
    bad: set[str] = field(default_factory=set)
    """Images that cannot be read."""
    best: tuple[int, float] = (0, -1.0)
    """Epoch and headline metric of the best network, if the recipe chooses it by validation images."""
    skipped: int = 0
    """Images without any label."""
    unevaluated: bool = False
    """Whether the epoch that has just ended is still to be evaluated: a signal came meanwhile."""
    skipped_steps: int = 0
    """Steps without an update, because loss or gradient was not finite."""


@dataclass
class RunState:
    """Networks, optimizer and loss scaler after `step` steps, and the counters."""

    networks: Networks
    optimizer: Optimizer
    scaler: torch.GradScaler
    step: int = 0
    counters: Counters = field(default_factory=Counters)

    @property
    def parameters(self) -> list[nn.Parameter]:
        """All trained parameters."""
        return [parameter for network in self.networks.trained.values() for parameter in network.parameters()]

    def require_finite(self, world: World) -> None:
        """Raise RunError in all processes if a weight is not finite in any."""
        finite = torch.stack([local(parameter).isfinite().all() for parameter in self.parameters]).all()
        if world.any(not finite):
            raise RunError(
                f"the weights are not finite after step {self.step}: begin again, in another --out, with a lower --lr"
            )

    def capture(self, facts: dict[str, Any], keep: bool) -> Checkpoint:
        """A checkpoint, with facts besides the counters. All processes call it; only those with `keep` get tensors."""
        counted = self.counters
        return Checkpoint(
            self.step,
            {name: full(network.state_dict(), keep) for name, network in self.networks.all.items()},
            {"optimizer": full(self.optimizer.state_dict(), keep), "scaler": self.scaler.state_dict()},
            {
                "seconds": counted.seconds,
                "bad": sorted(counted.bad),
                "skipped": counted.skipped,
                "best": list(counted.best),
                "skipped_steps": counted.skipped_steps,
                "unevaluated": counted.unevaluated,
                **facts,
            },
        )

    def restore(self, found: Checkpoint) -> None:
        """Load the state from a checkpoint."""
        self.step = found.step
        for name, network in self.networks.all.items():
            load_network(network, found.weights[name])
        load_optimizer(self.optimizer, found.state["optimizer"])
        self.scaler.load_state_dict(found.state["scaler"])
        counted = found.counters
        epoch, value = counted["best"]
        # Older checkpoints lack some of these.
        more = {name: counted[name] for name in ("skipped", "skipped_steps", "unevaluated") if name in counted}
        self.counters = Counters(counted["seconds"], set(counted["bad"]), (epoch, value), **more)
