"""Blocks of one residual layer whose branch is its modules, one after the other."""

from torch import Tensor, nn

from cosub.submodel import Rows
from cosub.twins.twin import Twin, untouched


class Sequence(Twin):
    """`branches` names the modules of the branch in order. A block that lacks one has None there.

    `around` names two: the shortcut and the activation after the addition. An empty name stands for none.
    """

    around = ("", "")

    def run(self, x: Tensor, rows: tuple[Rows | None, ...]) -> Tensor:
        aside, after = (getattr(self, name) if name else None for name in self.around)
        shortcut = None if isinstance(aside, nn.Identity | None) else aside(x)
        y = self.residual(x, self.branch, rows[0], shortcut=shortcut)
        return y if after is None else after(untouched(y, x))

    def branch(self, h: Tensor) -> Tensor:
        for name in self.branches[0]:
            module = getattr(self, name)
            if module is not None:
                h = module(h)
        return h
