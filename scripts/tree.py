"""The page of the tree: one line per room and file, the first of its docstring.

python scripts/tree.py        # prints it; `make docs` makes the page
"""

import ast
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "src" / "cosub"


def page() -> str:
    return "# The tree\n\nMade from the docstrings by `make docs`.\n\n```text\n" + "\n".join(lines(SOURCE)) + "\n```\n"


def lines(folder: Path, depth: int = 0) -> list[str]:
    """The lines of a folder: its own, those of its files, then those of its folders."""
    found = [_line(f"{folder.name}/", folder / "__init__.py", depth)]
    files = sorted(path for path in folder.glob("*.py") if path.name != "__init__.py")
    found += [_line(path.name, path, depth + 1) for path in files]
    for inner in sorted(path.parent for path in folder.glob("*/__init__.py")):
        found += lines(inner, depth + 1)
    return found


def _line(name: str, path: Path, depth: int) -> str:
    return f"{'  ' * depth + name:<30} {purpose(path)}"


def purpose(path: Path) -> str:
    """The first line of a module's docstring."""
    return (ast.get_docstring(ast.parse(path.read_text())) or "").split("\n")[0]


if __name__ == "__main__":
    print(page())
