"""Which source reads a path, by the names of its files."""

from pathlib import Path

from cosub.data.sources.walking import listed

_SIGNS = {
    "hub": ("*.parquet", "*/*.parquet"),
    "shards": ("*.tar", "*/*.tar"),
    "inaturalist": ("train20*.json",),
    "scenes": ("annotations/training",),
    "torchvision": ("cifar-10-batches-*", "cifar-100-*", "flowers-102", "stanford_cars"),
}


def detect_kind(path: str | Path) -> str:
    """The kind of source that reads a folder or a file: "folder" where nothing says otherwise."""
    root = Path(path).expanduser()
    if root.suffix.lower() == ".csv":
        return "table"
    signs = ((kind, pattern) for kind, patterns in _SIGNS.items() for pattern in patterns)
    return next((kind for kind, pattern in signs if listed(root, pattern)), "folder")


def reader_hint(path: str | Path) -> str:
    """What names the source that reads a path which class folders do not describe; empty where none is known."""
    kind = detect_kind(path)
    return "" if kind == "folder" else f"; --source {kind} reads what lies there"
