"""Names of files and classes as people have them, in files, on terminals and in pictures.

A name that is not UTF-8 is held as Python holds it: a byte that cannot be decoded is a lone surrogate.
"""

import contextlib
import sys
from pathlib import Path


def write_text(path: Path, text: str) -> None:
    """Write text that has names in it: in UTF-8, and of names that are not, the very bytes."""
    path.write_text(text, encoding="utf-8", errors="surrogateescape")


def printable_everywhere() -> None:
    """Let standard output and error escape what a terminal cannot show, instead of ending the command."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError):  # another kind of stream takes any text
            stream.reconfigure(errors="backslashreplace")  # pyright: ignore[reportAttributeAccessIssue]


def caption(name: str) -> str:
    """A name as Matplotlib's text: no formula, no byte that it cannot draw, and not hidden from legends."""
    drawn = name.encode("utf-8", "backslashreplace").decode().replace("$", r"\$")
    return f" {drawn}" if drawn.startswith("_") else drawn
