"""ImageNet's numbers of classes, and the indices of its classes."""

import functools
from collections.abc import Sequence

from cosub.errors import InputError

IMAGENET, IMAGENET21K = 1000, 21841  # numbers of classes; 21k as first published (fall 2011)
IMAGES = {IMAGENET: 1_281_167, IMAGENET21K: 14_197_122}

# The same images are published with several lists of classes.
VARIANTS = {
    1000: "ImageNet-1k",
    21841: "ImageNet-21k, the release of fall 2011",
    21842: "ImageNet-21k in Microsoft's order, 1k's classes first",
    21843: "ImageNet-21k as Google has it, with two classes more than fall 2011",
    11821: "timm's ImageNet-12k",
    11221: "ImageNet-21k of fall 2011, processed",
    10450: "ImageNet-21k of winter 2021, processed",
}


def describe(classes: int) -> str:
    """'21841 classes (ImageNet-21k, ...)' where the number is one of ImageNet's."""
    known = f" ({VARIANTS[classes]})" if classes in VARIANTS else ""
    return f"{classes} classes{known}"


@functools.cache
def synsets() -> tuple[str, ...]:
    """ImageNet-1k's synsets, sorted: a class's index is its position."""
    from timm.data.imagenet_info import ImageNetInfo

    return tuple(ImageNetInfo().label_names())


def is_imagenet(classes: Sequence[str]) -> bool:
    """Whether these are ImageNet-1k's classes in the usual order, by synset or by number."""
    return tuple(classes) in (synsets(), tuple(map(str, range(1000))))


def in_imagenets_order(classes: Sequence[str]) -> bool:
    """Whether 1,000 classes are ImageNet-1k's in the usual order, as far as their names tell: synsets, or numbers.

    Folders of numbers are sorted as strings, so that 100 comes before 2.
    """
    if all(map(str.isdecimal, classes)):
        return list(map(int, classes)) == sorted(map(int, classes))
    return set(classes) != set(synsets()) or is_imagenet(classes)


def class_indices(names: Sequence[str], classes: Sequence[str], where: str, field: str = "set") -> list[int]:
    """The index of each folder's name among a network's classes.

    If not all are names of the network's classes, and these are ImageNet-1k's, numbers are indices and synsets stand
    for their position in the sorted list. (ImageNet-V2's folders are numbers: sorted as strings, "100" would come
    third.)

    Raises:
        InputError: for a name that is none of these.
    """
    known = {name: index for index, name in enumerate(classes)}
    if is_imagenet(classes) and not set(names) <= known.keys():
        known = {name: index for index, name in enumerate(synsets())}
        known |= {str(index): index for index in range(1000)}
    if odd := [name for name in names if name not in known]:
        more = ", ..." if len(odd) > 3 else ""
        raise InputError(
            f"{field}: {where}: has folders that are not classes of the network ({', '.join(odd[:3])}{more}), "
            f"which has {describe(len(classes))} ({', '.join(classes[:3])}, ...)"
        )
    return [known[name] for name in names]
