"""The options of each figure of `cosub analyse`. Nothing heavy is imported here."""

from dataclasses import dataclass, field
from typing import Annotated

from tyro.conf import Positional, arg

from cosub.choices import Unit
from cosub.recipes.data import DataPath
from cosub.recipes.ranges import Checked, NonNegativeInt, PositiveInt, Rate, require


@dataclass(frozen=True)
class _OfImages(Checked):
    """What the figures that evaluate runs on images have in common."""

    runs: Annotated[Positional[tuple[str, ...]], arg(metavar="RUN...")]
    """Finished runs, trained on the same data."""
    out: str = ""
    """Folder of the results; by default analysis in the run's folder, or here for several runs."""
    data: DataPath = field(default_factory=DataPath)
    limit: NonNegativeInt = 1000
    """At most this many images of a set, drawn from the seed; 0 for all."""
    seed: int = 0
    """Of what is drawn: submodels, and images where there is a limit."""
    device: str = "auto"
    """auto (a GPU where there is one), cpu, cuda or cuda:N."""
    batch_size: PositiveInt = 256
    """Images per batch."""


@dataclass(frozen=True)
class Population(_OfImages):
    """Figure 4: accuracy of random submodels against the residual layers kept: mean, spread, best."""

    set: str = "test"
    """Images to evaluate on: test, train, or the path of others with the same classes."""
    keep: tuple[PositiveInt, ...] = ()
    """Numbers of residual layers to keep; by default seven, from a quarter to all."""
    submodels: PositiveInt = 50
    """Submodels of each number of layers, or all where there are fewer; runs of equal depth get the same ones."""


@dataclass(frozen=True)
class Layers(_OfImages):
    """Figure D.2: accuracy and loss without one block, or one residual layer, on two sets of images."""

    sets: tuple[str, ...] = ("test",)
    """Two sets: test, train, or the path of others with the same classes; of a single one, two random halves."""
    unit: Unit = "block"
    """What is left out: one block (the paper), or one residual layer."""

    def __post_init__(self) -> None:
        super().__post_init__()
        different = 1 <= len(set(self.sets)) == len(self.sets) <= 2
        require(different, "sets", " ".join(self.sets), "must be one or two different sets")


@dataclass(frozen=True)
class Counts(Checked):
    """Figure D.1: how many submodels have a number of residual layers, and how often training draws them."""

    runs: Annotated[Positional[tuple[str, ...]], arg(metavar="[RUN...]")] = ()
    """Finished runs, counted with their effective drop rates; none: --layers and --drop-rate."""
    out: str = ""
    """Folder of the results; by default analysis in the run's folder, or here."""
    layers: PositiveInt = 64
    """Residual layers; ViT-H has 64."""
    drop_rate: tuple[Rate, ...] = (0.5,)
    """Drop rates, the same in all layers."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(bool(self.drop_rate), "drop_rate", self.drop_rate, "needs a value, e.g. --drop-rate 0.5")


@dataclass(frozen=True)
class Quantisation(Checked):
    """Figure C.1: the effective drop rate against the requested one, by rounding and rows."""

    runs: Annotated[Positional[tuple[str, ...]], arg(metavar="[RUN...]")] = ()
    """Finished runs, marked in the picture."""
    out: str = ""
    """Folder of the results; by default analysis in the run's folder, or here."""
    rows: tuple[PositiveInt, ...] = (4, 8, 32, 128)
    """Rows of a layer, that is copies times the images of a group: a line for each."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(bool(self.rows), "rows", self.rows, "needs a value, e.g. --rows 8")


@dataclass(frozen=True)
class Overfitting(_OfImages):
    """Figure 5: accuracy of several runs on several sets of images against one another."""

    sets: tuple[str, ...] = ("train", "test")
    """Two sets or more: test, train, or the path of others with the same classes. The first is the plot's x axis."""
    limit: NonNegativeInt = 0
    """At most this many images of a set, drawn from the seed; 0 for all."""
    workers: NonNegativeInt = 0
    """Processes that load images; 0 loads in this process."""

    def __post_init__(self) -> None:
        super().__post_init__()
        different = 2 <= len(set(self.sets)) == len(self.sets)
        require(different, "sets", " ".join(self.sets), "must be two different sets or more")


@dataclass(frozen=True)
class Tradeoff(_OfImages):
    """Figure B.1: accuracy of several runs against parameters, FLOPs and measured time."""

    set: str = "test"
    """Images to evaluate on: test, train, or the path of others with the same classes."""
    resolutions: tuple[PositiveInt, ...] = ()
    """Resolutions, in pixels, to evaluate each run at, without further training; by default that of its training."""
    repeats: PositiveInt = 10
    """Passes that are timed, of batch_size images each."""
    limit: NonNegativeInt = 0
    """At most this many images, drawn from the seed; 0 for all."""
    workers: NonNegativeInt = 0
    """Processes that load images; 0 loads in this process."""
