"""The style of figures, in one place. Matplotlib is imported only where one is drawn, since that takes time."""

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from cosub.runs.names import caption
from cosub.runs.ways import WAYS

_RESOLUTION = 100  # dots per inch
_STYLE: dict[Any, Any] = {
    "axes.axisbelow": True,
    "axes.formatter.limits": (-5, 7),
    "axes.formatter.useoffset": False,
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "grid.alpha": 0.3,
}
_TITLE, _PANEL, _TEXT = 11, 9.5, 8  # font sizes, in points
_LETTER = 0.6 / 72  # mean width of a letter, in inches a point
_LINE = 0.18  # height of a line of the legend, in inches
_MARKERS = "osD^vPX*<"
_LINES = ("-", "--", "-.", ":")


def new_figure(width: float, height: float, title: str) -> Any:
    """A figure of this size in inches, its legend aside, without a window. The ground is white on dark pages too."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    figure = Figure(figsize=(width, height), layout=ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.06), facecolor="white")
    figure.suptitle(_wrapped(caption(title), width, _TITLE), fontsize=_TITLE)
    return figure


def panels(
    width: float, height: float, title: str, rows: int = 1, columns: int = 1, **settings: Any
) -> tuple[Any, Any]:
    """A figure of this size in inches, its legend aside, and its `(rows, columns)` axes."""
    from matplotlib import rc_context

    with rc_context(_STYLE):
        figure = new_figure(width, height, title)
        return figure, figure.subplots(rows, columns, squeeze=False, **settings)


def logarithmic(axes: Any, name: Literal["x", "y"]) -> None:
    """Make an axis logarithmic, with plain numbers at its ticks."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axes.set(**{f"{name}scale": "log"})
    axis = axes.xaxis if name == "x" else axes.yaxis
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())


def look(place: int, number: int | None = None) -> dict[str, Any]:
    """The colour with this place in the table of ways, and marker and line of the curve with this number in a picture:
    curves differ in black and white too."""
    number = place if number is None else number
    return {
        "color": list(WAYS.values())[place % len(WAYS)].colour,
        "marker": _MARKERS[number % len(_MARKERS)],
        "linestyle": _LINES[number % len(_LINES)],
        "markersize": 4.5,
        "linewidth": 1.3,
    }


def looks(ways: Sequence[str]) -> list[dict[str, Any]]:
    """Looks of curves that were trained in these ways: those of one way have its colour, and all differ in marker."""
    return [look(list(WAYS).index(way), index) for index, way in enumerate(ways)]


def named(run: str, way: str) -> str:
    """The name of a run for a legend, and in which way it was trained."""
    return f"{caption(run)} ({WAYS[way].title})"


def shades(number: int) -> list[dict[str, Any]]:
    """Looks of curves that are one another's neighbours, such as drop rates: from dark to light."""
    from matplotlib import colormaps

    colours = colormaps["cividis"]([0.85 * place / max(number - 1, 1) for place in range(number)])
    return [{**look(place), "color": tuple(colour)} for place, colour in enumerate(colours)]


def save(figure: Any, target: Path, note: str = "", handles: Sequence[Any] = ()) -> None:
    """Write a PNG, with a legend below all panels, where it covers no data, and above it what must be known to read it.

    The legend has what is labelled in the panels, or these handles.
    """
    shown = handles or _labelled(figure)
    width = figure.get_figwidth()
    longest = max((len(handle.get_label()) for handle in shown), default=0)
    columns = max(1, min(len(shown), int(width / (0.5 + _TEXT * _LETTER * longest))))
    note = _wrapped(note, width, _TEXT)
    lines = -(-len(shown) // columns) + len(note.splitlines())
    figure.set_figheight(figure.get_figheight() + _LINE * lines)
    for axes in figure.axes:
        axes.title.set_fontsize(_PANEL)
    if lines:
        legend = figure.legend(
            handles=shown,
            loc="outside lower center",
            ncols=columns,
            frameon=False,
            fontsize=_TEXT,
            title=note or None,
            title_fontsize=_TEXT,
        )
        legend.get_title().set_multialignment("center")
    figure.savefig(target, dpi=_RESOLUTION, metadata={"Software": None}, pil_kwargs={"optimize": True})


def _labelled(figure: Any) -> list[Any]:
    """The handles of all panels; what several panels show is there once."""
    found, names = [], set[str]()
    for axes in figure.axes:
        handles, labels = axes.get_legend_handles_labels()
        found += [handle for handle, label in zip(handles, labels, strict=True) if label not in names]
        names |= set(labels)
    return found


def _wrapped(text: str, width: float, size: float) -> str:
    return "\n".join(textwrap.fill(line, max(20, int(width / (size * _LETTER)))) for line in text.splitlines())
