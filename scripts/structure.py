"""The structure of the package in numbers: of the files here, and of the commits that are named.

python scripts/structure.py [COMMIT ...]
"""

import ast
import io
import statistics
import subprocess
import sys
import tarfile
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import networkx
from tree import SOURCE

from cosub.runs.tables import align


def measured(source: Path) -> dict[str, str]:
    """The numbers of a package, by what they count."""
    trees = {path.relative_to(source): ast.parse(path.read_text()) for path in sorted(source.rglob("*.py"))}
    names = {_module(path): path for path in trees}
    files = networkx.DiGraph()
    files.add_nodes_from(names)
    for name, path in names.items():
        files.add_edges_from((name, other) for other in _imported(trees[path], set(names)) if other != name)
    rooms = networkx.DiGraph((_room(a), _room(b)) for a, b in files.edges if _room(a) != _room(b))
    repeated = Counter(path.name for path in trees if path.stem != "__init__")
    functions, classes = _lengths(trees, ast.FunctionDef), _lengths(trees, ast.ClassDef)
    return {
        "entries at top level": str(len({path.parts[0] for path in trees})),
        "floors of rooms": str(1 + networkx.dag_longest_path_length(networkx.condensation(rooms))),
        "arrows between rooms": str(rooms.number_of_edges()),
        "circles of rooms, of files": f"{_circles(rooms)}, {_circles(files)}",
        "files, lines": f"{len(trees)}, {sum(len((source / path).read_text().splitlines()) for path in trees):,}",
        "functions: number, median, longest": _summary(functions),
        "classes: number, median, longest": _summary(classes),
        "imports inside functions": str(sum(_inner_imports(tree) for tree in trees.values())),
        "base names that occur twice or more": str(sum(number > 1 for number in repeated.values())),
    }


def _module(path: Path) -> str:
    return ".".join(("cosub", *path.with_suffix("").parts)).removesuffix(".__init__")


def _room(module: str) -> str:
    return module.split(".")[1] if "." in module else module


def _imported(tree: ast.AST, names: set[str]) -> Iterator[str]:
    """The package's modules that a file imports when it runs, also inside functions; its version is none."""
    checking = (node for node in ast.walk(tree) if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test))
    unseen = {id(inner) for node in checking for inner in ast.walk(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from {alias.name for alias in node.names} & names - {"cosub"}
        elif isinstance(node, ast.ImportFrom) and node.module in names and id(node) not in unseen:
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            yield from inner & names
            if inner - names and node.module != "cosub":
                yield node.module


def _circles(graph: networkx.DiGraph) -> int:
    return sum(len(part) > 1 for part in networkx.strongly_connected_components(graph))


def _lengths(trees: dict[Path, ast.Module], kind: type[ast.FunctionDef] | type[ast.ClassDef]) -> list[int]:
    nodes = (node for tree in trees.values() for node in ast.walk(tree) if isinstance(node, kind))
    return [(node.end_lineno or node.lineno) - node.lineno + 1 for node in nodes]


def _summary(lengths: list[int]) -> str:
    return f"{len(lengths):,}, {statistics.median(lengths):g}, {max(lengths)}"


def _inner_imports(tree: ast.AST) -> int:
    functions = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))
    return len(
        {id(node) for one in functions for node in ast.walk(one) if isinstance(node, ast.Import | ast.ImportFrom)}
    )


def of_commit(commit: str) -> dict[str, str]:
    archive = subprocess.run(
        ["git", "archive", commit, "src/cosub"], capture_output=True, check=True, cwd=SOURCE.parents[1]
    )
    packed = io.BytesIO(archive.stdout)
    with tempfile.TemporaryDirectory() as folder, tarfile.open(fileobj=packed) as files:
        files.extractall(folder, filter="data")
        return measured(Path(folder) / "src" / "cosub")


def main(commits: list[str]) -> None:
    columns = [*map(of_commit, commits), measured(SOURCE)]
    lines = [["", *commits, "here"]]
    lines += [[name, *(column[name] for column in columns)] for name in columns[0]]
    print("\n".join(align(lines)))


if __name__ == "__main__":
    main(sys.argv[1:])
