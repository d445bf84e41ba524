"""Draw the method: one image, two submodels of one network, each with the other's prediction as a target.

python scripts/diagram.py
"""

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Rectangle

from cosub.runs.drawing import panels, save

PICTURE = Path(__file__).parents[1] / "docs" / "diagram.png"
ROWS = {1.55: (1, 0, 1, 1, 0, 1), 0.45: (0, 1, 1, 0, 1, 1)}  # height of a submodel, and which layers it keeps
KEPT, SKIPPED, INK = "#0072b2", "#d9d9d9", "#222222"
FIRST, STEP, HALF = 2.3, 0.95, 0.3  # centre of the first layer, distance of two, half of a layer's width


def arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float], bend: float = 0.0, **style: object) -> None:
    settings = {"arrowstyle": "-|>", "mutation_scale": 12, "color": INK, "linewidth": 1.2, **style}
    axes.add_patch(FancyArrowPatch(start, end, connectionstyle=f"arc3,rad={bend}", shrinkA=0, shrinkB=0, **settings))


def box(axes: Axes, centre: tuple[float, float], size: tuple[float, float], colour: str, text: str = "") -> None:
    (x, y), (width, height) = centre, size
    rounded = FancyBboxPatch((x - width / 2, y - height / 2), width, height, "round,pad=0,rounding_size=0.06",
                             facecolor=colour, edgecolor=INK, linewidth=0.8)  # fmt: skip
    axes.add_patch(rounded)
    axes.text(x, y, text, ha="center", va="center", color="white" if colour == KEPT else INK, fontsize=9)


def submodel(axes: Axes, height: float, kept: tuple[int, ...]) -> float:
    """One row of layers; where its stream ends."""
    end = FIRST + STEP * (len(kept) - 1) + 0.75
    arrow(axes, (1.25, height), (end, height))
    for layer, on in enumerate(kept):
        x = FIRST + STEP * layer
        if on:
            box(axes, (x, height), (2 * HALF, 0.44), KEPT, f"$r_{layer + 1}$")
        else:
            beside = height + (0.36 if height > 1 else -0.36)
            box(axes, (x, beside), (2 * HALF, 0.22), SKIPPED)
            axes.text(x, beside, "skipped", ha="center", va="center", color="#555555", fontsize=6.5)
    return end


def draw() -> None:
    figure, ((axes,),) = panels(9, 2.2, "Submodel co-training: two random submodels of one network teach each other")
    axes.set(xlim=(0, 10.7), ylim=(-0.1, 2.1), aspect="equal")
    axes.axis("off")
    axes.add_patch(Rectangle((0.05, 0.68), 0.64, 0.64, facecolor="#f0e442", edgecolor=INK, linewidth=0.8))
    axes.text(0.37, 1.0, "image", ha="center", va="center", fontsize=9, color=INK)
    ends = {}
    for height, kept in ROWS.items():
        arrow(axes, (0.72, 1.0 + 0.2 * (1 if height > 1 else -1)), (1.25, height), arrowstyle="-")
        ends[height] = submodel(axes, height, kept)
    (upper, lower), end = ROWS, max(ends.values())
    for number, height in enumerate(ROWS, start=1):
        box(axes, (end + 0.62, height), (1.2, 0.44), "white", f"prediction {number}")
    x = end + 0.62
    arrow(axes, (x - 0.3, upper - 0.24), (x - 0.3, lower + 0.24), color="#d55e00")
    arrow(axes, (x + 0.3, lower + 0.24), (x + 0.3, upper - 0.24), color="#d55e00")
    axes.text(x, (upper + lower) / 2, "target", ha="center", va="center", fontsize=8, color="#d55e00", rotation=90)
    box(axes, (x + 1.75, 1.0), (0.8, 0.44), "white", "label")
    arrow(axes, (x + 1.6, 1.24), (x + 0.64, upper - 0.05), bend=0.2, color="#009e73")
    arrow(axes, (x + 1.6, 0.76), (x + 0.64, lower + 0.05), bend=-0.2, color="#009e73")
    axes.text(FIRST + 2.5 * STEP, 1.0, "two submodels of one network, one set of weights", ha="center",
              va="center", fontsize=9, style="italic", color=INK)  # fmt: skip
    save(figure, PICTURE)


if __name__ == "__main__":
    draw()
