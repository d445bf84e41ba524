"""The networks of a run by name: those that the optimizer trains, and averages, teachers and the best so far."""

from dataclasses import dataclass, field
from typing import Any

from torch import nn
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


def averaged(network: nn.Module, decay: float) -> AveragedModel:
    """An exponential moving average that starts from the network's weights (torch's starts after the first step).

    Integers are copied: torch averages them in floating point and rounds towards zero, which turns the 11 of a table of
    relative positions into 10.
    """
    average = get_ema_multi_avg_fn(decay)

    def update(averages: Any, values: Any, count: Any) -> None:
        pairs = list(zip(averages, values, strict=True))
        if not averages[0].is_floating_point():
            for kept, value in pairs:
                kept.copy_(value)
            return
        for sharded in (True, False):  # buffers are not; operations on lists take no mixture
            if some := [pair for pair in pairs if isinstance(pair[0], DTensor) == sharded]:
                average([kept for kept, _ in some], [value for _, value in some], count)

    found = AveragedModel(network, multi_avg_fn=update, use_buffers=True)
    found.n_averaged.fill_(1)
    return found
