"""Where images come from: the sources, and how each is read."""

import os
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Literal, Self, get_args

from pydantic import Field
from tyro.conf import Fixed, FlagConversionOff, Suppress

from cosub.choices import Range
from cosub.recipes.ranges import NonNegativeInt, OpenShare, Strict, require


@dataclass(frozen=True)
class DataPath:
    path: str = ""
    """Where the run's data are now; by default where they were in training."""


class Data(Strict):
    """What is known of a source before it is opened."""

    PREFIX = "data."
    TASK: ClassVar[str] = "classification"
    """Kind of the task that its labels are for."""
    EMBEDDED: ClassVar[bool] = False
    """Whether the images come with a library: there is no `path`."""
    CLASS_FOLDERS: ClassVar[bool] = False
    """Whether `path` holds a folder of image files for each class, which `check-data` can list in a table."""
    PATH_IS_FILE: ClassVar[bool] = False
    """Whether `path` is a file that lists images, and not a folder."""
    PACKED: ClassVar[bool] = False
    """Whether images may lie inside other files, such as Parquet or tar files."""
    on_device: bool = False
    """A field of those whose images may lie on the device."""
    orientation: bool = False
    """A field of those whose images may be rotated as their EXIF tag says."""

    @property
    def place(self) -> str:
        """The path; empty where there is none."""
        return getattr(self, "path", "")

    @property
    def is_here(self) -> bool:
        """Whether the images can be opened on this machine; those of a name on the Hub are not here."""
        return self.EMBEDDED or os.path.exists(os.path.expanduser(self.place))

    def at(self, path: str) -> Self:
        """The same data at another path, where one is named and they have any."""
        return self

    def turned(self, orientation: bool) -> Self:
        """The same data, with images rotated as their EXIF tag says, or not, where that can be chosen."""
        return self


@dataclass(frozen=True)
class Sampled(Data):
    """A subset of a source's training images, and a validation set held out of them."""

    train_images: NonNegativeInt = 0
    """Number of training images to use; 0: all that are not held out."""
    validation_images: NonNegativeInt = 0
    """Number of training images to hold out as a validation set, always the same ones. The test set is then not used
    for model selection."""
    subset_seed: int = 0
    """Seed of the choice of training images, where not all are used."""
    balanced: bool = False
    """Choose as many training images of each class."""
    on_device: bool = False
    """Keep all training images on the device, and augment them there in batches: for small square images, at
    --augment.crop simple or center, with 3-Augment or no policy."""


@dataclass(frozen=True)
class Digits(Sampled):
    """scikit-learn's 1,797 handwritten digits of 8x8 pixels: real, embedded, offline."""

    EMBEDDED = True

    kind: Fixed[Suppress[Literal["digits"]]] = "digits"
    test_share: OpenShare = 0.2
    """Share of the images in the stratified test split."""
    split_seed: int = 0
    """Which images are held out."""


@dataclass(frozen=True)
class Pictures(Data):
    """Images from files, and how their pixels are read."""

    CROP_LONG: ClassVar[bool] = True
    """Whether an image over 16 times as long as wide is cropped: not where an annotation lies on it."""

    range: Range = "type"
    """Values that become black and white in grey images of more than 8 bits: two numbers; type, the range of their data
    type (65535 is white); or auto, minimum and maximum over the training images, which the run then keeps."""
    pixels: Fixed[Suppress[Literal[1, 2]]] = 2
    """Version of the rules for reading pixels. 1, of runs from before this field: Pillow's conversion, which clips more
    than 8 bits and drops alpha. 2: `range`; transparency becomes white; what is over 16 times as long as wide is
    cropped to that."""

    def at(self, path: str) -> Self:
        return replace(self, path=path) if path else self

    def __post_init__(self) -> None:
        super().__post_init__()
        ordered = not isinstance(self.range, tuple) or self.range[0] < self.range[1]
        require(ordered, "data.range", self.range, "must be two numbers, the lower one first")
        remedy = "cannot be set for a run or recipe file from before this option; start from a recipe's name"
        for name, before in (("range", "type"), ("orientation", False)):
            value = getattr(self, name, before)
            require(self.pixels == 2 or value == before, f"data.{name}", value, remedy)


@dataclass(frozen=True)
class Photographs(Sampled, Pictures):
    """Images with one class each."""

    orientation: FlagConversionOff[bool] = False
    """Rotate images as their EXIF tag says. The paper's recipes do not, as torchvision does not."""

    def turned(self, orientation: bool) -> Self:
        return replace(self, orientation=orientation)


