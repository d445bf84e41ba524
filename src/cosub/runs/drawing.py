"""How pictures look. Matplotlib is imported where one is drawn, since that takes time."""

from collections.abc import Iterable
from typing import Any


def new_figure(width: float, height: float, layout: Any = "constrained") -> Any:
    """A figure of this size in inches, which belongs to no window."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout=layout)


def tidy(panels: Iterable[Any]) -> None:
    """A light grid, and no frame above and to the right, for all of the axes."""
    for axes in panels:
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
