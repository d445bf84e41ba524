"""cosub predict of a segmentation run: a coloured map of each image, and the classes with their share of its pixels."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image, ImageDraw
from scipy.ndimage import distance_transform_edt
from torch import Tensor
from torchvision.transforms.v2 import functional

from cosub.data.decoding import BadImage
from cosub.data.pixels import decoded, rule_of
from cosub.errors import InputError
from cosub.evaluation.candidates import Candidate, layers_kept
from cosub.runs.drawing import new_figure, save
from cosub.runs.folder import require_free
from cosub.runs.names import caption
from cosub.segmentation.evaluation import SINGLE, drive_alone, viewer
from cosub.segmentation.overlays import painted
from cosub.segmentation.palette import palette

_NAMED = 0.01  # share of an image from which on a class has its name written


def predict_scenes(
    options: Any, candidate: Candidate, paths: Iterable[Path], device: torch.device
) -> tuple[list[dict[str, Any]], list[str]]:
    """Write a map and an overlay of each image that can be read, and a legend.

    An overlay has the names of the larger classes in it. A map is a PNG with a palette:
    its values are those of annotations, 1 and up in the order of the classes.

    Args:
        options: those of `cosub predict`.

    Returns:
        for each image its files, and its classes with their share of the pixels and their number, the largest first;
        and what cannot be read.

    Raises:
        InputError: for an option that is for classification, or a folder that has something in it.
    """
    for name in ("resolution", *options.inputs()):
        if getattr(options, name):
            raise InputError(f"{name}: is for classification, and {options.run} is a segmentation run; leave it out")
    folder = Path(options.out or f"{options.run.rstrip('/')}-maps")
    require_free(folder)
    network, classes = candidate.network.to(device), candidate.classes
    layers = layers_kept(network, options.keep)
    look = viewer(candidate.recipe, network, SINGLE, device)
    rule, colours = rule_of(candidate.recipe.data), palette(len(classes))
    found: list[dict[str, Any]] = []
    bad: list[str] = []
    names: set[str] = set()
    for path in paths:
        try:
            image = decoded(path, rule)
        except BadImage as error:
            bad.append(str(error))
            continue
        probabilities = drive_alone(look.probabilities(functional.pil_to_tensor(image)), network, look, layers)
        prediction = probabilities.argmax(0).byte().cpu()
        folder.mkdir(exist_ok=True)
        name = _free(path.stem, names)
        files = {"map": folder / f"{name}.png", "overlay": folder / f"{name}-overlay.png"}
        _indexed(prediction, colours).save(files["map"])
        overlay = Image.fromarray(painted(np.asarray(image), prediction, colours))
        _name_regions(overlay, prediction, classes)
        overlay.save(files["overlay"])
        found.append(
            {
                "image": str(path),
                "classes": _shares(prediction, classes),
                **{key: str(file) for key, file in files.items()},
            }
        )
    if found:
        _draw_legend(classes, colours, folder / "legend.png")
    return found, bad


def _free(stem: str, names: set[str]) -> str:
    """A name that no other file of the folder has, in any case: images of several folders may be named alike."""
    name, number = stem, 1
    while {f"{name}".casefold(), f"{name}-overlay".casefold()} & names or name.casefold() == "legend":
        number += 1
        name = f"{stem}-{number}"
    names |= {f"{name}".casefold(), f"{name}-overlay".casefold()}
    return name


def _indexed(prediction: UInt8[Tensor, "H W"], colours: np.ndarray) -> Image.Image:
    image = Image.fromarray(prediction.numpy() + 1, "P")
    image.putpalette(np.concatenate([np.zeros((1, 3), np.uint8), colours]).tobytes())
    return image


def _name_regions(overlay: Image.Image, prediction: UInt8[Tensor, "H W"], classes: Sequence[str]) -> None:
    """Write the name of each larger class where it is widest: not all people tell the colours apart."""
    draw, size = ImageDraw.Draw(overlay), max(10, min(overlay.size) // 25)
    for index, name in enumerate(classes):
        here = np.pad((prediction == index).numpy(), 1)
        if here.mean() < _NAMED:
            continue
        depth = np.asarray(distance_transform_edt(here))[1:-1, 1:-1]
        row, column = np.unravel_index(int(depth.argmax()), depth.shape)
        place = int(column), int(row)
        shown = name.encode("utf-8", "backslashreplace").decode()
        draw.text(place, shown, "white", anchor="mm", font_size=size, stroke_width=2, stroke_fill="black")


def _shares(prediction: UInt8[Tensor, "H W"], classes: Sequence[str]) -> list[dict[str, Any]]:
    counts = torch.bincount(prediction.flatten().long(), minlength=len(classes))
    order = [index for index in counts.argsort(descending=True, stable=True).tolist() if counts[index]]
    return [
        {"class": classes[index], "share": int(counts[index]) / prediction.numel(), "pixels": int(counts[index])}
        for index in order
    ]


def _draw_legend(classes: Sequence[str], colours: np.ndarray, path: Path) -> None:
    """A PNG with the colour and the value of each class."""
    from matplotlib.patches import Patch

    handles = [
        Patch(color=tuple((colour / 255).tolist()), label=f"{value}  {caption(name)}")
        for value, (name, colour) in enumerate(zip(classes, colours, strict=True), 1)
    ]
    save(new_figure(6.4, 0.5, "Classes of the maps, each with its value in the PNG"), path, handles=handles)
