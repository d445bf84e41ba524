"""What a training method has: the networks that it needs, its loss, and what it does after a step."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from torch import Tensor, nn

from cosub.train.networks import Networks

Config = TypeVar("Config")


class Builder(Protocol):
    """Makes the networks that a method needs besides the student."""

    def another(self, name: str) -> nn.Module:
        """Another network of the student's architecture, to be trained; `name` sets the seed of its initialisation."""
        ...

    def average(self, momentum: float) -> nn.Module:
        """A moving average of the student, in eval mode; an update makes it `m * average + (1 - m) * student`."""
        ...

    def teacher(self, source: str) -> nn.Module:
        """A frozen network with weights: a finished run, an exported folder, or a name of timm's weights."""
        ...


@dataclass(frozen=True)
class Method(ABC, Generic[Config]):
    """From a batch to a loss. A method that needs only the student defines `__call__` and nothing else."""

    config: Config
    """The recipe's method."""
    copies: ClassVar[int] = 1
    """Submodels per image."""

    @abstractmethod
    def __call__(self, networks: Mapping[str, nn.Module], images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Loss, and logits `(copies * B, C)`, of images `(B, 3, H, W)` with dense targets `(B, C)`.

        `networks` holds "network", the student, and those of `networks()`. Each trained one runs its drawn submodel.
        """

    def networks(self, build: Builder) -> Networks:
        """The networks that the method needs besides the student."""
        return Networks()

    def after_step(self, networks: Mapping[str, nn.Module]) -> None:
        """Called after each update of the optimizer, with the networks of `__call__`."""

    def facts(self, networks: Mapping[str, nn.Module]) -> dict[str, Any]:
        """Plain values that a checkpoint stores besides weights, so that `networks()` can build the same again."""
        return {}
