"""What can end a command, each with its exit status."""


class CosubError(Exception):
    """Ends a command with one line on standard error; a subclass says with which status."""

    status = 1


class InputError(CosubError, ValueError):
    """The user's input is wrong: the message names field, value and remedy. Nothing was touched."""

    status = 2


class RunError(CosubError):
    """The run cannot go on; its last checkpoint is whole."""

    status = 3


class Stopped(CosubError):
    """The run was stopped by a signal; the same command continues it."""

    status = 75
