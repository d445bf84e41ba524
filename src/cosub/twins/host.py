"""Modules around the blocks, whose `set_grad_checkpointing` is passed on to the twins."""

from torch import nn

from cosub.twins.state import Place


class Host(nn.Module):
    """A module of timm that checkpoints its blocks. Here the twins do that themselves, with their rows bound."""

    cosub: Place

    @property
    def grad_checkpointing(self) -> bool:
        """False for timm's own forward; setting it (`set_grad_checkpointing`) sets it for the twins."""
        return False

    @grad_checkpointing.setter
    def grad_checkpointing(self, enable: bool) -> None:
        self.cosub.state.checkpointing = "blocks" if enable else "none"
