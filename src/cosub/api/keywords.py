"""Python's keyword arguments as the words of a command line, so that both are understood by the same lines."""

import json
import operator
import os
from collections.abc import Mapping
from typing import Any

from cosub.api.report import AUTO
from cosub.errors import InputError

# Parts of a recipe whose flags begin with their name and a dot.
_PARTS = ("augment", "data", "optimizer", "task")
_COMMAND_LINE = {"help", "json", "dry_run"}
_ALONE = {"report": AUTO}
"""Options with a value that may be left out, and what is meant then."""
_REPEATED = {"set"}
"""Options that are given once for each value."""


def words_of(options: Mapping[str, Any]) -> list[str]:
    """The words that say the same; an option that is None is not given.

    A flag's argument is its name without dashes in front, with `_` for `-` and `.`: `--drop-rate` is `drop_rate`,
    `--optimizer.lr-rule` is `optimizer_lr_rule`. `data` is `--data.path`. Tuples are several words; a dictionary is
    one KEY=VALUE for each of its items: `model_args={"depth": 12}`.

    Raises:
        InputError: for an option that only the command line has, or a None within a value.
    """
    return [word for name, value in options.items() if value is not None for word in _words(name, value)]


def flag_of(name: str) -> str:
    """The flag of a keyword argument."""
    if name in _COMMAND_LINE:
        raise InputError(f"{name}: belongs to the command line; leave it out")
    if name == "data":
        return "--data.path"
    part, _, rest = name.partition("_")
    dotted = f"{part}.{rest}" if part in _PARTS and rest else name
    return "--" + dotted.replace("_", "-")


def _words(name: str, value: Any) -> list[str]:
    flag = flag_of(name)
    if value is True and name in _ALONE:
        return [f"{flag}={_ALONE[name]}"]
    if isinstance(value, list | tuple) and name in _REPEATED:
        return [f"{flag}={_text(name, item, str)}" for item in value]
    if isinstance(value, Mapping):
        return [word for key, item in value.items() for word in (flag, f"{key}={_text(name, item, _json)}")]
    if isinstance(value, list | tuple):
        return [flag, *(_text(name, item, str) for item in value)]
    return [f"{flag}={_text(name, value, str)}"]


def _json(value: Any) -> str:
    return json.dumps(value, default=operator.methodcaller("item"))  # numbers of numpy


def _text(name: str, value: Any, form: Any) -> str:
    if value is None:
        raise InputError(f"{name}: None: is no value; leave it out")
    try:
        return os.path.expanduser(value) if isinstance(value, str | os.PathLike) else form(value)
    except (TypeError, AttributeError, ValueError) as error:  # from json
        raise InputError(f"{name}: {value!r}: must be a number, a string or a list of them") from error
