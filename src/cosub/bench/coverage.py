"""Which of timm's modules have slots for stochastic depth, and which of them have a twin.

The classes are read, not built: a module whose constructor sets `drop_path` is a block with a slot.
"""

import importlib
import inspect
import pkgutil
import re
import warnings
from typing import Any

import timm.models
from torch import nn

from cosub.blocks import KEPT, TWINS

_SLOT = re.compile(r"self\.drop_path\d*\s*(:[^=]+)?=\s*(?!drop_path)")


def coverage() -> list[dict[str, Any]]:
    """A row for each such class, by timm's file: `{"file", "block", "cosub"}`.

    `cosub` is "twin", "kept" (always kept, as its authors never drop it) or "none".
    """
    rows = []
    for info in sorted(pkgutil.iter_modules(timm.models.__path__), key=lambda info: info.name):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # files that are left for old imports
            module = importlib.import_module(f"timm.models.{info.name}")
        for name, kind in sorted(vars(module).items()):
            if inspect.isclass(kind) and kind.__module__ == module.__name__ and _has_slot(kind):
                rows.append({"file": info.name, "block": name, "cosub": _standing(kind)})
    return rows


def _has_slot(kind: type) -> bool:
    """Whether the constructor makes a module for stochastic depth, and does not hand a rate on only."""
    return issubclass(kind, nn.Module) and "__init__" in vars(kind) and bool(_SLOT.search(inspect.getsource(kind)))


def _standing(kind: type[Any]) -> str:
    if kind in TWINS:
        return "twin"
    return "kept" if kind in KEPT else "none"
