"""That a run continues with the data that it was begun with."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cosub.data.marks import mark
from cosub.data.sources import Source, fingerprint
from cosub.errors import InputError
from cosub.recipes.config import Recipe


@dataclass(frozen=True)
class DataMark:
    """What tells a run's data from others: names of classes and labels; relative names and sizes of files."""

    labels: str
    files: str

    @classmethod
    def of(cls, source: Source, recipe: Recipe) -> "DataMark":
        return cls(fingerprint(source), mark(source, recipe.data))

    @property
    def facts(self) -> dict[str, str]:
        """As a checkpoint keeps it."""
        return {"data": self.labels, "files": self.files}

    def require(self, facts: dict[str, Any], run: Path) -> None:
        """Raises InputError if the checkpoint of a run was made with other data. Older ones have no "files"."""
        if facts["data"] != self.labels or facts.get("files", self.files) != self.files:
            raise InputError(
                f"data.path: {run}: was begun with other images or classes than lie there now; "
                "name the same data, or another --out"
            )
