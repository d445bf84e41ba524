"""cosub check-data PATH [--source KIND] [--workers N]"""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tyro.conf import Positional

from cosub.cli.parsing import parse, take
from cosub.errors import InputError, RunError
from cosub.recipes.config import SOURCES
from cosub.recipes.files import nearest

DESCRIPTION = """List what is wrong with the images of a data set, one a line: damaged ones, odd ones (CMYK, 16-bit,
palette, alpha, animated, wrong extension, EXIF that does not parse or turns the image), and those with the same pixels
in train and test. Every image is decoded whole. Status 0: none is damaged; 3: some are.
--source {sources} says how PATH is laid out; by default it is seen from the files there.
Options of a source are those of `cosub train`, e.g. --data.val-share."""


@dataclass(frozen=True)
class Check:
    path: Positional[str]
    """The folder, or a name that the source understands."""
    data: Any
    workers: int = 0
    """Processes; 0: as many as there are cores."""

    def __post_init__(self) -> None:
        if self.workers < 0:
            raise InputError(f"workers: {self.workers}: must be 0 or more")
