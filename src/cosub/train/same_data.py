"""Checks that a run continues with the data with which it was begun."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cosub.data.marks import mark
from cosub.data.sources import Source, fingerprint
from cosub.errors import InputError
from cosub.recipes.recipe import Recipe


@dataclass(frozen=True)
class DataMark:
    """What identifies a run's data: hashes of class names and labels, and of relative paths and sizes of files."""

    labels: str
    files: str

    @classmethod
    def of(cls, source: Source, recipe: Recipe) -> "DataMark":
        return cls(fingerprint(source), mark(source, recipe.data))

    @property
    def facts(self) -> dict[str, str]:
        """As stored in a checkpoint."""
        return {"data": self.labels, "files": self.files}

    def require(self, facts: dict[str, Any], run: Path) -> None:
        """Raise InputError if a checkpoint of the run was made with other data. Older ones have no "files"."""
        if facts["data"] != self.labels or facts.get("files", self.files) != self.files:
            raise InputError(
                f"data.path: {run}: was begun with other images or classes than are there now; "
                "name the same data, or another --out"
            )
