"""The errors that end a command, each with its exit status."""

import difflib
import errno

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Of an OSError: nothing more can be written there."""


class CosubError(Exception):
    """Ends a command with one line on standard error; subclasses set the exit status."""

    status = 1


class InputError(CosubError, ValueError):
    """The user's input is wrong: the message names field, value and remedy. Nothing was touched."""

    status = 2


class RunError(CosubError):
    """The run cannot continue; its last checkpoint, if there is one yet, is intact."""

    status = 3


class Stopped(CosubError):
    """The run was stopped by a signal; the same command continues it."""

    status = 75


def nearest(word: str, known: list[str]) -> str:
    """' (did you mean X?)' or nothing."""
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f" (did you mean {close[0]}?)" if close else ""
