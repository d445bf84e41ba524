"""What a folder holds: images, folders, and what is left out, with the reason."""

import functools
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from cosub.data.decoding import readable, remedy

# Names that operating systems and archives add. Names that begin with a dot are left out too.
_OF_THE_SYSTEM = frozenset(
    ("__macosx", "@eadir", "#recycle", "$recycle.bin", "system volume information", "lost+found", "thumbs.db")
)


class LeftOut(NamedTuple):
    """What was not read for one reason: how many files or folders, and the first of them."""

    why: str
    number: int
    first: str


def is_junk(name: str) -> bool:
    """Whether a file or folder with that name is hidden or of the system."""
    return name.startswith(".") or name.lower() in _OF_THE_SYSTEM


def listed(folder: Path, pattern: str) -> list[Path]:
    """Paths below a folder that match a pattern, sorted, without junk."""
    found = folder.glob(pattern)
    return sorted(path for path in found if not any(map(is_junk, path.relative_to(folder).parts)))


@dataclass
class Notes:
    """Counts what is left out. A file or folder counts once, with all that is below it, however often it is found."""

    found: dict[str, set[str]] = field(default_factory=dict)

    def add(self, why: str, path: str | os.PathLike[str]) -> None:
        self.found.setdefault(why, set()).add(os.fspath(path))

    def left_out(self, below: Path | None = None) -> tuple[LeftOut, ...]:
        """What is left out, by reason; all of it, or below a folder."""
        inside = "" if below is None else f"{below}{os.sep}"
        chosen = {why: {path for path in paths if path.startswith(inside)} for why, paths in self.found.items()}
        return tuple(LeftOut(why, len(paths), min(paths)) for why, paths in sorted(chosen.items()) if paths)


class Branch:
    """A folder, listed on first use. Links are followed, but not to a folder that contains them.

    Runs and their exports are neither its folders nor its images: they are in `runs`.
    """

    def __init__(self, path: Path, notes: Notes, above: frozenset[tuple[int, int]] = frozenset()) -> None:
        self.path, self.notes = path, notes
        self.runs: list[Path] = []
        place = path.stat()
        self._places = above | {(place.st_dev, place.st_ino)}

    @property
    def images(self) -> list[Path]:
        """The images in the folder itself, sorted."""
        return self._listed[0]

    @property
    def folders(self) -> dict[str, "Branch"]:
        """The folders by name, sorted."""
        return self._listed[1]

    @functools.cached_property
    def everything(self) -> list[Path]:
        """The images at any depth, sorted."""
        return sorted([*self.images, *(path for folder in self.folders.values() for path in folder.everything)])

    def all_runs(self) -> list[Path]:
        """The runs at any depth."""
        below = (run for folder in self.folders.values() for run in folder.all_runs())
        return [*self.runs, *below]

    @functools.cached_property
    def _listed(self) -> tuple[list[Path], dict[str, "Branch"]]:
        images: list[Path] = []
        folders: dict[str, Branch] = {}
        with os.scandir(self.path) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                path = self.path / entry.name
                if is_junk(entry.name):
                    self.notes.add("hidden, or of the system", path)
                elif entry.is_dir(follow_symlinks=False) or (entry.is_symlink() and path.is_dir()):
                    folders |= self._folder(path)
                elif not (entry.is_file(follow_symlinks=False) or entry.is_symlink()):
                    self.notes.add("neither file nor folder", path)
                elif path.suffix.lower() in readable():
                    images.append(path)
                else:
                    self.notes.add(f"extension {path.suffix.lower() or 'missing'}{remedy(entry.name)}", path)
        return images, folders

    def _folder(self, path: Path) -> dict[str, "Branch"]:
        """The folder by its name; empty if it is left out."""
        place = path.stat()
        if (place.st_dev, place.st_ino) in self._places:
            self.notes.add("link to a folder that contains it", path)
        elif _is_run(path) or _is_export(path):
            self.notes.add("folder of a run or of an export", path)
            self.runs.append(path)
        else:
            return {path.name: Branch(path, self.notes, self._places)}
        return {}


def list_left_out(left_out: Iterable[LeftOut]) -> str:
    """What was left out, as one line."""
    return "; ".join(f"{item.number:,} {item.why} ({item.first})" for item in left_out)


def _is_run(folder: Path) -> bool:
    """Whether `cosub train` or `cosub slim` wrote the folder: others may have a recipe.json too, of food."""
    return _has_keys(folder / "recipe.json", {"format", "model", "method", "data"})


def _is_export(folder: Path) -> bool:
    return (folder / "model.onnx").is_file() or _has_keys(folder / "config.json", {"architecture", "pretrained_cfg"})


def _has_keys(path: Path, keys: set[str]) -> bool:
    """Whether it is a file with a JSON object that has these keys."""
    try:
        values = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(values, dict) and keys <= values.keys()
