"""The style of the figures: each run has its own marker and line, so that they can be read without colour."""

from pathlib import Path
from typing import Any

from cosub.runs.drawing import new_figure, tidy
from cosub.runs.names import caption

_RESOLUTION = 100  # dots per inch
_MARKERS = "osD^vPX*"
_LINES = ("-", "--", "-.", ":")
_COLORS = ("black", "tab:blue", "tab:red", "tab:green", "tab:purple", "tab:brown", "tab:gray", "tab:olive")


def panels(rows: int, columns: int, **settings: Any) -> tuple[Any, Any]:
    """A figure and its `(rows, columns)` axes."""
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    layout = ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.06)
    figure = new_figure(max(3.6 * columns, 4.6), 3.0 * rows + 0.4, layout)
    axes = figure.subplots(rows, columns, squeeze=False, **settings)
    for panel in axes.flat:
        panel.locator_params(axis="x", nbins=6)
    return figure, axes


def style(index: int, *, line: bool = True) -> dict[str, Any]:
    """Marker, line and colour of the run or curve with that index."""
    return {
        "marker": _MARKERS[index % len(_MARKERS)],
        "linestyle": _LINES[index % len(_LINES)] if line else "none",
        "color": _COLORS[index % len(_COLORS)],
        "markersize": 4.5,
        "linewidth": 1.3,
    }


def short(name: str) -> str:
    """The name of a set for a label: the last two parts of a path."""
    return caption("/".join(Path(name).parts[-2:]))


def save(figure: Any, target: Path) -> None:
    """Write a PNG, with one legend for all panels below them."""
    found: dict[str, Any] = {}
    for axes in figure.axes:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
        axes.title.set_fontsize(10)
    tidy(figure.axes)
    columns = max(1, int(figure.get_figwidth() / 2.4))
    figure.legend(found.values(), found, loc="outside lower center", ncols=columns, frameon=False, fontsize=8)
    figure.savefig(target, dpi=_RESOLUTION, pil_kwargs={"optimize": True})
