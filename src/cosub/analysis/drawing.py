"""How the figures look: each run has a marker and a line of its own, so that they read without colour."""

from pathlib import Path
from typing import Any

_MARKERS = "osD^vPX*"
_LINES = ("-", "--", "-.", ":")
_COLORS = ("black", "tab:blue", "tab:red", "tab:green", "tab:purple", "tab:brown", "tab:gray", "tab:olive")


def panels(rows: int, columns: int, **settings: Any) -> tuple[Any, Any]:
    """A figure and its `(rows, columns)` axes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(max(3.6 * columns, 4.6), 3.2 * rows), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, **settings)


def style(index: int, *, line: bool = True) -> dict[str, Any]:
    """Marker, line and colour of the run, or curve, of that index."""
    return {
        "marker": _MARKERS[index % len(_MARKERS)],
        "linestyle": _LINES[index % len(_LINES)] if line else "none",
        "color": _COLORS[index % len(_COLORS)],
        "markersize": 4.5,
        "linewidth": 1.3,
    }


def save(figure: Any, target: Path, resolution: int = 130) -> None:
    """Write a PNG; `resolution` in dots an inch."""
    for axes in figure.axes:
        axes.grid(alpha=0.3, linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(target, dpi=resolution)
