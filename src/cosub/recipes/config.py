"""A run's configuration: frozen, typed, complete before anything is built. No torch here.

Every member of a union carries its `kind`, so that a recipe read from a file is never taken for another.
"""

import math
import re
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field
from tyro.conf import Fixed, FlagConversionOff, Suppress, arg

from cosub.choices import (
    Answer,
    Checkpointing,
    Choose,
    Compile,
    CosubKind,
    Crop,
    DecayRule,
    HeadStart,
    Interpolation,
    LabelLoss,
    NonFinite,
    OptimizerName,
    Parallel,
    Precision,
    RateDecay,
    RateRule,
    Rounding,
    Schedule,
)
from cosub.errors import InputError


class Strict:
    """Read from JSON: no conversion of types, no unknown key, no infinity."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


def require(condition: bool, name: str, value: object, remedy: str) -> None:
    if not condition:
        raise InputError(f"{name}: {value!r}: {remedy}")


def _require_finite(value: Any, prefix: str = "") -> None:
    for item in fields(value):
        inner = getattr(value, item.name)
        if is_dataclass(inner):
            _require_finite(inner, f"{item.name}.")
        elif isinstance(inner, float):
            require(math.isfinite(inner), prefix + item.name, inner, "must be a finite number")


# --- methods


@dataclass(frozen=True)
class Supervised(Strict):
    """Figure 2 (a): cross-entropy with the label, one submodel an image (stochastic depth)."""

    kind: Fixed[Suppress[Literal["supervised"]]] = "supervised"
    loss: LabelLoss = "bce"
    """Binary or softmax cross-entropy."""

    @property
    def targets(self) -> LabelLoss:
        return self.loss


class Taught(Strict):
    """What methods with another teacher than the label share: the label's share in the loss, and a kind of it."""

    weight: float
    loss: CosubKind

    def __post_init__(self) -> None:
        require(0 <= self.weight <= 1, "weight", self.weight, "must be in [0, 1]")

    @property
    def targets(self) -> LabelLoss:
        return "bce" if self.loss.startswith("bce") else "ce"


@dataclass(frozen=True)
class Cosub(Taught):
    """Submodel co-training, equation 2: two submodels an image, each teaches the other."""

    kind: Fixed[Suppress[Literal["cosub"]]] = "cosub"
    weight: float = 0.5
    """The label's share in the loss, the paper's lambda (Table 5)."""
    loss: CosubKind = "bce-soft"
    """Binary or softmax cross-entropy, and the other's answer soft or hard (Table 3)."""


@dataclass(frozen=True)
class Distill(Taught):
    """Figure 2 (b): the label, and the answer of a frozen teacher to the same augmented image."""

    kind: Fixed[Suppress[Literal["distill"]]] = "distill"
    teacher: str = ""
    """A finished run's folder, an exported one, hf-hub:OWNER/NAME, or a name of timm's: regnety_160.deit_in1k."""
    weight: float = 0.5
    """The label's share in the loss."""
    loss: CosubKind = "bce-hard"
    """Binary or softmax cross-entropy, and the teacher's answer soft or hard."""


@dataclass(frozen=True)
class MeanTeacher(Taught):
    """Figure 2 (c): the label, and the answer of the network with averaged weights."""

    kind: Fixed[Suppress[Literal["mean-teacher"]]] = "mean-teacher"
    momentum: float = 0.999
    """Share of the averaged weights that a step keeps. The paper's values, from a small search, are not published."""
    weight: float = 0.5
    """The label's share in the loss."""
    loss: CosubKind = "bce-soft"
    """Binary or softmax cross-entropy, and the teacher's answer soft or hard."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0 <= self.momentum < 1, "momentum", self.momentum, "must be in [0, 1)")


@dataclass(frozen=True)
class Cotrain(Taught):
    """Figure 2 (d): two networks teach each other; the first one is what comes out."""

    kind: Fixed[Suppress[Literal["cotrain"]]] = "cotrain"
    weight: float = 0.5
    """The label's share in the loss."""
    loss: CosubKind = "bce-soft"
    """Binary or softmax cross-entropy, and the other's answer soft or hard."""


