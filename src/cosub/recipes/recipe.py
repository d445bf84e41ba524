"""A run's configuration: frozen, typed, complete before anything is built. No torch here.

Every member of a union has a `kind`, so that one read from a file is never taken for another.
"""

import math
import re
from dataclasses import dataclass, field, replace
from typing import Annotated, Any

from tyro.conf import Fixed, Suppress, arg

from cosub.choices import Choose, HeadStart, NonFinite, Precision, Rounding, Schedule
from cosub.errors import InputError
from cosub.recipes.augmentation import Augment
from cosub.recipes.data import SOURCES, DataConfig, Digits
from cosub.recipes.inputs import Inputs
from cosub.recipes.methods import METHODS, Cosub, MethodConfig
from cosub.recipes.optimizer import Optimizer
from cosub.recipes.ranges import PositiveFloat, PositiveInt, Rate, Share, Strict, require
from cosub.recipes.runtime import Runtime
from cosub.recipes.tasks import TASKS, Classification, TaskConfig


@dataclass(frozen=True)
class Recipe(Strict):
    """Everything that determines a run, its seed included."""

    name: Fixed[Suppress[str]]
    model: str
    """A timm model of a supported family."""
    model_args: Suppress[dict[str, int | float | bool | str | tuple[int, ...]]] = field(default_factory=dict)
    """Arguments of the timm model. Cleared when another --model is named."""
    weights: str = ""
    """Start from these weights: a file, a run's folder or one of timm's, a name of timm's, or hf-hub:OWNER/NAME; empty:
    from scratch. Read once, when the run begins; the name, not the file's content, identifies the run."""
    head: HeadStart = "model"
    """Initialisation of a classifier that the weights lack: timm's own (model), zero, or the best linear classifier on
    the features that the weights give (probe)."""
    resolution: PositiveInt = 224
    """Height and width of the images that the network sees, in pixels."""
    choose: Choose = "last"
    """Which weights the run keeps: the last step's, or the best epoch's on validation images, which are then held out
    of the training images where the data have none."""
    classes: int = 0
    """Number of classes that the data must have; 0: any."""
    kept_layers: Fixed[Suppress[tuple[int, ...]]] = ()
    """Residual layers of the model that a slimmed network has, by their index in the full one; empty: all of them."""
    kept_scale: Fixed[Suppress[PositiveFloat]] = 1.0
    """Factor of every residual branch of a slimmed network, chosen by calibration."""
    method: Annotated[MethodConfig, arg(name="")] = field(default_factory=Cosub)
    drop_rate: Rate = 0.1
    """The paper's tau: share of the rows that skip a residual layer."""
    schedule: Schedule = "uniform"
    """The drop rate over depth: the same in all layers (the paper), or growing linearly from 0 (timm)."""
    rounding: Rounding = "nearest"
    """How the number of kept rows is rounded. ceil is equation C.1 as printed. bernoulli keeps each row
    independently, as before the paper: shapes then change from step to step. masked is timm's drop path: rows
    independently too, but all are computed, and dropped ones multiplied by zero."""
    epochs: PositiveInt = 100
    """Passes over the training images."""
    batch_size: PositiveInt = 256
    """Images per optimizer step, over all processes and micro-steps, with all copies of repeated augmentation."""
    group_size: PositiveInt = 64
    """Images whose submodels and mixing are drawn together: the granularity of the drop rate, on any hardware."""
    lr: PositiveFloat = 1e-3
    """Peak learning rate, at a batch of 2048 under the square-root rule."""
    seed: int = 0
    """Of everything that is drawn: weights, order, augmentation, submodels."""
    data: DataConfig = field(default_factory=Digits)
    task: TaskConfig = field(default_factory=Classification)
    augment: Augment = field(default_factory=Augment)
    inputs: Annotated[Inputs, arg(name="")] = field(default_factory=Inputs)
    optimizer: Optimizer = field(default_factory=Optimizer)
    ema: Rate = 0.0
    """Decay of the averaged weights. If set, these are evaluated and saved as the model."""
    precision: Precision = "auto"
    """auto: bf16 on a GPU that has it, fp32 elsewhere."""
    non_finite: NonFinite = "stop"
    """Whether a step whose loss or gradient is not finite ends the run (stop) or is skipped: no update, counted and
    reported. To skip, the loop waits for the loss of each step; ten of them in a row end the run."""
    bad_share: Share = 0.01
    """Share of unreadable images above which the run ends; up to it, and one in any case unless it is 0, they are
    counted and named."""
    runtime: Annotated[Runtime, arg(name="")] = field(default_factory=Runtime)

    def __post_init__(self) -> None:
        super().__post_init__()
        require(bool(re.fullmatch(r"[\w.-]+", self.name)), "name", self.name, "letters, digits, '.', '_', '-' only")
        some = self.classes == 0 or self.classes >= 2
        require(some, "classes", self.classes, "must be 2 or more, or 0 for any number")
        ordered = list(self.kept_layers) == sorted({layer for layer in self.kept_layers if layer >= 0})
        require(ordered, "kept_layers", self.kept_layers, "must be indices from 0, ascending, each once")
        require(-(2**63) <= self.seed < 2**63, "seed", self.seed, "must fit in 64 bits")
        whole = self.batch_size % self.group_size == 0
        multiple = max(self.batch_size // self.group_size, 1) * self.group_size
        remedy = f"must be a multiple of group_size {self.group_size}, e.g. {multiple}"
        require(whole, "batch_size", self.batch_size, remedy)
        self._check_task()
        allowed = self.augment.smoothing == 0 or self.method.targets == "ce"
        remedy = "binary targets cannot be smoothed, set it to 0 or take a loss that begins with ce"
        require(allowed, "augment.smoothing", self.augment.smoothing, remedy)

    def _check_task(self) -> None:
        """Check that data, method and augmentation suit the task."""
        if self.task.kind != self.data.TASK:
            sources = " or ".join(name for name, source in SOURCES.items() if self.task.kind == source.TASK)
            other = f"a recipe for {self.data.TASK}, e.g. {TASKS[self.data.TASK].EXAMPLE}"
            raise InputError(f"source: {self.data.kind!r}: is not for {self.task.kind}; take {sources}, or {other}")
        self.task.check(self)

    @property
    def network(self) -> str:
        """Its model with arguments, in words."""
        return " ".join([self.model, *(f"{key}={value}" for key, value in self.model_args.items())])

    @property
    def num_groups(self) -> int:
        return self.batch_size // self.group_size

    @property
    def peak_lr(self) -> float:
        """The learning rate after warm-up (Appendix A.1)."""
        return self.lr * (math.sqrt(self.batch_size / 2048) if self.optimizer.lr_rule == "sqrt" else 1.0)


def method_for(recipe: Recipe, name: str) -> Any:
    """The method of that name, a key of METHODS, with the recipe's cross-entropy, binary or softmax."""
    default = METHODS[name]()
    return replace(default, loss=default.loss.replace(default.targets, recipe.method.targets, 1))
