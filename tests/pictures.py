"""Images of noise, and data sets of them: folders, Parquet, shards."""

import io
import json
import tarfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image


def picture(seed: int = 0, size: tuple[int, int] = (20, 16)) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))


def parquet(path: Path, labels: list[int], names: Sequence[str] | None = ("a", "b"), bad: int | None = None) -> None:
    rows = []
    for index, _ in enumerate(labels):
        buffer = io.BytesIO()
        picture(index).save(buffer, "PNG")
        rows.append({"bytes": b"not an image" if index == bad else buffer.getvalue(), "path": f"{index}.png"})
    table = pa.table({"img": rows, "label": pa.array(labels, pa.int64())})
    if names:
        features = {"img": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": list(names)}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(table, path)


def grey(value: int) -> bytes:
    """An image of one colour, by which it is known again."""
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (value, value, value)).save(buffer, "PNG")
    return buffer.getvalue()


def member(shard: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    shard.addfile(info, io.BytesIO(content))


def shard(path: Path, values: range, labels: int = 3, json_labels: bool = False) -> None:
    with tarfile.open(path, "w") as file:
        for value in values:
            member(file, f"{value:06d}.png", grey(value))
            label = str(value % labels)
            if json_labels:
                member(file, f"{value:06d}.json", json.dumps({"label": value % labels, "width": 8}).encode())
            else:
                member(file, f"{value:06d}.cls", label.encode())


def make_folder(path: Path, number: int = 20) -> None:
    """A folder of two classes, without splits."""
    for name in ("cat", "dog"):
        (path / name).mkdir(parents=True)
        for index in range(number):
            picture(index).save(path / name / f"{index}.png")
