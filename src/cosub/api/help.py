"""What `--help` shows: a line for every option, names of values, and of a long list first the options that matter."""

import dataclasses
import re
import shutil
import textwrap
from collections.abc import Callable, Collection
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from tyro.conf import Positional, Suppress, UseAppendAction, arg
from tyro.constructors import (
    ConstructorRegistry,
    PrimitiveConstructorSpec,
    PrimitiveTypeInfo,
    StructConstructorSpec,
    StructFieldSpec,
    StructTypeInfo,
    UnsupportedTypeAnnotationError,
)

ALL = "--help-all"

# What `cosub train --help` lists; its description has six more, and --help-all the rest.
FIRST = (
    "--model",
    "--weights",
    "--data.path",
    "--out",
    "--epochs",
    "--batch-size",
    "--lr",
    "--resolution",
    "--drop-rate",
    "--weight",
    "--seed",
    "--workers",
    "--device",
    "--micro-steps",
)

# What other programs call an option -> what it may be called here, the likeliest first.
SYNONYMS = {
    "learning-rate": ("lr",),
    "num-epochs": ("epochs",),
    "num-train-epochs": ("epochs",),
    "bs": ("batch-size",),
    "per-device-train-batch-size": ("batch-size",),
    "wd": ("optimizer.weight-decay",),
    "weight-decay": ("optimizer.weight-decay",),
    "opt": ("optimizer.name",),
    "optim": ("optimizer.name",),
    "sched": ("optimizer.decay",),
    "warmup-epochs": ("optimizer.warmup-epochs",),
    "min-lr": ("optimizer.min-lr",),
    "clip-grad": ("optimizer.clip",),
    "layer-decay": ("optimizer.layer-decay",),
    "drop-path": ("drop-rate",),
    "drop-path-rate": ("drop-rate",),
    "mixup": ("augment.mixup",),
    "cutmix": ("augment.cutmix",),
    "aa": ("augment.policy",),
    "auto-augment": ("augment.policy",),
    "smoothing": ("augment.smoothing",),
    "label-smoothing": ("augment.smoothing",),
    "img-size": ("resolution",),
    "image-size": ("resolution",),
    "input-size": ("resolution",),
    "data": ("data.path", "set"),
    "data-dir": ("data.path", "set"),
    "data-path": ("data.path", "set"),
    "dataset": ("source",),
    "num-workers": ("workers",),
    "num-classes": ("classes",),
    "output": ("out",),
    "output-dir": ("out",),
    "checkpoint": ("weights",),
    "amp": ("precision",),
    "gradient-accumulation-steps": ("micro-steps",),
    "accum-iter": ("micro-steps",),
    "topk": ("top",),
    "gpu": ("device",),
}


def synonym(flag: str, flags: Collection[str]) -> str | None:
    """The option that another program calls `flag`, e.g. --lr for --learning_rate; None where there is none."""
    names = SYNONYMS.get(flag.lstrip("-").replace("_", "-").lower(), ())
    return next((f"--{name}" for name in names if f"--{name}" in flags), None)


def wrapped(text: str) -> str:
    """A description wrapped to the terminal. A line that begins with a letter goes on from the one before, as in tyro.

    Of a paragraph, the lines after the first are indented: tyro would join them again.
    """
    width = min(shutil.get_terminal_size().columns, 100)
    joined = re.sub(r"(?<=[^\n])\n(?=[^\W\d_])", " ", text)
    return "\n".join(textwrap.fill(line, width, subsequent_indent="  ") for line in joined.splitlines())


def marked(kind: Any, *markers: Any) -> bool:
    """Whether an annotation has one of tyro's markers, e.g. Positional."""
    marks = get_args(kind)[1:] if get_origin(kind) is Annotated else ()
    return any(get_args(marker[str])[1] in marks for marker in markers)


def choices_of(kind: Any) -> tuple[str, ...]:
    """The words of a Literal, also inside a tuple or an optional value; none for another type."""
    if get_origin(kind) is Literal:
        return tuple(map(str, get_args(kind)))
    inside = get_args(kind) if _bare(kind) is kind else (_bare(kind),)
    return tuple(word for part in inside for word in choices_of(part))


def _bare(kind: Any) -> Any:
    return kind.__origin__ if get_origin(kind) is Annotated else kind


def rules(shown: Collection[str] = ()) -> ConstructorRegistry:
    """tyro's rules with ours.

    Args:
        shown: the flags that the help is limited to; empty: all.
    """
    registry = ConstructorRegistry()
    registry.primitive_rule(_optional)
    registry.struct_rule(_Described(shown))
    return registry


def _optional(about: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | UnsupportedTypeAnnotationError | None:
    """An optional value is left out, not given as None, which tyro would offer as a value in help and messages."""
    kinds = [kind for kind in get_args(about.type) if kind is not NoneType]
    if about.type_origin not in (Union, UnionType) or len(kinds) != 1:
        return None
    found = ConstructorRegistry.get_primitive_spec(PrimitiveTypeInfo.make(kinds[0], about.markers))
    if isinstance(found, UnsupportedTypeAnnotationError):
        return found
    return dataclasses.replace(
        found,
        is_instance=lambda value: value is None or found.is_instance(value),
        str_from_instance=lambda value: ["unset"] if value is None else found.str_from_instance(value),
    )


class _Described:
    """The fields of a dataclass by tyro's own rule, each as its help should show it."""

    def __init__(self, shown: Collection[str]) -> None:
        self.shown = shown
        self.asking = False  # tyro's own rule is asked through the registry, which has this one too

    def __call__(self, about: StructTypeInfo) -> StructConstructorSpec | None:
        if self.asking or not dataclasses.is_dataclass(about.type):
            return None
        self.asking = True
        try:
            found = ConstructorRegistry.get_struct_spec(about)
        finally:
            self.asking = False
        if not isinstance(found, StructConstructorSpec):
            return None
        prefix = getattr(about.type, "PREFIX", "")
        return dataclasses.replace(found, fields=tuple(self._field(item, prefix) for item in found.fields))

    def _field(self, item: StructFieldSpec, prefix: str) -> StructFieldSpec:
        kind = item.type
        if _bare(kind) in (str, tuple[str, ...]) and not marked(kind, Positional):
            several = "" if _bare(kind) is str or marked(kind, UseAppendAction) else "..."
            kind = Annotated[kind, arg(metavar=item.name.upper().replace("_", "-") + several)]
        flag = f"--{prefix}{item.name}".replace("_", "-")
        if self.shown and flag not in self.shown and not dataclasses.is_dataclass(item.default):
            kind = Suppress[kind]
        return dataclasses.replace(item, type=kind, helptext=_one_line(item.helptext))


def _one_line(text: str | Callable[[], str | None] | None) -> Callable[[], str | None]:
    """The text without the line breaks of the source; read only when it is shown."""

    def read() -> str | None:
        found = text() if callable(text) else text
        return None if found is None else " ".join(found.split())

    return read
