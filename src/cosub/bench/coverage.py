"""Which of timm's modules have a drop path, and which of them have a twin.

The source of classes is read, nothing is built: a block with a drop path is a module whose constructor sets
`drop_path`.
"""

import importlib
import inspect
import pkgutil
import re
import warnings
from typing import Any

import timm.models
from torch import nn

from cosub.twins import KEPT, TWINS

_SLOT = re.compile(r"self\.drop_path\d*\s*(:[^=]+)?=\s*(?!drop_path)")


def coverage() -> list[dict[str, Any]]:
    """A row for each class with a drop path, by timm's file: `{"file", "block", "cosub"}`.

    `cosub` is "twin", "kept" (never dropped, as by its authors) or "none".
    """
    rows = []
    for info in sorted(pkgutil.iter_modules(timm.models.__path__), key=lambda info: info.name):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of files that are kept for old imports
            module = importlib.import_module(f"timm.models.{info.name}")
        for name, kind in sorted(vars(module).items()):
            if inspect.isclass(kind) and kind.__module__ == module.__name__ and _has_slot(kind):
                rows.append({"file": info.name, "block": name, "cosub": _standing(kind)})
    return rows


def _has_slot(kind: type) -> bool:
    """Whether the constructor makes a module for stochastic depth, instead of only passing a rate on."""
    if not issubclass(kind, nn.Module) or "__init__" not in vars(kind):
        return False
    timms = [base for base in kind.__mro__ if base.__module__.startswith("timm.")]
    return any(_SLOT.search(inspect.getsource(base)) for base in timms)


def _standing(kind: type[Any]) -> str:
    if kind in TWINS:
        return "twin"
    return "kept" if kind in KEPT else "none"
