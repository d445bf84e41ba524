"""The order of images and their augmentation, both functions of (seed, epoch, position)."""

import random
import signal
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from cosub.data.sources import BadImage, Examples
from cosub.data.transforms import Transform
from cosub.seeds import derive

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
"""Those that ask the training process to stop; the processes that load its images ignore them."""

_ATTEMPTS = 16


class Key(NamedTuple):
    """One training example: which image, in which epoch, at which position of the epoch's order."""

    image: int
    epoch: int
    position: int


class Batch(NamedTuple):
    images: Tensor  # (B, 3, H, W) uint8
    labels: Tensor  # (B,) int64, or of each pixel
    bad: list[str]  # names of images that could not be read


@dataclass(frozen=True)
class Slice:
    """The share of one process in each step: `micro_steps` parts of whole groups."""

    rank: int
    world_size: int
    micro_steps: int
    num_groups: int

    def groups(self, micro_step: int) -> range:
        per_part = self.num_groups // (self.world_size * self.micro_steps)
        start = (self.rank * self.micro_steps + micro_step) * per_part
        return range(start, start + per_part)


class StepSampler(Sampler[list[Key]]):
    """Yields the keys of each micro-step of `steps`, across epochs.

    Each image of a batch occurs `repeats` times, so that an epoch of the same number of steps sees fewer images.
    """

    def __init__(
        self, num_images: int, batch_size: int, group_size: int, seed: int, share: Slice, steps: range, repeats: int = 1
    ) -> None:
        self.num_images, self.batch_size, self.group_size = num_images, batch_size, group_size
        self.seed, self.share, self.steps = seed, share, steps
        self.distinct = distinct_images(batch_size, repeats)

    def __len__(self) -> int:
        return len(self.steps) * self.share.micro_steps

    def __iter__(self) -> Iterator[list[Key]]:
        per_epoch = self.num_images // self.batch_size
        epoch, order = -1, torch.empty(0)
        for step in self.steps:
            if step // per_epoch != epoch:
                epoch = step // per_epoch
                order = permutation(self.num_images, self.seed, epoch)
            inside = step % per_epoch
            images = order[inside * self.distinct : (inside + 1) * self.distinct].tolist()
            for micro_step in range(self.share.micro_steps):
                groups = self.share.groups(micro_step)
                rows = range(groups.start * self.group_size, groups.stop * self.group_size)
                # All images of the batch, then all again: repetitions are 1 / repeats of the batch apart, and so in
                # different groups. In one group, mixing would pair an image with itself, and its repetitions would
                # share BatchNorm's statistics. (In DeiT they are in different processes; here a process has groups.)
                yield [Key(images[row % self.distinct], epoch, inside * self.batch_size + row) for row in rows]


def distinct_images(batch_size: int, repeats: int) -> int:
    """Distinct images of a batch in which each occurs `repeats` times, the last ones less often if need be."""
    return -(-batch_size // repeats)


def permutation(num_images: int, seed: int, epoch: int) -> Tensor:
    generator = torch.Generator().manual_seed(derive("order", seed, epoch))
    return torch.randperm(num_images, generator=generator)


class TrainingSet(Dataset[Any]):
    """Examples by `Key`. Transforms read the global generators, which are seeded for each example."""

    def __init__(self, examples: Examples, transform: Transform, seed: int) -> None:
        self.examples, self.transform, self.seed = examples, transform, seed

    def __getitem__(self, key: Key) -> tuple[Any, Any, list[str]]:  # pyright: ignore[reportIncompatibleMethodOverride]
        seed_all(derive("augment", self.seed, key.epoch, key.position))
        bad: list[str] = []
        for attempt in range(_ATTEMPTS):
            # The replacement is a function of the unreadable image, so a continued run sees the same one.
            index = derive("replace", key.image, attempt) % len(self.examples.labels) if attempt else key.image
            try:
                return *self.example(index), bad
            except BadImage as error:
                bad.append(str(error))
        # No error here: it would reach one process of many. With so many bad images, their count soon ends the run.
        return *self.blank(key.image), bad

    def example(self, index: int) -> tuple[Any, Any]:
        """An augmented image and its label. Raises BadImage."""
        pixels = self.examples.image(index, self.transform.read)
        return self.transform.change(pixels), self.examples.labels[index]

    def batches(self, sampler: StepSampler, workers: int, device: torch.device) -> Iterator[Batch]:
        """The sampler's batches, in memory that is pinned for a GPU."""
        return iter(training_loader(self, sampler, workers, device.type == "cuda"))

    def blank(self, index: int) -> tuple[Any, Any]:
        """A blank image in place of one, where no replacement can be read either."""
        return self.transform(Image.new("RGB", (32, 32))), self.examples.labels[index]


def seed_all(seed: int) -> None:
    """Seed the generators of transforms. Of torch's only the default one: `torch.manual_seed` costs 150 times more."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.default_generator.manual_seed(seed)


def collate(items: Sequence[tuple[Any, Any, list[str]]]) -> Batch:
    images, labels = (torch.stack([torch.as_tensor(item[part]) for item in items]) for part in (0, 1))
    return Batch(images, labels, [name for _, _, bad in items for name in bad])


class TestSet(Dataset[Any]):
    """Examples in order; unreadable ones are left out and named."""

    __test__ = False  # pytest: this is not a test

    def __init__(self, examples: Examples, transform: Transform, indices: range) -> None:
        self.examples, self.transform, self.indices = examples, transform, indices

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, item: int) -> tuple[Tensor, int, list[str]] | list[str]:
        index = self.indices[item]
        try:
            pixels = self.examples.image(index, self.transform.read)
        except BadImage as error:
            return [str(error)]
        return self.transform.change(pixels), self.examples.labels[index], []


def collate_test(items: Sequence[tuple[Tensor, int, list[str]] | list[str]]) -> Batch | list[str]:
    good = [item for item in items if isinstance(item, tuple)]
    bad = [name for item in items if isinstance(item, list) for name in item]
    return Batch(*collate(good)[:2], bad) if good else bad


def training_loader(dataset: TrainingSet, sampler: StepSampler, workers: int, pin_memory: bool) -> DataLoader[Any]:
    return DataLoader(
        dataset,
        batch_sampler=sampler,
        num_workers=workers,
        collate_fn=collate,
        pin_memory=pin_memory,
        persistent_workers=workers > 0,
        multiprocessing_context=context(workers),
        worker_init_fn=leave_signals_to_the_trainer,
    )


def test_loader(dataset: TestSet, batch_size: int, workers: int, pin_memory: bool) -> DataLoader[Any]:
    return DataLoader(
        dataset,
        batch_size=batch_size,
        num_workers=workers,
        collate_fn=collate_test,
        pin_memory=pin_memory,
        multiprocessing_context=context(workers),
        worker_init_fn=leave_signals_to_the_trainer,
    )


def context(workers: int) -> str | None:
    """Fork workers from the training process, so that they end when it is killed: a fork server would outlive it."""
    return "fork" if workers and sys.platform == "linux" else None


def leave_signals_to_the_trainer(_worker: int) -> None:
    """Ignore signals in a worker: a terminal or launcher sends them to all processes, and the step needs its images."""
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)


test_loader.__test__ = False  # pyright: ignore[reportFunctionMemberAccess]
