"""A subset of a source's training images, and a validation set held out of them."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from cosub.data.decoding import Read, rgb
from cosub.data.sources.grouping import hold_out
from cosub.data.sources.source import HELD_OUT, Examples, Source, compact
from cosub.errors import InputError
from cosub.recipes.data import Sampled
from cosub.seeds import derive

_VALIDATION_SHARE = 0.1


@dataclass(frozen=True)
class Part:
    """Some images of a set, in a given order."""

    whole: Examples
    indices: Sequence[int]

    def __post_init__(self) -> None:
        object.__setattr__(self, "indices", compact(self.indices))

    @property
    def labels(self) -> Sequence[int]:
        return self._labels

    @functools.cached_property
    def _labels(self) -> Sequence[int]:
        return compact([self.whole.labels[index] for index in self.indices])

    def image(self, index: int, read: Read = rgb) -> Any:
        return self.whole.image(self.indices[index], read)

    def name(self, index: int) -> str:
        return self.whole.name(self.indices[index])


def sampled(source: Source, config: Sampled) -> Source:
    """The source with the training and validation images that the recipe asks for.

    The validation images depend on their number alone; the training images are drawn from the others.

    Raises:
        InputError: if there are fewer images than that, of a class or of all, or images are grouped.
    """
    asked, held_out = config.train_images, config.validation_images
    if config.balanced and not asked:
        raise InputError("data.balanced: is for a subset; name its size with --data.train-images, or leave it out")
    if not asked and not held_out:
        return source
    number = len(source.train.labels)
    if max(asked, 1) + held_out > number:
        raise InputError(
            f"data.train_images: {asked}: and {held_out} validation images are more than the {number:,} training "
            "images; set fewer"
        )
    if held_out and source.groups is not None:
        raise InputError(
            f"data.validation_images: {held_out}: images of one group stay together, so their number cannot be chosen; "
            "write validation into the table's column split"
        )
    order = np.random.default_rng(derive("validation")).permutation(number)
    held, others = order[:held_out], order[held_out:]
    shuffled = np.random.default_rng(derive("training images", config.subset_seed)).permutation(others)
    if asked and config.balanced:
        shuffled = _balanced(shuffled, source, asked)
    chosen = sorted((shuffled[:asked] if asked else others).tolist())
    train = Part(source.train, chosen)
    groups = None if source.groups is None else [source.groups[index] for index in chosen]
    validation = Part(source.train, sorted(held.tolist())) if held_out else source.validation
    places = {**source.places, "validation": f"{HELD_OUT} train"} if held_out and source.places else source.places
    return replace(source, train=train, validation=validation, places=places, groups=groups)


def _balanced(shuffled: np.ndarray, source: Source, asked: int) -> np.ndarray:
    """The first images of each class, as many of each as `asked` in all has room for.

    Raises:
        InputError: if `asked` is no multiple of the number of classes, or a class has fewer.
    """
    each, rest = divmod(asked, len(source.classes))
    labels = np.asarray(source.train.labels)[shuffled]
    members = [shuffled[labels == label][:each] for label in range(len(source.classes))]
    if rest or min(map(len, members)) < each:
        raise InputError(
            f"data.train_images: {asked}: cannot be shared equally by {len(source.classes)} classes, of which the "
            f"smallest has {np.bincount(labels, minlength=len(source.classes)).min():,}; set another number, or leave "
            "--data.balanced out"
        )
    return np.concatenate(members)


def with_validation(source: Source) -> Source:
    """The source with validation images: its own, or a tenth of each class's training images, always the same ones.

    Raises:
        InputError: if no class has two training images, so that none can be held out.
    """
    if source.validation is not None:
        return source
    held = _held(source)
    if not held:
        raise InputError("choose: best: no class has two training images, so none can be held out; take last")
    kept = np.setdiff1d(np.arange(len(source.train.labels)), held).tolist()
    places = {**source.places, "validation": f"{HELD_OUT} train"} if source.places else source.places
    return replace(source, train=Part(source.train, kept), validation=Part(source.train, sorted(held)), places=places)


def hold_out_share(
    examples: Examples, classes: Sequence[str], share: float, seed: int, where: object
) -> tuple[list[int], list[int]]:
    """The indices to train on, and those of a share of each class, held out. A class of one image is trained on.

    Raises:
        InputError: if that leaves fewer than two classes, or the share cannot be split off.
    """
    from sklearn.model_selection import train_test_split

    labels = np.asarray(examples.labels)
    numbers = np.bincount(labels, minlength=len(classes))
    alone, several = np.flatnonzero(numbers == 1), np.flatnonzero(numbers[labels] > 1)
    divided = np.count_nonzero(numbers > 1)
    if len(alone) and divided < 2:
        name = examples.name(int(np.flatnonzero(labels == alone[0])[0]))
        raise InputError(
            f"data.path: {where}: class {classes[alone[0]]} has one image ({name}), and one can be held out only of a "
            "class that has two; add images to two classes at least"
        )
    size = max(round(len(several) * share), int(divided))
    try:
        held: Any = train_test_split(several, test_size=size, random_state=seed, stratify=labels[several])[1]
    except ValueError as error:
        raise InputError(f"data.val_share: {share}: cannot split {where} ({error})") from error
    return np.setdiff1d(np.arange(len(labels)), held).tolist(), sorted(held.tolist())


def without_any(classes: Sequence[str], held: Examples) -> str:
    """What a place says of the classes of which nothing is held out; empty where there are none."""
    lacking = sorted(set(range(len(classes))) - set(held.labels))
    if not lacking:
        return ""
    names = f"{classes[lacking[0]]}, ..." if len(lacking) > 1 else classes[lacking[0]]
    return f", none of them of {len(lacking):,} class{'es' * (len(lacking) > 1)} with few images ({names})"


def _held(source: Source) -> list[int]:
    generator = np.random.default_rng(derive("validation"))
    if source.groups is not None:
        return hold_out(source.train.labels, source.groups, _VALIDATION_SHARE, generator)
    labels = np.asarray(source.train.labels)
    order = generator.permutation(len(labels))
    by_class = order[np.argsort(labels[order], kind="stable")]
    numbers = np.bincount(labels, minlength=len(source.classes))
    held: list[int] = []
    for members in np.split(by_class, np.cumsum(numbers)[:-1]):
        if len(members) > 1:
            held += members[: max(1, round(len(members) * _VALIDATION_SHARE))].tolist()
    return held
