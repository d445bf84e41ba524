"""Networks of the student's size in place of those that a method needs: to measure cost, not to train."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from cosub.train.methods.method import Method
from cosub.train.networks import STUDENT, Average, Networks


@dataclass(frozen=True)
class Alike:
    """A `Builder` whose teachers have the student's architecture, as in figure 2. It reads no weights."""

    student: nn.Module
    make: Callable[[], nn.Module]
    """Makes a network of the student's architecture."""

    def another(self, name: str) -> nn.Module:
        return self.make()

    def average(self, momentum: float) -> nn.Module:
        return Average(self.student, momentum).requires_grad_(False).eval()

    def teacher(self, source: str) -> nn.Module:
        return self.make().requires_grad_(False).eval()


def networks_alike(method: Method, make: Callable[[], nn.Module]) -> Networks:
    """The student, and networks of its size in place of all others that the method needs."""
    student = make()
    return Networks({STUDENT: student}).joined(method.networks(Alike(student, make)))
