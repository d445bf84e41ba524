"""Change the class of a module in place, also under torch's parametrizations."""

from torch import nn
from torch.nn.utils.parametrize import is_parametrized


def class_of(module: nn.Module) -> type[nn.Module]:
    """The class of a module, without the one that torch's parametrizations have put over it."""
    return type(module).__bases__[0] if is_parametrized(module) else type(module)


def retype(module: nn.Module, kind: type[nn.Module]) -> None:
    """Change the class of a module; its parametrizations stay, over the new one."""
    if is_parametrized(module):
        own = {name: value for name, value in vars(type(module)).items() if name not in ("__dict__", "__weakref__")}
        kind = type(type(module).__name__, (kind,), own)
    module.__class__ = kind
