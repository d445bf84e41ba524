"""Where images come from: the sources, and how each is read."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field
from tyro.conf import Fixed, FlagConversionOff, Suppress

from cosub.recipes.ranges import NonNegativeInt, OpenShare, Strict, require


@dataclass(frozen=True)
class DataPath:
    path: str = ""
    """Where the data of a run lie now; by default where the run found them."""


@dataclass(frozen=True)
class Sampled(Strict):
    """Fewer images than a source has, and images held out of its training set, on which choices are made."""

    PREFIX = "data."

    train_images: NonNegativeInt = 0
    """Train on so many of the training images; 0: all that are not held out."""
    validation_images: NonNegativeInt = 0
    """Hold so many training images out as a validation set, always the same; the test set then chooses
    nothing."""
    subset_seed: int = 0
    """Which training images are taken, where not all are."""


@dataclass(frozen=True)
class Digits(Sampled):
    """scikit-learn's 1,797 handwritten digits of 8x8 pixels: real, embedded, offline."""

    kind: Fixed[Suppress[Literal["digits"]]] = "digits"
    test_share: OpenShare = 0.2
    """Share of the images in the stratified test split."""
    split_seed: int = 0
    """Which images are held out."""


@dataclass(frozen=True)
class Pictures(Strict):
    """Images from files: what is made of their pixels."""

    PREFIX = "data."

    range: Literal["type", "auto"] | tuple[float, float] = "type"
    """Which values become black and white in grey images of more than 8 bits: two numbers; the range of their type
    (65535 is white); or auto, the least and the largest of the training images, which the run then keeps."""
    pixels: Fixed[Suppress[Literal[1, 2]]] = 2
    """The rules by which pixels are read. 1: Pillow's, as before there was this value: more than 8 bits are clipped,
    alpha is dropped. 2: `range`; transparent is white; what is over 16 times as long as wide is cut to that."""

    def __post_init__(self) -> None:
        super().__post_init__()
        ordered = not isinstance(self.range, tuple) or self.range[0] < self.range[1]
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


@dataclass(frozen=True)
class Folder(Photographs):
    """A folder of images: PATH/train/CLASS/*.jpg and PATH/val/CLASS/*.jpg, or PATH/CLASS/*.jpg."""

    kind: Fixed[Suppress[Literal["folder"]]] = "folder"
    path: str = ""
    """The folder."""
    val_share: OpenShare = 0.1
    """Share of the images, by class, held out for evaluation where the folder has no val, validation or test."""
    split_seed: int = 0
    """Which images are held out."""
    reading: Fixed[Suppress[Literal[1, 2]]] = 2
    """The rules by which a folder is read. 1: those before there was this value, for runs begun under them.
    2: usual names of splits in any case, links followed, files of the system and of runs skipped."""


@dataclass(frozen=True)
class Table(Photographs):
    """Images listed in a CSV file with columns path and label and, where wanted, split and group."""

    kind: Fixed[Suppress[Literal["table"]]] = "table"
    path: str = ""
    """The file. Paths in it are absolute, or from its own folder. Images of one group are never in two splits."""
    val_share: OpenShare = 0.1
    """Share of the images, by class, held out for evaluation where the table has no validation or test."""
    split_seed: int = 0
    """Which images are held out."""


@dataclass(frozen=True)
class Hub(Photographs):
    """The layout of image sets on the Hugging Face Hub: Parquet files in a folder, or a name."""

    kind: Fixed[Suppress[Literal["hub"]]] = "hub"
    path: str = ""
    """A folder of Parquet files named SPLIT-*.parquet, or a data set's name on the Hub."""
    train_split: str = "train"
    """Name of the split to train on."""
    test_split: str = "test"
    """Name of the split to evaluate on."""


@dataclass(frozen=True)
class Shards(Photographs):
    """webdataset's layout: tar files PATH/*SPLIT*.tar or PATH/SPLIT/*.tar, each image with its .cls or .json."""

    kind: Fixed[Suppress[Literal["shards"]]] = "shards"
    path: str = ""
    """The folder. Its _info.json (timm's) or sizes.json says how many images the shards hold."""
    train_split: str = "train"
    """Name of the split to train on."""
    test_split: str = "validation"
    """Name of the split to evaluate on."""
    length: NonNegativeInt = 0
    """Training images, where no file in the folder says how many."""
    test_length: NonNegativeInt = 0
    """Test images, likewise."""
    index: str = ""
    """A file (.npz) that keeps where each image lies, so that the next start need not read through the shards."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.index == "" or self.index.endswith(".npz"), "data.index", self.index, "must end in .npz")


@dataclass(frozen=True)
class INaturalist(Photographs):
    """iNaturalist 2018 or 2019 from its JSON: PATH/trainYEAR.json, PATH/valYEAR.json, and the images they name."""

    kind: Fixed[Suppress[Literal["inaturalist"]]] = "inaturalist"
    path: str = ""
    """The folder."""
    year: Literal[2018, 2019] = 2018
    """The edition: its files and its number of classes."""


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
    num_classes: Annotated[int, Field(ge=2, le=254)] = 150
    """Where the folder has no classes.txt that names them."""
    reading: Fixed[Suppress[Literal[1, 2]]] = 2
    """The rules by which a folder is read. 1: those before there was this value, for runs begun under them.
    2: links followed, hidden files and those of the system skipped."""


DataConfig = Annotated[
    Digits | Folder | Table | Hub | Shards | INaturalist | Torchvision | Scenes, Field(discriminator="kind")
]
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
