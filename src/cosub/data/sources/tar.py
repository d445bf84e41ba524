"""Images inside tar files, by index: the place of each image is found once, and its bytes are then read directly.

So shards are a set like any other: an epoch has each image once, for any number of workers and processes, and a run
continues where it stopped. A stream could not guarantee that. Nothing is ever extracted.
"""

import io
import itertools
import json
import tarfile
import zipfile
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np

from cosub.data.atomic import written_atomically
from cosub.data.decoding import EXTENSIONS, Read, decode, rgb
from cosub.errors import InputError

_BLOCK = tarfile.BLOCKSIZE
_LABELS = (".cls", ".json")


@dataclass(frozen=True)
class Index:
    """The place of each image: number of the shard, first byte, number of bytes; and its label."""

    shard: np.ndarray
    offset: np.ndarray
    size: np.ndarray
    label: np.ndarray

    @staticmethod
    def of(rows: Sequence[tuple[int, int, int, int]]) -> "Index":
        columns = np.array(rows, dtype=np.int64).reshape(-1, 4).T
        return Index(columns[0].astype(np.int32), columns[1], columns[2], columns[3].astype(np.int32))

    @property
    def labels(self) -> Sequence[int]:
        return array("i", self.label.astype(np.intc).tobytes())


@dataclass(frozen=True)
class TarImages:
    """The images of some tar files."""

    shards: Sequence[Path]
    index: Index
    labels: Sequence[int]

    def image(self, index: int, read: Read = rgb) -> Any:
        return decode(lambda: io.BytesIO(self._bytes(index)), lambda: self.name(index), read)

    def name(self, index: int) -> str:
        """Shard and member. The member's name is read from the shard, since millions of names would fill memory."""
        shard, offset = self.shards[self.index.shard[index]], int(self.index.offset[index])
        try:
            header = _read(shard, offset - _BLOCK, _BLOCK)
            return f"{shard}:{tarfile.TarInfo.frombuf(header, 'utf-8', 'surrogateescape').name}"
        except (OSError, tarfile.TarError):
            return f"{shard}:{offset}"

    def _bytes(self, index: int) -> bytes:
        size = int(self.index.size[index])
        found = _read(self.shards[self.index.shard[index]], int(self.index.offset[index]), size)
        if len(found) < size:
            raise OSError(f"{len(found)} of {size} bytes: the shard was truncated")
        return found


def _read(path: Path, offset: int, size: int) -> bytes:
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(size)


def read_index(shards: Sequence[Path], kept: Path | None) -> Index:
    """The places and labels of the images in these shards.

    Args:
        shards: uncompressed tar files in webdataset's layout.
        kept: a file for the index; read if it belongs to these shards as they are now, else written.

    Raises:
        InputError: for a shard that is not a tar file, is truncated, or holds an image without a label.
    """
    stamp = json.dumps([[path.name, path.stat().st_size, path.stat().st_mtime_ns] for path in shards])
    if kept is not None and (found := _load(kept, stamp)) is not None:
        return found
    index = Index.of([(number, *row) for number, path in enumerate(shards) for row in _samples(path)])
    if kept is not None:
        _save(kept, stamp, index)
    return index


def _load(path: Path, stamp: str) -> Index | None:
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            if str(file["stamp"]) != stamp:
                return None
            return Index(*(file[name] for name in ("shard", "offset", "size", "label")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"data.index: {path}: is not an index ({error}); remove it, or name another file") from error


def _save(path: Path, stamp: str, index: Index) -> None:
    with written_atomically(path) as aside, aside.open("wb") as file:
        np.savez(file, stamp=np.array(stamp), **vars(index))


class _Member(NamedTuple):
    name: str
    offset: int
    size: int
    content: bytes


def _samples(path: Path) -> Iterator[tuple[int, int, int]]:
    """First byte, number of bytes and label of each image in a shard.

    By webdataset's rule, consecutive members whose names agree up to the first dot are a sample. If none of these is an
    image by that rule, the names themselves contain dots, and are compared up to the last one.
    """
    for _, group in itertools.groupby(_members(path), key=lambda member: _parts(member.name)[0]):
        members = list(group)
        dotted = not any(_parts(member.name)[1] in EXTENSIONS for member in members)
        yield from _group(path, members, _parts_by_last_dot if dotted else _parts)


def _group(
    path: Path, members: Sequence[_Member], parts: Callable[[str], tuple[str, str]]
) -> Iterator[tuple[int, int, int]]:
    """The samples among members whose names agree up to the first dot. `parts` splits a name and its extension."""
    images: dict[str, tuple[int, int]] = {}
    labels: dict[str, int | None] = {}
    for member in members:
        stem, extension = parts(member.name)
        if extension in EXTENSIONS:
            images[stem] = member.offset, member.size
        elif extension in _LABELS and (labels.get(stem) is None or extension == ".cls"):
            labels[stem] = _label(path, member.name, member.content)
    for stem, image in images.items():
        alone = len(images) == 1  # then a label with a shorter name belongs to it
        yield from _sample(path, stem, image, labels.get(stem, next(iter(labels.values()), None) if alone else None))


def _sample(path: Path, key: str, image: tuple[int, int], label: int | None) -> Iterator[tuple[int, int, int]]:
    if label is None:
        raise InputError(f"data.path: {path}: {key} has no label; expected {key}.cls, or {key}.json with label")
    yield (*image, label)


def _parts(name: str) -> tuple[str, str]:
    path = PurePosixPath(name)
    stem, dot, extension = path.name.partition(".")
    return str(path.parent / stem), (dot + extension).lower()


def _parts_by_last_dot(name: str) -> tuple[str, str]:
    path = PurePosixPath(name)
    return str(path.with_suffix("")), path.suffix.lower()


def _label(path: Path, name: str, content: bytes) -> int | None:
    try:
        value = json.loads(content)
    except ValueError as error:
        raise InputError(f"data.path: {path}: {name} holds no label ({error}); get the shard again") from error
    value = value.get("label") if isinstance(value, dict) else value
    if value is not None and type(value) is not int:
        raise InputError(f"data.path: {path}: {name} has {str(value)[:40]!r} as label; it must be a whole number")
    return value


def _members(path: Path) -> Iterator[_Member]:
    """The files in a tar file except hidden ones, with the content of those that hold a label.

    Raises:
        InputError: if it does not end as a tar file does: then something is missing, perhaps whole members.
    """
    length, end = path.stat().st_size, 0
    try:
        with tarfile.open(path, "r:") as shard:
            while (member := shard.next()) is not None:
                end = member.offset_data + -(-member.size // _BLOCK) * _BLOCK
                if member.isreg() and not PurePosixPath(member.name).name.startswith("."):
                    labels = PurePosixPath(member.name).suffix.lower() in _LABELS
                    content = _content(shard, member) if labels else b""
                    yield _Member(member.name, member.offset_data, member.size, content)
                shard.members.clear()  # pyright: ignore[reportAttributeAccessIssue]  (it would keep them all)
    except tarfile.TarError as error:
        if _read(path, 0, 2) in (b"\x1f\x8b", b"BZ", b"\xfd7", b"\x28\xb5"):  # gzip, bzip2, xz, zstd
            raise InputError(f"data.path: {path}: is compressed, so images cannot be found in it; unpack it") from error
        raise InputError(f"data.path: {path}: is not a tar file or is truncated ({error}); get it again") from error
    if end + _BLOCK > length or any(_read(path, end, _BLOCK)):
        raise InputError(f"data.path: {path}: is damaged or truncated at byte {min(end, length)}; get it again")


def _content(shard: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = shard.extractfile(member)
    return b"" if file is None else file.read()
