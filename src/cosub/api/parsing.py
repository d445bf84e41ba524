"""tyro, with its errors as one line: field, value, remedy."""

import dataclasses
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args

import tyro
from tyro import _errors as events
from tyro.conf import FlagConversionOff
from tyro.constructors import (
    ConstructorRegistry,
    PrimitiveConstructorSpec,
    PrimitiveTypeInfo,
    UnsupportedTypeAnnotationError,
)

from cosub.errors import InputError, nearest
from cosub.recipes.data import SOURCES
from cosub.recipes.methods import METHODS
from cosub.recipes.recipe import Recipe

Options = TypeVar("Options")

# Fields of these parts of a recipe have flags without a prefix: --weight, --mean, --out.
_FLAT = ("method", "inputs", "runtime")
_NO_FLAGS = ("kind", "model_args", "kept_layers", "kept_scale", "reading", "pixels")

_RULES = ConstructorRegistry()


@_RULES.primitive_rule
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


def parse(
    kind: type[Options],
    words: Sequence[str],
    prog: str,
    default: Any = None,
    description: str = "",
    others: Sequence[str] = (),
) -> Options:
    """Parse the words of a command line into a dataclass. `others` are flags that were taken out before.

    Raises:
        InputError: for an unknown flag (with the nearest one), a missing value, a value of the wrong type or range.
    """
    about = default if default is not None else kind
    flags = [*_flags(about), *others]
    switches = {flag: value for flag, item, value in _fields(about) if _is_switch(item.type)}
    settings: dict[str, Any] = {"default": default} if default is not None else {}
    with events.on_parse_error(lambda event: _raise(event, flags)), _drawing_nothing():
        return tyro.cli(
            kind,
            prog=prog,
            args=[part for word in words for part in _switch(word, switches)],
            description=description or None,
            config=(tyro.conf.AvoidSubcommands, tyro.conf.FlagCreatePairsOff),
            registry=_RULES,
            **settings,
        )


@contextmanager
def _drawing_nothing() -> Iterator[None]:
    """tyro draws from Python's generator, which is the caller's."""
    state = random.getstate()
    try:
        yield
    finally:
        random.setstate(state)


def take(words: list[str], flag: str) -> str | None:
    """Remove `flag value` or `flag=value` from the words and return the last value."""
    value = None
    for index in reversed(range(len(words))):
        word = words[index]
        if word == flag:
            if index + 1 >= len(words):
                raise InputError(f"{flag}: needs a value")
            found = words.pop(index + 1)
            words.pop(index)
        elif word.startswith(flag + "="):
            found = words.pop(index).split("=", 1)[1]
        else:
            continue
        value = found if value is None else value
    return value


def take_switch(words: list[str], flag: str) -> bool:
    """Remove `flag`, `flag=True` or `flag=False` from the words and return whether the last one sets it."""
    values = {flag: True, f"{flag}=True": True, f"{flag}=False": False}
    found = [values[word] for word in words if word in values]
    words[:] = [word for word in words if word not in values]
    return bool(found) and found[-1]


def _switch(word: str, switches: Mapping[str, bool]) -> list[str]:
    """`--flag=True` or `--flag=False`, as Python's arguments come, in tyro's words; none where it is so already."""
    flag, _, value = word.partition("=")
    if flag not in switches or value not in ("True", "False"):
        return [word]
    if (value == "True") == switches[flag]:
        return []
    prefix, dot, name = flag.removeprefix("--").rpartition(".")
    return [flag if value == "True" else f"--{prefix}{dot}no-{name}"]


def _is_switch(kind: Any) -> bool:
    """Whether a field's flag has no value."""
    marks = getattr(kind, "__metadata__", ())
    return (get_args(kind)[0] if marks else kind) is bool and FlagConversionOff not in marks


def _raise(event: events.ParseErrorEvent, flags: list[str]) -> None:
    match event:
        case events.UnrecognizedArgs():
            raise InputError(_unknown(event.tokens, flags))
        case events.InvalidChoice():
            choices = ", ".join(event.choices)
            raise InputError(f"{_name(event.argument)}: {event.value!r}: must be one of {choices}")
        case events.BadValue():
            count = event.argument.lowered.nargs
            needed = f"{count} values" if isinstance(count, int) and count > 1 else "a value"
            raise InputError(f"{_name(event.argument)}: needs {needed}; {event.prog} --help shows its form")
        case events.InstantiationFailure():
            where = "" if event.argument is None else f"{_name(event.argument)}: "
            raise InputError(f"{where}{_plainly(' '.join(event.message.split()))}")
        case events.MissingArgs():
            names = ", ".join(_name(missing.arg) for missing in event.missing_arguments)
            raise InputError(f"{names}: is missing; {event.prog} --help shows its form")
        case _:
            raise InputError(f"{event.prog}: cannot be parsed; {event.prog} --help shows the form")


def _plainly(message: str) -> str:
    """The messages of Python and tyro for a value of the wrong type, as `VALUE: must be TYPE`."""
    for pattern, form in (
        (r"invalid literal for int\(\).*: (.*)", "{0}: must be a whole number"),
        (r".*to float: (.*)", "{0}: must be a number"),
        (r"Could not parse arguments \[(.*)\] into tuple type .*float.*", "{0}: must be numbers"),
        (r"no type matching \{(.*)\} could be instantiated from \[(.*?)\]\..*", "{1}: must be {0}"),
    ):
        if found := re.fullmatch(pattern, message):
            return form.format(*found.groups()).replace("}|{", " or ")
    return message


def _unknown(tokens: list[str], flags: list[str]) -> str:
    flag = next((token for token in tokens if token.startswith("-")), "").split("=")[0]
    if not flag:
        return f"{tokens[0]!r}: unexpected argument; leave it out, or see --help"
    for option, kinds in (("method", METHODS), ("source", SOURCES)):
        owners = [
            name for name, kind in kinds.items() if flag in _flags(kind, "--data." if option == "source" else "--")
        ]
        if owners:
            return f"{flag}: belongs to --{option} {' or '.join(owners)}, not to the one chosen; leave it out"
    return f"{flag}: there is no such option{nearest(flag, flags)}; --help lists them"


def _name(argument: Any) -> str:
    return argument.field.intern_name.upper() if argument.is_positional() else argument.lowered.name_or_flags[-1]


def _flags(kind: Any, prefix: str = "--") -> list[str]:
    """The flags of a dataclass or an instance of one."""
    return [flag for flag, _, _ in _fields(kind, prefix)]


def _fields(kind: Any, prefix: str = "--") -> Iterator[tuple[str, "dataclasses.Field[Any]", Any]]:
    """Flag, field and default of all that a dataclass, or an instance of one, has flags for."""
    for item in dataclasses.fields(kind):
        value = getattr(kind, item.name, None)
        if item.name in _NO_FLAGS or prefix + item.name == "--name":
            continue
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            yield from _fields(value, prefix if item.name in _FLAT else f"{prefix}{item.name}.")
        else:
            yield prefix + item.name.replace("_", "-"), item, value


def recipe_flags(recipe: Recipe) -> list[str]:
    """All flags of `cosub train` for a recipe, its method and its source, those of --dry-run aside."""
    return sorted(["--dry-run", "--json", "--method", "--model-args", "--pretrained", "--source", *_flags(recipe)])