@dataclass(frozen=True)
class Folder(Photographs):
    """A folder of images: PATH/train/CLASS/*.jpg and PATH/val/CLASS/*.jpg, or PATH/CLASS/*.jpg."""

    CLASS_FOLDERS = True

    kind: Fixed[Suppress[Literal["folder"]]] = "folder"
    path: str = ""
    """The folder."""
    val_share: OpenShare = 0.1
    """Share of each class held out for evaluation where the folder has no val, validation or test."""
    split_seed: int = 0
    """Which images are held out."""
    reading: Fixed[Suppress[Literal[1, 2, 3]]] = 3
    """Version of the rules for reading a folder. 1: of runs from before this field. 2: usual names of splits in any
    case, links followed, files of the system and of runs skipped. 3: validation images without classes refused."""


@dataclass(frozen=True)
class Table(Photographs):
    """Images listed in a CSV file with columns path and label, and optionally split and group."""

    PATH_IS_FILE = True

    kind: Fixed[Suppress[Literal["table"]]] = "table"
    path: str = ""
    """The file. Its paths are absolute, or relative to its folder. Images of one group are never in two splits."""
    val_share: OpenShare = 0.1
    """Share of each class held out for evaluation where the table has no validation or test."""
    split_seed: int = 0
    """Which images are held out."""


@dataclass(frozen=True)
class Hub(Photographs):
    """The layout of image sets on the Hugging Face Hub: Parquet files in a folder, or a name."""

    PACKED = True

    kind: Fixed[Suppress[Literal["hub"]]] = "hub"
    path: str = ""
    """A folder of Parquet files named SPLIT-*.parquet, or a data set's name on the Hub."""
    train_split: str = "train"
    """Name of the split to train on."""
    test_split: str = "test"
    """Name of the split to evaluate on."""
    splits: Fixed[Suppress[Literal[1, 2]]] = 2
    """Version of the rules for reading splits. 1, of runs from before this field: those two. 2: validation, too."""


@dataclass(frozen=True)
class Shards(Photographs):
    """webdataset's layout: tar files PATH/*SPLIT*.tar or PATH/SPLIT/*.tar, each image with its .cls or .json."""

    PACKED = True

    kind: Fixed[Suppress[Literal["shards"]]] = "shards"
    path: str = ""
    """The folder. Its _info.json (timm's) or sizes.json states the number of images in each shard."""
    train_split: str = "train"
    """Name of the split to train on."""
    test_split: str = "validation"
    """Name of the split to evaluate on."""
    length: NonNegativeInt = 0
    """Number of training images, where no file in the folder states it."""
    test_length: NonNegativeInt = 0
    """Number of test images, likewise."""
    index: str = ""
    """A file (.npz) for the index of the shards, so that the next start need not scan them."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.index == "" or self.index.endswith(".npz"), "data.index", self.index, "must end in .npz")

    def at(self, path: str) -> Self:
        """The index is of the shards at one path, and would be written over with that of others."""
        moved = path and self.path not in ("", path)
        return replace(super().at(path), index="") if moved else super().at(path)


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

    PACKED = True

    kind: Fixed[Suppress[Literal["torchvision"]]] = "torchvision"
    path: str = ""
    """torchvision's root: it holds cifar-10-batches-bin, cifar-100-binary, flowers-102 or stanford_cars."""
    name: Literal["cifar10", "cifar100", "flowers102", "cars"] = "cifar10"
    """Of flowers102, the training set includes the validation images, as in the paper (Table A.2)."""


@dataclass(frozen=True)
class Scenes(Pictures):
    """Images with a class for every pixel: ADE20K's folders, or the Hub's layout with images and annotations.

    Annotations are images of one channel. 0 (and 255) is ignored; 1 and up are the classes.
    """

    TASK = "segmentation"
    PACKED = True
    CROP_LONG = False

    kind: Fixed[Suppress[Literal["scenes"]]] = "scenes"
    path: str = ""
    """A folder with images/training/*.jpg, annotations/training/*.png, and the same for validation; or a folder of
    Parquet files named SPLIT-*.parquet with columns image and annotation, or such a data set's name on the Hub."""
    num_classes: Annotated[int, Field(ge=2, le=254)] = 150
    """Number of classes, where the folder has no classes.txt that names them."""
    reading: Fixed[Suppress[Literal[1, 2]]] = 2
    """Version of the rules for reading a folder. 1: of runs from before this field. 2: links followed, hidden files and
    those of the system skipped."""


DataConfig = Annotated[
    Digits | Folder | Table | Hub | Shards | INaturalist | Torchvision | Scenes, Field(discriminator="kind")
]
SOURCES: dict[str, type[Any]] = {config.kind: config for config in get_args(get_args(DataConfig)[0])}
