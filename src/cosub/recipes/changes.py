"""A recipe with other values."""

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

T = TypeVar("T")


def changed(value: T, changes: Mapping[str, Any]) -> T:
    """A dataclass with other values in it, by dotted names: {"method.weight": 0.3, "model_args.depth": 12}."""
    own: dict[str, Any] = {name: new for name, new in changes.items() if "." not in name}
    nested: dict[str, dict[str, Any]] = {}
    for name, new in changes.items():
        head, dot, rest = name.partition(".")
        if dot:
            nested.setdefault(head, {})[rest] = new
    for head, inner in nested.items():
        old = own.get(head, getattr(value, head))
        own[head] = {**old, **inner} if isinstance(old, dict) else changed(old, inner)
    return dataclasses.replace(value, **own)  # pyright: ignore[reportArgumentType]
