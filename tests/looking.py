"""What is in a picture, and how eyes see its colours: for the tests of all that is drawn."""

import io

import numpy as np
from matplotlib.figure import Figure

# Viénot, Brettel and Mollon (1999): linear RGB in cones, and what a missing cone is taken to answer.
_CONES = np.array([[17.8824, 43.5161, 4.11935], [3.45565, 27.1554, 3.86714], [0.0299566, 0.184309, 1.46709]])
_MISSING = {
    "protanopia": [[0, 2.02344, -2.52581], [0, 1, 0], [0, 0, 1]],
    "deuteranopia": [[1, 0, 0], [0.494207, 0, 1.24827], [0, 0, 1]],
}
EYES = {"all cones": np.eye(3)} | {
    name: np.linalg.inv(_CONES) @ np.array(missing) @ _CONES for name, missing in _MISSING.items()
}
_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
_WHITE = np.array([0.9505, 1.0, 1.089])


def rgb(names):
    """Colours as `#rrggbb`, in [0, 1]."""
    return np.array([[int(name[place : place + 2], 16) / 255 for place in (1, 3, 5)] for name in names])


def lab(colours, eyes=EYES["all cones"]):
    """CIE Lab of sRGB colours in [0, 1], as these eyes see them."""
    linear = np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)
    part = (linear @ eyes.T).clip(0, 1) @ _XYZ.T / _WHITE
    x, y, z = np.where(part > 0.008856, np.cbrt(part), 7.787 * part + 16 / 116).T
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], -1)


def distances(colours):
    """CIE76 distances of all pairs of colours, for the eyes that see the least of it."""
    seen = [lab(colours, eyes) for eyes in EYES.values()]
    return np.min([np.linalg.norm(values[:, None] - values, axis=-1) for values in seen], axis=0)


def capture(monkeypatch) -> list[Figure]:
    """The figures that are saved from now on; they are rendered, and not written."""
    figures: list[Figure] = []
    render = Figure.savefig

    def keep(self, *_target, **settings):
        render(self, io.BytesIO(), **{**settings, "format": "png"})
        figures.append(self)

    monkeypatch.setattr(Figure, "savefig", keep)
    return figures


def legend(figure) -> list[str]:
    """The names in a figure's legend."""
    return [text.get_text() for found in figure.legends for text in found.get_texts()]


def note(figure) -> str:
    """What stands above the legend, on one line."""
    return " ".join(found.get_title().get_text() for found in figure.legends).replace("\n", " ")
