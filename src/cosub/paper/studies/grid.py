"""A study as values: cells, each a recipe that is trained from several seeds, and what they are compared with."""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cosub.recipes.changes import changed
from cosub.recipes.files import identity
from cosub.recipes.recipe import Recipe


@dataclass(frozen=True)
class Cell:
    """One row of a study: a recipe, its seed aside."""

    name: str
    recipe: Recipe
    baseline: str = ""
    """The cell that it is compared with, seed by seed."""
    uses: Mapping[str, str] = field(default_factory=dict)
    """Fields of the recipe that name a run, and the cell whose run of the same seed it is: a teacher, a start."""
    x: float | None = None
    """Where it lies on the axis of the study's plot; None: a row of its own."""
    series: str = ""
    shown: bool = True
    """Not shown: it is there for others to use."""
    equal_time: str = ""
    """The cell that takes as long or longer, with which it is compared besides."""


@dataclass(frozen=True)
class Study:
    """A grid: cells x seeds."""

    name: str
    title: str
    paper: str
    """What the paper found, in a sentence."""
    cells: tuple[Cell, ...]
    axis: str = ""
    """What `x` is."""
    log: bool = False
    """The axis is logarithmic."""
    choose: bool = False
    """One of the cells is to be chosen: the best on validation images."""
    seeds: int = 3
    points: int = 2
    """Evaluations in a run, at least. Two: in the middle and at the end."""
    weights: bool = False
    """The networks themselves are needed: a run that is recorded and whose folder is gone is trained again."""
    calibrated: bool = False
    """Cross-entropy on test images is recorded too, with a temperature that was fitted on validation images."""
    first_seed: int = 0

    def cell(self, name: str) -> Cell:
        return next(cell for cell in self.cells if cell.name == name)

    def runs(self, seeds: int) -> Iterator["Run"]:
        """All runs, seed after seed, so that what is finished at any time can be compared."""
        return (Run(self, cell, seed) for seed in self.range_of(seeds) for cell in self.cells)

    def range_of(self, seeds: int) -> range:
        """So many seeds."""
        return range(self.first_seed, self.first_seed + seeds)


@dataclass(frozen=True, eq=False)
class Run:
    """One cell from one seed. The seed decides the training images as well, where not all are taken."""

    study: Study
    cell: Cell
    seed: int

    @property
    def recipe(self) -> Recipe:
        return changed(self.cell.recipe, {"seed": self.seed, "data.subset_seed": self.seed})

    @property
    def used(self) -> dict[str, "Run"]:
        """By field, the run whose folder it names."""
        return {name: Run(self.study, self.study.cell(cell), self.seed) for name, cell in self.cell.uses.items()}

    @property
    def key(self) -> str:
        """What the run is, wherever it lies and whichever study it belongs to: 12 hexadecimal digits."""
        parts = [identity(self.recipe), *(f"{name}={run.key}" for name, run in sorted(self.used.items()))]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]

    def folder(self, out: Path) -> Path:
        """Runs of several studies that are the same lie in the same folder."""
        points = "" if self.study.points == 2 else f"-{self.study.points}"
        return out / f"{self.recipe.name}-{self.recipe.method.kind}-{self.seed}-{self.key}{points}"

    def ready(self, out: Path) -> Recipe:
        """The recipe as it is trained: with the runs that it uses, and its own folder."""
        recipe = changed(self.recipe, {name: str(run.folder(out)) for name, run in self.used.items()})
        every = max(1, recipe.epochs // self.study.points)
        runtime = {"out": str(self.folder(out)), "evaluate_every": every, "evaluate_training": True}
        return changed(recipe, {f"runtime.{name}": value for name, value in runtime.items()})

    def __str__(self) -> str:
        return f"{self.cell.name}, seed {self.seed}"


Make = Callable[[Recipe], Study]
