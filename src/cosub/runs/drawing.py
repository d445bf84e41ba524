"""The style of figures. Matplotlib is imported only where one is drawn, since that takes time."""

from collections.abc import Iterable
from typing import Any


def new_figure(width: float, height: float, layout: Any = "constrained") -> Any:
    """A figure of this size in inches, without a window."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout=layout)


def tidy(panels: Iterable[Any]) -> None:
    """Give axes a light grid, and no frame above and to the right."""
    for axes in panels:
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
