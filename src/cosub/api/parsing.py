"""tyro, with its errors as one line: field, value, remedy."""

import dataclasses
import inspect
import os
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar, get_args, get_type_hints

import tyro
from tyro import _errors as events
from tyro.conf import FlagConversionOff, Positional, Suppress

from cosub.api.help import ALL, FIRST, choices_of, marked, rules, synonym, wrapped
from cosub.errors import InputError, nearest
from cosub.recipes.data import SOURCES
from cosub.recipes.methods import METHODS
from cosub.recipes.recipe import Recipe

Options = TypeVar("Options")

# Fields of these parts of a recipe have flags without a prefix: --weight, --mean, --out.
_FLAT = ("method", "inputs", "runtime")


class _Option(NamedTuple):
    flag: str
    kind: Any
    """Its annotation."""
    value: Any
    """Its default."""


def parse(
    kind: type[Options],
    words: Sequence[str],
    prog: str,
    default: Any = None,
    description: str = "",
    others: Sequence[str] = (),
) -> Options:
    """Parse the words of a command line into a dataclass. `others` are flags that were taken out before.

    --help of a recipe is limited to the options that matter first; --help-all has all of them, here and everywhere.

    Raises:
        InputError: for an unknown flag (with the nearest one), a missing value, a value of the wrong type or range.
    """
    about = default if default is not None else kind
    flags = [*options_of(about), *others]
    switches = switches_of(about)
    brief = kind is Recipe and bool({"-h", "--help"} & set(words))
    text = (description or inspect.getdoc(kind) or "") + (f"\n{ALL} lists every option." if brief else "")
    settings: dict[str, Any] = {"default": default} if default is not None else {}
    with events.on_parse_error(lambda event: _raise(event, flags)), _drawing_nothing():
        return tyro.cli(
            kind,
            prog=prog,
            args=["--help" if part == ALL else part for word in words for part in _switch(word, switches)],
            description=wrapped(text),
            config=(
                tyro.conf.AvoidSubcommands,
                tyro.conf.FlagCreatePairsOff,
                tyro.conf.PositionalMetavarFromFieldName,
            ),
            registry=rules(FIRST if brief else ()),
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
            choices = ", ".join(event.choices) + nearest(str(event.value), list(event.choices))
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
        place = "--data.path" in flags and os.path.exists(tokens[0])
        remedy = f"name images with --data.path {tokens[0]}" if place else "leave it out, or see --help"
        return f"{tokens[0]!r}: unexpected argument; {remedy}"
    if (meant := synonym(flag, flags)) is not None:
        return f"{flag}: there is no such option (did you mean {meant}?); --help-all lists them"
    for option, kinds in (("method", METHODS), ("source", SOURCES)):
        owners = [
            name for name, kind in kinds.items() if flag in options_of(kind, "--data." if option == "source" else "--")
        ]
        if owners:
            trains = flag == "--data.path" and "--method" in flags
            remedy = ", or name a recipe such as finetune or scratch" if trains else ""
            return f"{flag}: belongs to --{option} {' or '.join(owners)}, not to the one chosen; leave it out{remedy}"
    return f"{flag}: there is no such option{nearest(flag, flags)}; --help-all lists them"


def _name(argument: Any) -> str:
    return argument.field.intern_name.upper() if argument.is_positional() else argument.lowered.name_or_flags[-1]


def options_of(kind: Any, prefix: str = "--") -> dict[str, tuple[str, ...]]:
    """The flags of a dataclass or an instance of one, each with the words it takes; none where it takes any."""
    return {option.flag: choices_of(option.kind) for option in _options(kind, prefix)}


def switches_of(about: Any) -> dict[str, bool]:
    """The flags of a dataclass or an instance of one that have no value, each with its default."""
    return {option.flag: option.value for option in _options(about) if _is_switch(option.kind)}


def _options(kind: Any, prefix: str = "--") -> Iterator[_Option]:
    hints = get_type_hints(kind if isinstance(kind, type) else type(kind), include_extras=True)
    for item in dataclasses.fields(kind):
        made = item.default_factory
        value = made() if isinstance(kind, type) and callable(made) else getattr(kind, item.name, None)
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            yield from _options(value, prefix if item.name in _FLAT else f"{prefix}{item.name}.")
        elif not marked(hints[item.name], Positional, Suppress):
            yield _Option(prefix + item.name.replace("_", "-"), hints[item.name], value)
