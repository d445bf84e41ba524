"""Draw the rooms of the package, each above all that it imports: docs/rooms.png.

python scripts/rooms.py
"""

import ast
import re
import textwrap
from collections import defaultdict
from pathlib import Path

from matplotlib.patches import Rectangle
from tree import SOURCE, purpose

from cosub.runs.drawing import panels, save

PICTURE = SOURCE.parents[1] / "docs" / "rooms.png"
WIDTH, GAP = 9.0, 0.12  # width of a row, and gap between its boxes


def rooms() -> dict[str, Path]:
    """Each folder and file at top level, except those of the package itself."""
    files = {path.stem: path for path in SOURCE.glob("*.py") if not path.stem.startswith("__")}
    return files | {path.parent.name: path for path in SOURCE.glob("*/__init__.py")}


def imports(room: str, path: Path) -> set[str]:
    """The rooms that a room imports from."""
    found: set[str] = set()
    for file in path.parent.rglob("*.py") if path.name == "__init__.py" else [path]:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("cosub."):
                found.add(node.module.split(".")[1])
            elif isinstance(node, ast.ImportFrom) and node.module == "cosub":
                found |= {alias.name for alias in node.names}
    return (found & rooms().keys()) - {room}


def levels() -> list[list[str]]:
    """The rooms by level, from the bottom: a room is one level above the highest room that it imports."""
    below = {room: imports(room, path) for room, path in rooms().items()}
    level: dict[str, int] = {}
    while len(level) < len(below):
        level |= {
            room: 1 + max((level[other] for other in others), default=-1)
            for room, others in below.items()
            if room not in level and others <= level.keys()
        }
    found: dict[int, list[str]] = defaultdict(list)
    for room, height in sorted(level.items()):
        found[height].append(room)
    return [found[height] for height in sorted(found)]


def draw() -> None:
    stack, where = levels(), rooms()
    title = "Rooms of cosub. Each imports only from rooms below it. Blue: the library; sand: runs and tools"
    figure, ((axes,),) = panels(WIDTH, 0.66 * len(stack) + 0.3, title)
    for height, names in enumerate(stack):
        width = (WIDTH - GAP * (len(names) - 1)) / len(names)
        for place, name in enumerate(names):
            left = place * (width + GAP)
            library = where[name].name != "__init__.py" or name in ("twins", "architectures", "weights")
            colour = "#dbe9f6" if library else "#f3eadb"
            axes.add_patch(Rectangle((left, height), width, 0.82, facecolor=colour, edgecolor="#444444"))
            middle = left + width / 2
            axes.text(middle, height + 0.65, name, ha="center", va="center", fontsize=10, weight="bold")
            words = textwrap.fill(re.sub(r"`| \(section.*?\)", "", purpose(where[name])), int(18 * width))
            axes.text(middle, height + 0.5, words, ha="center", va="top", fontsize=6.4, linespacing=1.1)
    axes.set(xlim=(-0.05, WIDTH + 0.05), ylim=(-0.1, len(stack)))
    axes.axis("off")
    save(figure, PICTURE)


if __name__ == "__main__":
    draw()
