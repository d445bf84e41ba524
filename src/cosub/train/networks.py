"""The networks of a run by name: those that the optimizer trains, and averages, teachers and the best so far."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

STUDENT, AVERAGED, BEST = "network", "averaged", "best"


@dataclass
class Networks:
    """Networks by the names of their files in a checkpoint. The student is the network that the run trains for use."""

    trained: dict[str, nn.Module] = field(default_factory=dict)
    """Networks with parameters in the optimizer, and with submodels."""
    others: dict[str, nn.Module] = field(default_factory=dict)
    """Networks without gradients."""

    @property
    def all(self) -> dict[str, nn.Module]:
        return {**self.trained, **self.others}

    @property
    def student(self) -> nn.Module:
        return self.trained[STUDENT]

    @property
    def average(self) -> Any:
        """The recipe's average of the student's weights (`ema`), or None."""
        return self.others.get(AVERAGED)

    @property
    def latest(self) -> nn.Module:
        """What is evaluated during training: the averaged network if the recipe has one, else the student."""
        return self.average.module if self.average is not None else self.student

    @property
    def result(self) -> nn.Module:
        """What is saved: the best epoch's network if the recipe chooses one, else the last step's."""
        return self.others.get(BEST, self.latest)

    def joined(self, more: "Networks") -> "Networks":
        """These networks and more."""
        return Networks({**self.trained, **more.trained}, {**self.others, **more.others})


class Average(AveragedModel):
    """An exponential moving average that starts from the network's weights (torch's starts after the first step).

    Integers are copied: torch averages them in floating point and rounds towards zero, which turns the 11 of a table of
    relative positions into 10. And torch moves its count to the device, for which the host waits in each step.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        super().__init__(network, use_buffers=True)
        self.n_averaged.fill_(1)
        self.average = get_ema_multi_avg_fn(decay)

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        pairs = [
            (kept.detach(), value.detach()) for kept, value in zip(_values(self.module), _values(model), strict=True)
        ]
        for kept, value in pairs:
            if not kept.is_floating_point():
                kept.copy_(value)
        floating = [pair for pair in pairs if pair[0].is_floating_point()]
        for sharded in (True, False):  # buffers are not; operations on lists take no mixture
            if some := [pair for pair in floating if isinstance(pair[0], DTensor) == sharded]:
                self.average([kept for kept, _ in some], [value for _, value in some], self.n_averaged)
        self.n_averaged += 1


def _values(network: nn.Module) -> Iterator[Tensor]:
    yield from network.parameters()
    yield from network.buffers()
