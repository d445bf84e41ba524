"""Fewer images than a source has, and images held out of its training set."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from cosub.data.decoding import Read, rgb
from cosub.data.sources.source import Examples, Source
from cosub.errors import InputError
from cosub.recipes.config import Sampled
from cosub.seeds import derive

_VALIDATION_SHARE = 0.1


@dataclass(frozen=True)
class Part:
    """Some images of a set, in a given order."""

    whole: Examples
    indices: Sequence[int]

    @property
    def labels(self) -> Sequence[int]:
        return self._labels

    @functools.cached_property
    def _labels(self) -> list[int]:
        return [self.whole.labels[index] for index in self.indices]

    def image(self, index: int, read: Read = rgb) -> Any:
        return self.whole.image(self.indices[index], read)

    def name(self, index: int) -> str:
        return self.whole.name(self.indices[index])


def sampled(source: Source, config: Sampled) -> Source:
    """The validation images are the same whatever else is asked for; the training images come from the others.

    Raises:
        InputError: if more images are asked for than there are.
    """
    asked, held_out = config.train_images, config.validation_images
    if not asked and not held_out:
        return source
    number = len(source.train.labels)
    if max(asked, 1) + held_out > number:
        raise InputError(
            f"data.train_images: {asked}: and {held_out} validation images are more than the {number:,} training "
            "images; ask for fewer"
        )
    order = np.random.default_rng(derive("validation")).permutation(number)
    held, others = order[:held_out], order[held_out:]
    shuffled = np.random.default_rng(derive("training images", config.subset_seed)).permutation(others)
    train = Part(source.train, sorted((shuffled[:asked] if asked else others).tolist()))
    validation = Part(source.train, sorted(held.tolist())) if held_out else source.validation
    places = {**source.places, "validation": "held out of train"} if held_out and source.places else source.places
    return replace(source, train=train, validation=validation, places=places)


def with_validation(source: Source) -> Source:
    """The source with validation images: its own, or a tenth of each class's training images, always the same.

    Raises:
        InputError: if no class has two training images, so that none can be held out.
    """
    if source.validation is not None:
        return source
    labels = np.asarray(source.train.labels)
    order = np.random.default_rng(derive("validation")).permutation(len(labels))
    held: list[int] = []
    for label in range(len(source.classes)):
        members = order[labels[order] == label]
        if len(members) > 1:
            held += members[: max(1, round(len(members) * _VALIDATION_SHARE))].tolist()
    if not held:
        raise InputError("choose: best: no class has two training images, so none can be held out; take last")
    kept = np.setdiff1d(np.arange(len(labels)), held).tolist()
    places = {**source.places, "validation": "held out of train"} if source.places else source.places
    return replace(source, train=Part(source.train, kept), validation=Part(source.train, sorted(held)), places=places)
