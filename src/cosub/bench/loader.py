"""What loading costs: images per second and core of our loader and timm's, on the same files."""

import dataclasses
import functools
import random
import resource
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from timm.data.dataset import ImageDataset
from timm.data.loader import create_loader
from torch import Tensor

from cosub.data.decoding import EXTENSIONS, BadImage, rgb
from cosub.data.loading import Slice, StepSampler, TrainingSet, training_loader
from cosub.data.sources.folder import Files
from cosub.data.sources.splits import find_splits
from cosub.data.sources.walking import Branch, LeftOut, Notes
from cosub.data.transforms import RandomResizedCrop, normalize, reduce, training
from cosub.errors import InputError
from cosub.recipes.augmentation import Augment

BATCH = 50
AUGMENTS = {
    "crop and flip": Augment(policy="", jitter=0.0),
    "3-Augment": Augment(policy="3a", jitter=0.3),
}


@dataclass(frozen=True)
class Case:
    """One row: what is loaded, and how it is augmented. A repeat loads `images` files, cycling through all."""

    files: Files
    resolution: int
    augment: Augment
    workers: int
    images: int


class _Reader:
    """The same files for timm's loader, which opens them."""

    def __init__(self, files: Files) -> None:
        self.files = files

    def __len__(self) -> int:
        return len(self.files.paths)

    def __getitem__(self, index: int) -> tuple[Path, int]:
        return self.files.paths[index], self.files.labels[index]


def measure(case: Case, repeats: int) -> dict[str, Any]:
    """Medians over alternating repeats, after one warm-up repeat of each.

    `per_core` is images per second of CPU time, of the loading processes and the one that normalises together: other
    load on the machine hardly changes it. `per_second` is images per second of wall time.
    """
    case = dataclasses.replace(case, files=_cycled(case.files, case.images))
    sides: dict[str, Callable[[], Iterator[Tensor]]] = {
        "ours": functools.partial(_ours, case),
        "timm": functools.partial(_timm, case),
    }
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in sides}
    for repeat in range(repeats + 1):
        for name, batches in sides.items():
            speeds = _timed(batches)
            if repeat:
                found[name].append(speeds)
    result: dict[str, Any] = {}
    for place, measure in enumerate(("per_core", "per_second")):
        medians = {name: statistics.median(speeds[place] for speeds in found[name]) for name in sides}
        result[measure] = {name: round(value, 1) for name, value in medians.items()}
        result[measure]["ratio"] = round(medians["ours"] / medians["timm"], 3)
    return result


def decoding(files: Files, repeats: int) -> dict[str, float]:
    """Milliseconds of CPU time to open and decode a file at each scale: the median over repeats of the mean.

    At 1/8 little more than entropy decoding remains, which no scale and no crop avoids: it bounds the speed of any
    loader with this decoder.
    """
    found: dict[int, list[float]] = {scale: [] for scale in (1, 2, 4, 8)}
    for _ in range(repeats):
        for scale, seconds in found.items():
            start = time.process_time()
            for index in range(len(files.paths)):
                files.image(index, functools.partial(_loaded, scale=scale))
            seconds.append((time.process_time() - start) / len(files.paths))
    return {f"1/{scale}": round(1000 * statistics.median(seconds), 3) for scale, seconds in found.items()}


def _loaded(image: Image.Image, scale: int) -> None:
    reduce(image, scale)
    image.load()


def difference(files: Files, resolution: int, draws: int = 4) -> dict[str, float]:
    """Mean absolute difference, in levels of 255, between crops decoded at reduced scale and the same crops in full.

    `mean` is over all crops; `reduced_mean` and `reduced_max` are over those that were reduced, whose share is
    `reduced`.
    """
    crop = RandomResizedCrop(resolution, AUGMENTS["crop and flip"].min_area, 0.0, "bicubic")
    random.seed(0)
    found = []
    for index in range(len(files.paths)):
        for _ in range(draws):
            try:
                found.append(_difference(files, index, crop))
            except BadImage:
                break
    reduced = [value for value, scale in found if scale > 1]
    return {
        "mean": round(statistics.fmean(value for value, _ in found), 4),
        "reduced": round(len(reduced) / len(found), 4),
        "reduced_mean": round(statistics.fmean(reduced), 4) if reduced else 0.0,
        "reduced_max": round(max(reduced, default=0.0), 4),
    }


def _difference(files: Files, index: int, crop: RandomResizedCrop) -> tuple[float, int]:
    box, scale = files.image(index, crop.draw)
    if scale == 1:
        return 0.0, 1
    small = files.image(index, lambda image: crop.cut(image, box, scale))
    left, top, width, height = (scale * side for side in box)
    full = files.image(index, lambda image: crop.cut(image, (left, top, width, height), 1))
    return float(np.abs(small.numpy().astype(int) - full.numpy().astype(int)).mean()), scale


def _readable(files: Files, notes: Notes) -> Files:
    """The files that can be decoded: timm's loader would replace the others, or stop."""
    kept = []
    for index in range(len(files.paths)):
        try:
            files.image(index, rgb)
        except BadImage:
            notes.add("damaged", files.paths[index])
            continue
        kept.append(index)
    return Files([files.paths[index] for index in kept], [files.labels[index] for index in kept])


def _cycled(files: Files, images: int) -> Files:
    rounds = -(-images // len(files.paths))
    return Files((list(files.paths) * rounds)[:images], (list(files.labels) * rounds)[:images])


def _ours(case: Case) -> Iterator[Tensor]:
    dataset = TrainingSet(case.files, training(case.resolution, case.augment), seed=0)
    size = min(BATCH, case.images)
    sampler = StepSampler(case.images, size, size, 0, Slice(0, 1, 1, 1), range(case.images // size))
    for batch in training_loader(dataset, sampler, case.workers, pin_memory=False):
        yield normalize(batch.images)


def _timm(case: Case) -> Iterator[Tensor]:
    loader = create_loader(
        ImageDataset("", reader=_Reader(case.files)),  # pyright: ignore[reportArgumentType]
        case.resolution,
        min(BATCH, case.images),
        is_training=True,
        scale=(case.augment.min_area, 1.0),
        hflip=case.augment.flip,
        color_jitter=case.augment.jitter or None,  # pyright: ignore[reportArgumentType]
        auto_augment=case.augment.policy or None,
        interpolation="bicubic",
        num_workers=case.workers,
        device=torch.device("cpu"),
        persistent_workers=False,
    )
    for images, _ in loader:
        yield images


def _timed(batches: Callable[[], Iterator[Tensor]]) -> tuple[float, float]:
    """Images per second of CPU time, and of wall time."""
    start, used = time.perf_counter(), _processor_seconds()
    images = sum(len(batch) for batch in batches())
    return images / (_processor_seconds() - used), images / (time.perf_counter() - start)


def _processor_seconds() -> float:
    """CPU time of this process and of the workers that have ended."""
    spent: Sequence[Any] = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in spent)


def files_of(root: Path) -> tuple[Files, tuple[LeftOut, ...]]:
    """The images below a folder (of train, if it has splits), and what is left out. Labels do not matter here.

    Raises:
        InputError: if none can be read.
    """
    notes = Notes()
    whole = Branch(root, notes)
    below = find_splits(whole).get("train", whole)
    files = _readable(Files(below.everything, [0] * len(below.everything)), notes)
    if not files.paths:
        raise InputError(f"data.path: {below.path}: has no image that can be read ({' '.join(EXTENSIONS)})")
    return files, notes.left_out()