@dataclass(frozen=True)
class CosubDistill(Taught):
    """Table 4's last row: submodel co-training, and a frozen teacher for both submodels."""

    kind: Fixed[Suppress[Literal["cosub-distill"]]] = "cosub-distill"
    teacher: str = ""
    """A finished run's folder, an exported one, hf-hub:OWNER/NAME, or a name of timm's: regnety_160.deit_in1k."""
    weight: float = 0.25
    """The label's share in the loss."""
    teacher_weight: float = 0.25
    """The teacher's share; what is left is the other submodel's."""
    loss: CosubKind = "bce-soft"
    """Binary or softmax cross-entropy, and the other submodel's answer soft or hard."""
    teacher_answer: Answer = "hard"

    def __post_init__(self) -> None:
        super().__post_init__()
        left = 1 - self.weight
        require(0 <= self.teacher_weight <= left, "teacher_weight", self.teacher_weight, f"must be in [0, {left:g}]")


# --- data


@dataclass(frozen=True)
class Sampled(Strict):
    """Fewer images than a source has, and images held out of its training set, on which choices are made."""

    train_images: int = 0
    """Train on so many of the training images; 0: all that are not held out."""
    validation_images: int = 0
    """Hold so many training images out as a validation set, always the same; test images then choose nothing."""
    subset_seed: int = 0
    """Which training images are taken, where not all are."""

    def __post_init__(self) -> None:
        for name in ("train_images", "validation_images"):
            require(getattr(self, name) >= 0, f"data.{name}", getattr(self, name), "must be 0 or more")


@dataclass(frozen=True)
class Digits(Sampled):
    """scikit-learn's 1,797 handwritten digits of 8x8 pixels: real, embedded, offline."""

    kind: Fixed[Suppress[Literal["digits"]]] = "digits"
    test_share: float = 0.2
    """Share of the images in the stratified test split."""
    split_seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0 < self.test_share < 1, "data.test_share", self.test_share, "must be in (0, 1)")


@dataclass(frozen=True)
class Pictures(Strict):
    """Images from files: what is made of their pixels."""

    range: Literal["type", "auto"] | tuple[float, float] = "type"
    """Which values become black and white in grey images of more than 8 bits: two numbers; the range of their type
    (65535 is white); or auto, the least and the largest of the training images, which the run then keeps."""
    pixels: Fixed[Suppress[Literal[1, 2]]] = 2
    """The rules by which pixels are read. 1: Pillow's, as before there was this value: more than 8 bits are clipped,
    alpha is dropped. 2: `range`; transparent is white; what is over 16 times as long as wide is cut to that."""

    def _check_pixels(self) -> None:
        if isinstance(self.range, tuple):
            low, high = self.range
            ordered = math.isfinite(low) and math.isfinite(high) and low < high
            require(ordered, "data.range", self.range, "must be two numbers, the lower one first")
        remedy = "is not for a run or recipe from before there was this value; begin anew from a recipe's name"
        for name, before in (("range", "type"), ("orientation", False)):
            value = getattr(self, name, before)
            require(self.pixels == 2 or value == before, f"data.{name}", value, remedy)


