"""Ranges of options as annotations, checked when an object is made: from Python, the command line or a JSON file."""

import functools
import math
import operator
import os
from collections.abc import Iterator
from dataclasses import fields
from typing import Annotated, Any, ClassVar, get_args, get_origin

from pydantic import ConfigDict, Field
from pydantic.fields import FieldInfo

from cosub.errors import InputError

NonNegativeInt = Annotated[int, Field(ge=0)]
PositiveInt = Annotated[int, Field(ge=1)]
PositiveFloat = Annotated[float, Field(gt=0)]
NonNegativeFloat = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
PositiveShare = Annotated[float, Field(gt=0, le=1)]
OpenShare = Annotated[float, Field(gt=0, lt=1)]
Rate = Annotated[float, Field(ge=0, lt=1)]

_TESTS = {"ge": operator.ge, "gt": operator.gt, "le": operator.le, "lt": operator.lt}


def require(condition: bool, name: str, value: object, remedy: str) -> None:
    if not condition:
        raise InputError(f"{name}: {value!r}: {remedy}")


def require_new_file(name: str, value: str) -> None:
    """Raise InputError if a file that is to be written exists, or has no folder."""
    require(not os.path.exists(value), name, value, "exists; name another file")
    folder = os.path.dirname(value) or "."
    require(os.path.isdir(folder), name, value, "its folder does not exist; make it first, or name another file")
    require(os.access(folder, os.W_OK), name, value, "its folder cannot be written to; name another file")


class Checked:
    """A dataclass that checks its numbers when it is made: they are in the annotated ranges, and floats are finite.

    Each member of a tuple is checked. None, which means not given, passes.

    Raises:
        InputError: for the first field with a wrong value.
    """

    PREFIX: ClassVar[str] = ""
    """Prefix of the fields' names in messages, e.g. "data."."""

    def __post_init__(self) -> None:
        for name, limits in _limits_of(type(self)).items():
            value = getattr(self, name)
            for number in value if isinstance(value, tuple) else (value,):
                if isinstance(number, float):
                    require(math.isfinite(number), self.PREFIX + name, number, "must be a finite number")
                inside = number is None or all(_TESTS[kind](number, limit) for kind, limit in limits.items())
                require(inside, self.PREFIX + name, number, f"must be {_describe(limits)}")


class Strict(Checked):
    """Read from JSON: no conversion of types, no unknown key, no infinity."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


@functools.cache
def _limits_of(kind: Any) -> dict[str, dict[str, float]]:
    """The limits of each field, e.g. {"ge": 0, "lt": 1}; empty without a range."""
    return {item.name: dict(_limits(item.type)) for item in fields(kind)}


def _limits(annotation: Any) -> Iterator[tuple[str, float]]:
    if get_origin(annotation) is Annotated:
        constraints = [
            part for mark in annotation.__metadata__ if isinstance(mark, FieldInfo) for part in mark.metadata
        ]
        yield from ((kind, getattr(part, kind)) for part in constraints for kind in _TESTS if hasattr(part, kind))
    for part in get_args(annotation):
        yield from _limits(part)


def _describe(limits: dict[str, float]) -> str:
    """In words, e.g. 1 or more; or as an interval, e.g. in [0, 1)."""
    low, high = limits.get("ge", limits.get("gt")), limits.get("le", limits.get("lt"))
    if low is None or high is None:
        return "positive" if limits.get("gt") == 0 else f"{limits.get('ge')} or more"
    return f"in {'[' if 'ge' in limits else '('}{low:g}, {high:g}{']' if 'le' in limits else ')'}"
