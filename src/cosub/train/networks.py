"""The networks of a run by name: those that the optimizer trains, and averages, teachers and the best so far."""

from dataclasses import dataclass, field
from typing import Any

from torch import nn
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
    """An exponential moving average that starts from the network's weights (torch's starts after the first step)."""
    found = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)
    found.n_averaged.fill_(1)
    return found