@dataclass(frozen=True)
class Photographs(Sampled, Pictures):
    """Images with one class each."""

    orientation: FlagConversionOff[bool] = False
    """Turn images as their EXIF says. The paper's recipes do not, as torchvision does not."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_pixels()


@dataclass(frozen=True)
class Folder(Photographs):
    """A folder of images: PATH/train/CLASS/*.jpg and PATH/val/CLASS/*.jpg, or PATH/CLASS/*.jpg."""

    kind: Fixed[Suppress[Literal["folder"]]] = "folder"
    path: str = ""
    """The folder."""
    val_share: float = 0.1
    """Share of the images, by class, held out for evaluation where the folder has no val, validation or test."""
    split_seed: int = 0
    reading: Fixed[Suppress[Literal[1, 2]]] = 2
    """The rules by which a folder is read. 1: those before there was this value, for runs begun under them.
    2: usual names of splits in any case, links followed, files of systems and runs passed over."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0 < self.val_share < 1, "data.val_share", self.val_share, "must be in (0, 1)")


@dataclass(frozen=True)
class Table(Photographs):
    """Images listed in a CSV file with columns path and label and, where wanted, split and group."""

    kind: Fixed[Suppress[Literal["table"]]] = "table"
    path: str = ""
    """The file. Paths in it are absolute, or from its own folder. Images of one group are never in two splits."""
    val_share: float = 0.1
    """Share of the images, by class, held out for evaluation where the table has no validation or test."""
    split_seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0 < self.val_share < 1, "data.val_share", self.val_share, "must be in (0, 1)")


@dataclass(frozen=True)
class Hub(Photographs):
    """The layout of image sets on the Hugging Face Hub: Parquet files in a folder, or a name."""

    kind: Fixed[Suppress[Literal["hub"]]] = "hub"
    path: str = ""
    """A folder of Parquet files named SPLIT-*.parquet, or a data set's name on the Hub."""
    train_split: str = "train"
    test_split: str = "test"


@dataclass(frozen=True)
class Shards(Photographs):
    """webdataset's layout: tar files PATH/*SPLIT*.tar or PATH/SPLIT/*.tar, each image with its .cls or .json."""

    kind: Fixed[Suppress[Literal["shards"]]] = "shards"
    path: str = ""
    """The folder. Its _info.json (timm's) or sizes.json says how many images the shards hold."""
    train_split: str = "train"
    test_split: str = "validation"
    length: int = 0
    """Training images, where no file in the folder says how many."""
    test_length: int = 0
    """Test images, likewise."""
    index: str = ""
    """A file (.npz) that keeps where each image lies, so that the next start need not read through the shards."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("length", "test_length"):
            require(getattr(self, name) >= 0, f"data.{name}", getattr(self, name), "must be 0 or more")
        require(self.index == "" or self.index.endswith(".npz"), "data.index", self.index, "must end in .npz")


@dataclass(frozen=True)
class INaturalist(Photographs):
    """iNaturalist 2018 or 2019 from its JSON: PATH/trainYEAR.json, PATH/valYEAR.json, and the images they name."""

    kind: Fixed[Suppress[Literal["inaturalist"]]] = "inaturalist"
    path: str = ""
    """The folder."""
    year: Literal[2018, 2019] = 2018


@dataclass(frozen=True)
class Torchvision(Photographs):
    """Files as torchvision leaves them on disk. Nothing is downloaded."""

    kind: Fixed[Suppress[Literal["torchvision"]]] = "torchvision"
    path: str = ""
    """torchvision's root: it holds cifar-10-batches-bin, cifar-100-binary, flowers-102 or stanford_cars."""
    name: Literal["cifar10", "cifar100", "flowers102", "cars"] = "cifar10"
    """Flowers' training and validation images are trained on together, as in the paper (Table A.2)."""


@dataclass(frozen=True)
class Scenes(Pictures):
    """Images with a class for every pixel: ADE20K's folders, or the Hub's layout with images and annotations.

    Annotations are images of one channel. 0 (and 255) is ignored; 1 and up are the classes.
    """

    kind: Fixed[Suppress[Literal["scenes"]]] = "scenes"
    path: str = ""
    """A folder with images/training/*.jpg, annotations/training/*.png, and the same for validation; or a folder of
    Parquet files named SPLIT-*.parquet with columns image and annotation, or such a data set's name on the Hub."""
    num_classes: int = 150
    """Where the folder has no classes.txt that names them."""
    reading: Fixed[Suppress[Literal[1, 2]]] = 2
    """The rules by which a folder is read. 1: those before there was this value, for runs begun under them.
    2: links followed, hidden files and those of systems passed over."""

    def __post_init__(self) -> None:
        self._check_pixels()
        require(2 <= self.num_classes < 255, "data.num_classes", self.num_classes, "must be in [2, 254]")


# --- tasks


@dataclass(frozen=True)
class Classification(Strict):
    """A class for every image."""

    kind: Fixed[Suppress[Literal["classification"]]] = "classification"


@dataclass(frozen=True)
class Segmentation(Strict):
    """A class for every pixel, by UperNet on the recipe's model (Table 13). `resolution` is the size of a crop."""

    kind: Fixed[Suppress[Literal["segmentation"]]] = "segmentation"
    width: int = 512
    """Channels of the decoder. Table 13 has 384 for ViT-S."""
    short_side: int = 512
    """Pixels that an image's shorter side is resized to, its longer side to four times as much at most."""
    min_scale: float = 0.5
    """A training image is then scaled by a factor drawn between this one ..."""
    max_scale: float = 2.0
    """... and this one."""
    max_share: float = 0.75
    """Largest share of a class among a crop's labelled pixels; after ten crops that have more, the next is taken."""
    flip: float = 0.5
    """Probability of a horizontal flip."""
    distort: float = 0.5
    """Probability of each photometric change: brightness, contrast, saturation, hue."""

    def __post_init__(self) -> None:
        for name in ("width", "short_side"):
            require(getattr(self, name) >= 1, f"task.{name}", getattr(self, name), "must be 1 or more")
        for name in ("flip", "distort"):
            require(0 <= getattr(self, name) <= 1, f"task.{name}", getattr(self, name), "must be in [0, 1]")
        require(0 < self.max_share <= 1, "task.max_share", self.max_share, "must be in (0, 1]")
        require(self.min_scale > 0, "task.min_scale", self.min_scale, "must be positive")
        at_least = f"must be {self.min_scale:g} or more"
        require(self.max_scale >= self.min_scale, "task.max_scale", self.max_scale, at_least)


# --- training


@dataclass(frozen=True)
class Augment(Strict):
    """How a training image is changed, and how images of one group are mixed."""

    crop: Crop = "random-resized"
    """Random-resized crop; simple random crop (resize, pad, crop); or none but a centre crop."""
    min_area: float = 0.08
    """Smallest area of a random-resized crop, as a share of the image."""
    flip: float = 0.5
    """Probability of a horizontal flip."""
    policy: str = "3a"
    """timm's auto-augment string: 3a (3-Augment), rand-m9-mstd0.5-inc1 (RandAugment), ...; empty for none."""
    jitter: float = 0.3
    """Strength of colour jitter (brightness, contrast, saturation); it acts with 3-Augment or without a policy."""
    mixup: float = 0.0
    """Parameter of the Beta distribution of mixup; 0 turns it off."""
    cutmix: float = 0.0
    """Parameter of the Beta distribution of CutMix; 0 turns it off. With both on, each is used half of the time."""
    mix_probability: float = 1.0
    """Share of the groups that are mixed."""
    smoothing: float = 0.0
    """Label smoothing, for softmax cross-entropy only."""
    repeats: int = 1
    """Repeated augmentation: how often an image comes in an epoch, each time changed anew. An epoch keeps its length,
    and so sees a share 1 / repeats of the images (DeiT: 3)."""

    def __post_init__(self) -> None:
        require(0 < self.min_area <= 1, "augment.min_area", self.min_area, "must be in (0, 1]")
        for name in ("flip", "mix_probability"):
            require(0 <= getattr(self, name) <= 1, f"augment.{name}", getattr(self, name), "must be in [0, 1]")
        for name in ("jitter", "mixup", "cutmix"):
            require(getattr(self, name) >= 0, f"augment.{name}", getattr(self, name), "must be 0 or more")
        require(0 <= self.smoothing < 1, "augment.smoothing", self.smoothing, "must be in [0, 1)")
        require(self.repeats >= 1, "augment.repeats", self.repeats, "must be 1 or more")


@dataclass(frozen=True)
class Inputs(Strict):
    """What the network expects of an image. A run that starts from weights takes theirs, unless they are given."""

    crop_ratio: float = 1.0
    """Share of the shorter side that the centre crop of an evaluation keeps; the paper's is 1."""
    interpolation: Interpolation = "bicubic"
    """How images are resized."""
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    """Subtracted from red, green and blue in [0, 1]; ImageNet's."""
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    """What the difference is divided by; ImageNet's."""

    def __post_init__(self) -> None:
        require(0 < self.crop_ratio <= 1, "crop_ratio", self.crop_ratio, "must be in (0, 1]")
        finite = all(math.isfinite(value) for value in (*self.mean, *self.std))
        require(finite, "mean, std", (self.mean, self.std), "must be finite numbers")
        require(min(self.std) > 0, "std", self.std, "must be positive")


@dataclass(frozen=True)
class Optimizer(Strict):
    """Optimizer and learning-rate schedule: linear warm-up, then the decay, both functions of the step."""

    name: OptimizerName = "adamw"
    weight_decay: float = 0.02
    """Not applied to biases, norms, position embeddings and class tokens."""
    lr_rule: RateRule = "sqrt"
    """sqrt: lr is meant for a batch of 2048 and multiplied by sqrt(batch_size / 2048) (Appendix A.1)."""
    decay: RateDecay = "cosine"
    """From the peak to min_lr: half a cosine, or a line (a polynomial of power 1)."""
    warmup_epochs: float = 5.0
    warmup_lr: float = 1e-6
    min_lr: float = 1e-5
    clip: float = 1.0
    """Largest norm of the gradient; 0 turns clipping off."""
    layer_decay: float = 1.0
    """Factor of the learning rate from each block to the one before it; 1: the same rate everywhere (Table 10)."""
    layer_decay_rule: DecayRule = "paper"
    """paper: the last block and the head have the full rate (Appendix A.1); timm: the last block is decayed once."""

    def __post_init__(self) -> None:
        require(0 < self.layer_decay <= 1, "optimizer.layer_decay", self.layer_decay, "must be in (0, 1]")
        for name in ("weight_decay", "warmup_epochs", "warmup_lr", "min_lr", "clip"):
            require(getattr(self, name) >= 0, f"optimizer.{name}", getattr(self, name), "must be 0 or more")


@dataclass(frozen=True)
class Runtime(Strict):
    """What does not change results: where, on what, how much is said. Not part of the recipe's identity."""

    out: str = ""
    """The run's folder; by default out/RECIPE-METHOD-SEED."""
    workers: int = 0
    """Processes that load images, for each training process; 0 loads in the training process."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    micro_steps: int = 1
    """Parts in which each process handles its share of a batch, to save memory."""
    checkpoint_every: int = 0
    """Steps between checkpoints; 0: at the end of an epoch, if a minute has gone by."""
    evaluate_every: int = 0
    """Epochs between evaluations; 0: about ten in a run."""
    evaluate_training: bool = False
    """Evaluations measure the images that were trained on as well, unchanged: over-fitting."""
    keep_checkpoints: int = 2
    compile: Compile = "auto"
    """Compile each block on its own; auto: on a GPU where the steps save more time than compiling takes, and uncompiled
    with a word where that fails."""
    checkpointing: Checkpointing = "none"
    """What is computed again in backward to save memory: nothing, results of norms and GELU (lean), all but matrix
    products and attention (selective), or whole blocks."""
    parallel: Parallel = "ddp"
    """With several processes: each holds the whole network (ddp), or a share of every layer (fsdp, FSDP2)."""
    timeout: int = 600
    """Seconds that a process waits for the others before the run ends."""
    deterministic: bool = False
    """On a GPU: only deterministic kernels, so that a continued run is equal to the bit."""

    def __post_init__(self) -> None:
        for name, least in (
            ("workers", 0),
            ("micro_steps", 1),
            ("checkpoint_every", 0),
            ("evaluate_every", 0),
            ("keep_checkpoints", 1),
            ("timeout", 1),
        ):
            value = getattr(self, name)
            require(value >= least, name, value, f"must be {least} or more")


MethodConfig = Annotated[
    Supervised | Distill | MeanTeacher | Cotrain | Cosub | CosubDistill, Field(discriminator="kind")
]
DataConfig = Annotated[
    Digits | Folder | Table | Hub | Shards | INaturalist | Torchvision | Scenes, Field(discriminator="kind")
]
TaskConfig = Annotated[Classification | Segmentation, Field(discriminator="kind")]


@dataclass(frozen=True)
class Recipe(Strict):
    """Everything that a run is a function of, and its seed."""

    name: Fixed[Suppress[str]]
    model: str
    """A timm model of a supported family."""
    model_args: Suppress[dict[str, int | float | bool | str | tuple[int, ...]]] = field(default_factory=dict)
    """Arguments of the timm model. Cleared when another --model is named."""
    weights: str = ""
    """Start from these weights: a file, a run's folder or one of timm's, a name of timm's, or hf-hub:OWNER/NAME; empty:
    from scratch. Read once, when the run begins; the words, not the file's content, are part of what the run is."""
    head: HeadStart = "model"
    """How a classifier that the weights do not have starts: as timm starts the model's, or at zero."""
    resolution: int = 224
    """Height and width of the images that the network sees, in pixels."""
    choose: Choose = "last"
    """Which weights the run gives: the last step's, or the best epoch's on validation images, which are then held out
    of the training images where the data have none."""
    classes: int = 0
    """Classes that the data must have; 0: as many as they have."""
    kept_layers: Fixed[Suppress[tuple[int, ...]]] = ()
    """Residual layers of the model that a slimmed network has, by their index in the full one; empty: all of them."""
    kept_scale: Fixed[Suppress[float]] = 1.0
    """Factor of every residual branch of a slimmed network, chosen by calibration."""
    method: Annotated[MethodConfig, arg(name="")] = field(default_factory=Cosub)
    drop_rate: float = 0.1
    """The paper's tau: share of the rows that skip a residual layer."""
    schedule: Schedule = "uniform"
    """The drop rate over depth: the same in all layers (the paper), or growing linearly from 0 (timm)."""
    rounding: Rounding = "nearest"
    """How the rows kept become a whole number; ceil is equation C.1 as printed; spread rounds up in some layers and
    down in others; bernoulli keeps each row by chance, as before the paper: shapes then change from step to step."""
    epochs: int = 100
    batch_size: int = 256
    """Distinct images an optimizer step, over all processes and micro-steps."""
    group_size: int = 64
    """Images whose submodels and mixing are drawn together: the grain of the drop rate, whatever the hardware."""
    lr: float = 1e-3
    """Peak learning rate, at a batch of 2048 under the square-root rule."""
    seed: int = 0
    data: DataConfig = field(default_factory=Digits)
    task: TaskConfig = field(default_factory=Classification)
    augment: Augment = field(default_factory=Augment)
    inputs: Annotated[Inputs, arg(name="")] = field(default_factory=Inputs)
    optimizer: Optimizer = field(default_factory=Optimizer)
    ema: float = 0.0
    """Decay of the averaged weights; when set, they are what is evaluated and saved as the model."""
    precision: Precision = "auto"
    """auto: bf16 on a GPU that has it, fp32 elsewhere."""
    non_finite: NonFinite = "stop"
    """A step whose loss or gradient is not finite ends the run, or is skipped: no update, counted and named. To skip,
    the loop reads the loss after each step, and so waits for a GPU; at the tenth in a row the run ends."""
    bad_share: float = 0.01
    """Share of images that may be unreadable before the run ends; below it they are counted and named."""
    runtime: Annotated[Runtime, arg(name="")] = field(default_factory=Runtime)

    def __post_init__(self) -> None:
        _require_finite(self)
        require(bool(re.fullmatch(r"[\w.-]+", self.name)), "name", self.name, "letters, digits, '.', '_', '-' only")
        require(0 <= self.drop_rate < 1, "drop_rate", self.drop_rate, "must be in [0, 1)")
        require(
            self.classes == 0 or self.classes >= 2, "classes", self.classes, "must be 2 or more, or 0 for any number"
        )
        ordered = list(self.kept_layers) == sorted({layer for layer in self.kept_layers if layer >= 0})
        require(ordered, "kept_layers", self.kept_layers, "must be indices from 0, ascending, each once")
        require(self.kept_scale > 0, "kept_scale", self.kept_scale, "must be positive")
        for name in ("resolution", "epochs", "batch_size", "group_size"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "must be 1 or more")
        require(self.lr > 0 and math.isfinite(self.lr), "lr", self.lr, "must be positive")
        require(0 <= self.ema < 1, "ema", self.ema, "must be in [0, 1)")
        require(0 <= self.bad_share <= 1, "bad_share", self.bad_share, "must be in [0, 1]")
        require(-(2**63) <= self.seed < 2**63, "seed", self.seed, "must fit in 64 bits")
        if self.batch_size % self.group_size:
            near = max(self.batch_size // self.group_size, 1) * self.group_size
            raise InputError(
                f"batch_size: {self.batch_size}: must be a multiple of group_size {self.group_size}, e.g. {near}"
            )
        self._check_task()
        if self.augment.smoothing and self.method.targets == "bce":
            raise InputError(
                f"augment.smoothing: {self.augment.smoothing}: binary targets cannot be smoothed, "
                "set it to 0 or take a loss that begins with ce"
            )

    def _check_task(self) -> None:
        """That data, method and augmentation are those of the task."""
        dense = isinstance(self.task, Segmentation)
        if dense != isinstance(self.data, Scenes):
            remedy = "scenes" if dense else "another, or a recipe for segmentation, e.g. camvid"
            raise InputError(f"source: {self.data.kind!r}: is not for {self.task.kind}; take {remedy}")
        if dense:
            known = isinstance(self.method, Supervised | Cosub)
            require(known, "method", self.method.kind, "segmentation has supervised and cosub; take one of them")
            require(self.choose == "last", "choose", self.choose, "segmentation chooses by no images; take last")
            require(self.augment == Augment(), "augment", "changed", "is for classification; set task.* instead")

    @property
    def num_groups(self) -> int:
        return self.batch_size // self.group_size

    @property
    def peak_lr(self) -> float:
        """The learning rate after warm-up (Appendix A.1)."""
        return self.lr * (math.sqrt(self.batch_size / 2048) if self.optimizer.lr_rule == "sqrt" else 1.0)


METHODS: dict[str, type[Any]] = {
    "supervised": Supervised,
    "distill": Distill,
    "mean-teacher": MeanTeacher,
    "cotrain": Cotrain,
    "cosub": Cosub,
    "cosub-distill": CosubDistill,
}
SOURCES: dict[str, type[Any]] = {
    "digits": Digits,
    "folder": Folder,
    "table": Table,
    "hub": Hub,
    "shards": Shards,
    "inaturalist": INaturalist,
    "torchvision": Torchvision,
    "scenes": Scenes,
}
TASKS: dict[str, type[Any]] = {"classification": Classification, "segmentation": Segmentation}


def method_for(recipe: Recipe, name: str) -> Any:
    """The method of that name, a key of METHODS, with binary or softmax cross-entropy as the recipe's own."""
    default = METHODS[name]()
    return replace(default, loss=default.loss.replace(default.targets, recipe.method.targets, 1))
