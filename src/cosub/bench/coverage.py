"""Which of timm's modules have a drop path, which of them have a twin, and which models can be attached.

The source of classes is read, nothing is built: a block with a drop path is a module whose constructor sets
`drop_path`.
"""

import importlib
import inspect
import pkgutil
import re
import warnings
from collections.abc import Iterable
from typing import Any

import timm
import timm.models
import torch
from timm.layers.drop import DropPath
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from cosub.attachment import attach
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


def standings(names: Iterable[str]) -> list[dict[str, str]]:
    """A row for each model of timm that has drop paths when it is built with a `drop_path_rate`.

    `{"family", "model", "reason"}`: timm's file, the name, and why `attach` refuses it, or "" if it does not. Models
    are built on the meta device, so that size does not matter.
    """
    return [row for name in names if (row := _standing_of(name)) is not None]


class _Unwritten(TorchFunctionMode):
    """Skips in-place operations, which take most of the time: tensors on the meta device have nothing to write."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name = getattr(func, "__name__", "")
        in_place = name.endswith("_") and not name.startswith("_") and name != "requires_grad_"
        if in_place and isinstance(args[0] if args else None, Tensor) and args[0].is_meta:
            return args[0]
        return func(*args, **(kwargs or {}))


def _standing_of(name: str) -> dict[str, str] | None:
    try:
        with torch.device("meta"), _Unwritten():
            model = timm.create_model(name, drop_path_rate=0.1)
    except TypeError:  # the model has no such argument
        return None
    live = [module for module in model.modules() if isinstance(module, DropPath) and module.drop_prob]
    for module in live:
        module.drop_prob = 0.0
    row = {"family": timm.model_entrypoint(name).__module__.rpartition(".")[2], "model": name, "reason": ""}
    try:
        attach(model, drop_rate=0.1)
    except ValueError as error:
        row["reason"] = str(error).partition(" has ")[2].partition(";")[0]
    return row if live else None


def by_family(rows: Iterable[dict[str, str]]) -> list[dict[str, Any]]:
    """A row for each family of `standings`: `{"family", "models", "attach", "reasons"}`, two numbers and a list."""
    families: dict[str, list[dict[str, str]]] = {}
    for row in rows:
        families.setdefault(row["family"], []).append(row)
    return [
        {
            "family": family,
            "models": len(found),
            "attach": sum(not row["reason"] for row in found),
            "reasons": sorted({row["reason"] for row in found} - {""}),
        }
        for family, found in sorted(families.items())
    ]
