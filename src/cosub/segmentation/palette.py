"""Colours of classes, as far apart as so many can be, also for eyes without red or green cones."""

import itertools

import numpy as np
from jaxtyping import Float, UInt8

# Linear RGB as it is, and as eyes without red and without green cones see it (Machado et al., 2009, severity 1).
_EYES = np.array(
    [
        np.eye(3),
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    ]
)
_WEIGHTS = np.array([0.7, 1.0, 1.0])[:, None]  # most eyes have all cones: to them colours shall be further apart
_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
_GROUNDS = ("#000000", "#ffffff")  # ignored pixels, and the page
_FIRST = ("#0072b2", "#e69f00", "#009e73", "#d55e00", "#56b4e9", "#f0e442", "#cc79a7", "#7f3b08")  # Okabe and Ito's
_LEVELS = 17  # of red, green and blue, from which the others are chosen


def palette(number: int) -> UInt8[np.ndarray, "C 3"]:
    """The colours of so many classes. A class has the same however many there are; none is black, which is void.

    After eight well-known ones each is the one whose least distance to those before it is greatest.
    """
    named = np.array([[int(colour[place : place + 2], 16) for place in (1, 3, 5)] for colour in _GROUNDS + _FIRST])
    colours = np.vstack([named, np.array(list(itertools.product(np.linspace(0, 255, _LEVELS), repeat=3)))])
    seen = _seen(colours / 255)
    chosen = list(range(len(named)))
    far = np.min([_distances(seen, place) for place in chosen], axis=0)
    while len(chosen) < len(_GROUNDS) + number:
        chosen.append(int(far.argmax()))
        far = np.minimum(far, _distances(seen, chosen[-1]))
    return colours[chosen[len(_GROUNDS) :][:number]].round().astype(np.uint8)


def _distances(seen: Float[np.ndarray, "eyes N 3"], place: int) -> Float[np.ndarray, " N"]:
    """CIE76 distances of all colours to one of them, for the eyes that see the least difference."""
    return (_WEIGHTS * np.linalg.norm(seen - seen[:, place, None], axis=-1)).min(0)


def _seen(colours: Float[np.ndarray, "N 3"]) -> Float[np.ndarray, "eyes N 3"]:
    """Lab, under D65, of sRGB colours in [0, 1] as the eyes see them."""
    linear = np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)
    xyz = np.clip(linear @ _EYES.swapaxes(1, 2), 0, 1) @ _XYZ.T / _XYZ.sum(1)
    x, y, z = np.moveaxis(np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29), -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)
