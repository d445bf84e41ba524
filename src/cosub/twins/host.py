"""Modules around the blocks: their setting of gradient checkpointing reaches the twins."""

from torch import nn

from cosub.twins.state import Place


class Host(nn.Module):
    """A module of timm's that checkpoints its blocks. Its twins do that themselves, with their rows bound."""

    cosub: Place

    @property
    def grad_checkpointing(self) -> bool:
        """Always False to timm's own forward; setting it (`set_grad_checkpointing`) reaches the twins."""
        return False

    @grad_checkpointing.setter
    def grad_checkpointing(self, enable: bool) -> None:
        self.cosub.state.checkpointing = "blocks" if enable else "none"
