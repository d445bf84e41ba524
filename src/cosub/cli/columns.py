"""Text in columns, for a terminal."""

from collections.abc import Sequence


def align(lines: Sequence[Sequence[str]], aligns: Sequence[str] = ()) -> list[str]:
    """Lines of cells as lines of text in columns; `aligns` has "<" or ">" for each column, by default "<"."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    forms = [f"{side}{width}" for side, width in zip(aligns or "<" * len(widths), widths, strict=True)]
    return ["  ".join(f"{cell:{form}}" for cell, form in zip(line, forms, strict=True)).rstrip() for line in lines]
