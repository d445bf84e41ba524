"""Frozen teachers: a finished run, an exported folder, or a network of timm with its weights."""

import os
from pathlib import Path
from typing import Any

import timm
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from cosub.attachment import attach, state
from cosub.data.imagenet import IMAGENET, in_imagenets_order
from cosub.errors import InputError, nearest
from cosub.evaluation.candidates import TAKEN_OUT, take_out
from cosub.recipes.files import is_run, read_run
from cosub.recipes.inputs import Inputs
from cosub.runs.folder import RunFolder
from cosub.runs.network import create, settings_of
from cosub.runs.published import CONFIG, Published, look_up
from cosub.twins.removal import remove_layers
from cosub.weights.loading import load_weights

_IMAGENET = Inputs()


class Teacher(nn.Module):
    """A network that is not trained: always in eval mode, without gradients.

    `about` holds plain values from which the same network can be built, without weights. A continued run reads those
    from its checkpoint, and needs neither the teacher's folder nor the Hub.
    """

    def __init__(self, about: dict[str, Any]) -> None:
        super().__init__()
        self.about = about
        with torch.random.fork_rng(devices=[]):
            self.network = create(about["model"], about["resolution"], about["classes"], about["settings"])
        if kept := about.get("kept_layers"):
            attach(remove_layers(self.network, kept), drop_rate=0.0, copies=1)
            state(self.network).scale = about["kept_scale"]
        take_out(self.network, about.get("taken_out", {}), about["source"])
        self.requires_grad_(False).eval()
        # From images normalised for the student to images normalised for the teacher.
        channels = list(
            zip(about["student_mean"], about["student_std"], about["mean"], about["deviation"], strict=True)
        )
        factor = [deviation / theirs for _, deviation, _, theirs in channels]
        shift = [(mean - their_mean) / theirs for mean, _, their_mean, theirs in channels]
        self.adapts = (factor, shift) != ([1.0] * 3, [0.0] * 3)
        self.factor = nn.Buffer(torch.tensor(factor).view(1, 3, 1, 1), persistent=False)
        self.shift = nn.Buffer(torch.tensor(shift).view(1, 3, 1, 1), persistent=False)

    def train(self, mode: bool = True) -> "Teacher":
        return super().train(False)

    @torch.no_grad()
    def forward(self, images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B K"]:
        """Logits for the student's images, resized if the teacher needs another size."""
        size = self.about["resolution"]
        if images.shape[-1] != size:
            images = F.interpolate(images, (size, size), mode="bicubic", antialias=True)
        if self.adapts:
            images = images * self.factor + self.shift
        return self.network(images)


def load_teacher(
    source: str, classes: tuple[str, ...], resolution: int, out: Path, inputs: Inputs = _IMAGENET
) -> tuple[Teacher, list[str]]:
    """The teacher with its weights, and a line for each adaptation.

    Args:
        source: a finished run's folder, a folder with timm's config.json, hf-hub:OWNER/NAME, a name of timm's weights.
        classes: the student's.
        resolution: the student's, in pixels.
        out: the student's own folder.
        inputs: how the student's images are normalised.

    Raises:
        InputError: if there is none, or it is the student's own run, not finished, or has other classes.
    """
    if source and Path(source).resolve() == out.resolve():
        raise InputError(f"teacher: {source}: is this run itself; name another, finished run")
    about = describe(source, resolution, inputs)
    if about["classes"] != len(classes):
        raise InputError(
            f"teacher: {source}: has {about['classes']} classes and the data {len(classes)}; train it on these data "
            "first (cosub train --weights ...), and name that run"
        )
    if about["names"] and about["names"] != list(classes):
        odd = next(pair for pair in zip(about["names"], classes, strict=True) if pair[0] != pair[1])
        raise InputError(
            f"teacher: {source}: was trained on other classes ({odd[0]!r}, where the data have {odd[1]!r}); "
            "name one that was trained on these"
        )
    if not about["names"] and about["classes"] == IMAGENET and not in_imagenets_order(classes):
        raise InputError(
            f"teacher: {source}: has ImageNet's classes in their usual order, and the folders of the data are in "
            f"another ({', '.join(classes[:3])}, ...): name them by synset, or by numbers of equal length (0001)"
        )
    teacher = Teacher(about)
    messages = [f"teacher: {line}" for line in load_weights(teacher.network, source, with_head=True)]
    if about["resolution"] != resolution:
        messages.append(f"teacher: its images are resized from {resolution} to {about['resolution']} pixels")
    return teacher, messages


def describe(source: str, resolution: int, inputs: Inputs = _IMAGENET) -> dict[str, Any]:
    """A teacher's description, without its weights, for a student of that resolution and those inputs.

    Raises:
        InputError: if there is no such teacher, or its run is not finished.
    """
    if not source:
        raise InputError("teacher: is missing; name a finished run's folder or timm's weights with --teacher")
    student = {"student_mean": list(inputs.mean), "student_std": list(inputs.std)}
    if is_run(source):
        return {**_of_run(Path(source)), **student}
    found = look_up(source)
    if not found.model:
        raise InputError(f"teacher: {_unnamed(source, found)}")
    return {
        "source": source,
        "model": found.model,
        "settings": found.model_args,
        "taken_out": {name: found.config[name] for name in TAKEN_OUT if name in found.config},
        "resolution": found.resolution if found.fixed_size else resolution,
        "classes": len(found.classes) or found.num_classes,
        "names": list(found.names),
        "mean": list(found.inputs.mean),
        "deviation": list(found.inputs.std),
        **student,
    }


def _unnamed(source: str, found: Published) -> str:
    """Why the network of some weights is not known."""
    if found.messages:
        return found.messages[0]
    if os.path.exists(source):
        return (
            f"{source}: holds no run and no {CONFIG} of timm's, so its model is not known; name a folder with one of "
            "these"
        )
    near = nearest(source.removeprefix("timm:"), timm.list_pretrained())
    return f"{source}: is neither a run's folder, nor an exported one, nor a name of timm's weights{near}"


def _of_run(folder: Path) -> dict[str, Any]:
    recipe, names = read_run(folder), list(RunFolder(folder).read_classes("teacher"))
    return {
        "source": str(folder),
        "model": recipe.model,
        "settings": settings_of(recipe),
        "kept_layers": list(recipe.kept_layers),
        "kept_scale": recipe.kept_scale,
        "resolution": recipe.resolution,
        "classes": len(names),
        "names": names,
        "mean": list(recipe.inputs.mean),
        "deviation": list(recipe.inputs.std),
    }
