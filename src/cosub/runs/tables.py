"""Tables as text, and in Markdown."""

import io
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

WHOLE = 10_000  # a width at which each row is one line


def align(lines: Sequence[Sequence[str]], aligns: Sequence[str] = (), width: int = 0) -> list[str]:
    """Rows of cells as lines of text in columns.

    Args:
        lines: the rows, with titles as the first one.
        aligns: "<" or ">" of each column, by default "<".
        width: the maximum of a line; longer cells are wrapped. By default that of the terminal; without one, each row
            is one line, for grep.
    """
    if not lines:
        return []
    terminal = Console()
    width = width or (terminal.width if terminal.is_terminal else WHOLE)
    grid = Table.grid(padding=(0, 2))
    for side in aligns or "<" * len(lines[0]):
        grid.add_column(justify="right" if side == ">" else "left", overflow="fold")
    for line in lines:
        grid.add_row(*map(Text, line))
    console = Console(file=io.StringIO(), width=width, color_system=None, force_jupyter=False)  # it would show a blank
    with console.capture() as captured:
        console.print(grid)
    return [line.rstrip() for line in captured.get().rstrip("\n").split("\n")]


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a table in Markdown, with any character in its cells."""
    lines = ([cell.replace("|", "\\|") for cell in row] for row in (head, *rows))
    first, *others = (f"| {' | '.join(cells)} |" for cells in lines)
    return [first, "|---" * len(head) + "|", *others]


def number_of(number: int, noun: str, ending: str = "s") -> str:
    """1 image; 2 images."""
    return f"{number:,} {noun}{ending if number != 1 else ''}"
