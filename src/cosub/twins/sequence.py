"""Blocks of one residual layer whose branch is its modules, one after the other."""

from torch import Tensor

from cosub.twins.twin import Twin


class Sequence(Twin):
    """`branches` names the modules of the branch in order. A block that lacks one has None there."""

    layers = 1

    def branch(self, h: Tensor) -> Tensor:
        for name in self.branches[0]:
            module = getattr(self, name)
            if module is not None:
                h = module(h)
        return h
