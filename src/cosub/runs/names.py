"""Names of files and classes that may not be UTF-8, in files, on terminals and in figures.

As everywhere in Python, a byte that cannot be decoded is a lone surrogate.
"""

import contextlib
import csv
import errno
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from cosub.data.atomic import written_atomically


def write_text(path: Path, text: str) -> None:
    """Write text with names in UTF-8; bytes that could not be decoded are written as they were."""
    path.write_text(text, encoding="utf-8", errors="surrogateescape")


def write_rows(path: Path, titles: Iterable[str], rows: Iterable[Iterable[Any]]) -> None:
    """Write a CSV file, which must not exist. Names are written as in `write_text`."""
    if path.exists():
        raise FileExistsError(errno.EEXIST, "exists", str(path))
    with (
        written_atomically(path) as aside,
        aside.open("x", encoding="utf-8", errors="surrogateescape", newline="") as file,
    ):
        csv.writer(file).writerows([titles, *rows])


def printable_everywhere() -> None:
    """Let standard output and error escape what a terminal cannot show, instead of ending the command."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError):  # another kind of stream, which takes any text
            stream.reconfigure(errors="backslashreplace")  # pyright: ignore[reportAttributeAccessIssue]


def caption(name: str) -> str:
    """A name as text for Matplotlib: not a formula, without bytes that cannot be drawn, not hidden from legends."""
    drawn = name.encode("utf-8", "backslashreplace").decode().replace("$", r"\$")
    return f" {drawn}" if drawn.startswith("_") else drawn
