"""What is asked of `cosub slim`. No torch here."""

from dataclasses import dataclass, field
from typing import get_args

from tyro.conf import Positional

from cosub.choices import Strategy, Unit
from cosub.errors import InputError
from cosub.recipes.data import DataPath
from cosub.recipes.ranges import Checked, NonNegativeInt, PositiveInt

STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)


@dataclass(frozen=True)
class Request(Checked):
    """Make a smaller network of a run: keep some of its blocks, or of its residual layers. The result is a run's folder
    as any other."""

    run: Positional[str]
    """The run's folder."""
    keep: int | None = None
    """How many to keep: blocks, or residual layers with --unit layer."""
    unit: Unit | None = None
    """What is taken out as one: a whole block, so that timm's own model of a smaller depth is left, or a single
    residual layer; attention and MLP of a block are two. By default block where the depth of timm's model can express
    it, else layer."""
    strategy: Strategy = "greedy"
    """Which ones: whole blocks spread evenly over depth (every-other); the first and the last (ends); those with the
    largest LayerScale factors (layerscale); those with the largest cosine distance between the stream before and after
    (cosine), both summed over a block's layers; those without which the loss is highest (leave-one-out); what is left
    when one unit after another is removed, each time the one without which the loss is lowest (greedy); the same with
    several candidates at each depth (search)."""
    calibration: str = ""
    """Choose on images of this folder (CLASS/image, train/CLASS/image, or Parquet files); by default on training
    images of the run."""
    images: PositiveInt = 1000
    """Calibration images, drawn at random from there."""
    seed: int = 0
    """Of that draw, and of that of the test images of a frontier."""
    evaluations: NonNegativeInt = 0
    """How many submodels the search may evaluate; 0: four times as many as greedy does."""
    heal: NonNegativeInt = 0
    """Train the slimmed network for so many epochs, with the full one as its teacher, into OUT-healed."""
    frontier: bool = False
    """Instead of one network: accuracy against latency and parameters over depths and strategies, CSV and PNG."""
    depths: tuple[int, ...] = ()
    """Of the frontier: how many to keep, counted as by --keep; by default eighths of all, down to a quarter."""
    strategies: tuple[Strategy, ...] = STRATEGIES
    """Of the frontier; every-other is always there."""
    test_images: PositiveInt = 5000
    """Of the frontier: test images, drawn at random where there are more."""
    out: str = ""
    """The folder of the result; by default RUN-slim-N, or RUN-frontier."""
    data: DataPath = field(default_factory=DataPath)
    latency_batch: PositiveInt = 1
    """Images per batch when time is measured."""
    batch_size: PositiveInt = 64
    """Images per batch elsewhere; memory must hold the activations of a batch at every block."""
    device: str = "auto"
    """auto (a GPU where there is one), cpu, cuda or cuda:N."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.frontier and (self.keep is not None or self.heal):
            raise InputError("frontier: goes over depths and heals none; leave --keep and --heal out")
        if not self.frontier and self.keep is None:
            raise InputError(
                "keep: is missing; say with --keep how many blocks (with --unit layer: residual layers), or take "
                "--frontier"
            )
        if not self.frontier and self.depths:
            raise InputError("depths: belongs to --frontier; name one depth with --keep")
        for name, theirs, remedy in (
            ("strategies", False, "belongs to --frontier; name one with --strategy"),
            ("test_images", False, "belongs to --frontier; leave it out"),
            ("strategy", True, "is of one network; name those of the frontier with --strategies"),
        ):
            default = type(self).__dataclass_fields__[name].default
            if self.frontier == theirs and getattr(self, name) != default:
                raise InputError(f"{name}: {remedy}")

    @property
    def numbers(self) -> tuple[str, tuple[int, ...]]:
        """The option that says how many units are kept, and its values."""
        return ("depths", self.depths) if self.keep is None else ("keep", (self.keep,))
