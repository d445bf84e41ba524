"""Checkpoints: a folder that is written under another name, synced and renamed; checksums; no pickled code."""

import hashlib
import json
import os
import shutil
import warnings
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from cosub.errors import RunError
from cosub.runs.distributed import World

FORMAT = 1
_META = "checkpoint.json"


class DamagedCheckpoint(UserWarning):
    """A checkpoint that is skipped."""


@dataclass(frozen=True)
class Checkpoint:
    """Weights as `name -> tensors`, everything else that a run needs as plain values and tensors, and counters."""

    step: int
    weights: dict[str, dict[str, Tensor]]
    state: dict[str, Any]
    counters: dict[str, Any]


def save(folder: Path, checkpoint: Checkpoint, keep: int) -> Path:
    """Write `folder/step-N`, whole or not at all, and remove all but the newest `keep`.

    Raises:
        RunError: if it cannot be written, e.g. because the disk is full.
    """
    try:
        return _save(folder, checkpoint, keep)
    except (OSError, SafetensorError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise RunError(f"{folder}: a checkpoint cannot be written ({reason}); the one before it is intact") from error


def _save(folder: Path, checkpoint: Checkpoint, keep: int) -> Path:
    final = folder / f"step-{checkpoint.step:08d}"
    aside = folder / f".{final.name}"
    for unfinished in folder.glob(".step-*"):  # of processes that were killed while they wrote
        shutil.rmtree(unfinished, ignore_errors=True)
    aside.mkdir(parents=True)
    for name, tensors in checkpoint.weights.items():
        save_weights(tensors, aside / f"{name}.safetensors")
    torch.save(checkpoint.state, aside / "state.pt")
    files = sorted(path for path in aside.iterdir())
    meta = {
        "format": FORMAT,
        "step": checkpoint.step,
        "counters": checkpoint.counters,
        "sha256": {path.name: _digest(path) for path in files},
    }
    (aside / _META).write_text(json.dumps({**meta, "self": _digest_of(meta)}, indent=2))
    for path in [*files, aside / _META, aside]:
        _sync(path)
    for damaged in (path for path in _folders(folder) if path.name >= final.name):  # skipped when continuing
        shutil.rmtree(damaged)
    aside.rename(final)
    _sync(folder)
    for old in _folders(folder)[keep:]:
        shutil.rmtree(old)
    return final


def exist(folder: Path) -> bool:
    """Whether the folder holds any checkpoint, whole or not."""
    return bool(_folders(folder))


def latest(folder: Path) -> Checkpoint | None:
    """The newest intact checkpoint, or None where there is none yet. Damaged ones are skipped with a warning.

    Raises:
        RunError: if none of them is intact, or one cannot be read for another reason. It stays as it is.
    """
    for path in _folders(folder):
        try:
            meta = _intact(path)
        except (FileNotFoundError, ValueError, KeyError) as error:
            warnings.warn(
                f"checkpoint {path} is damaged ({_short(error)}); trying an earlier one", DamagedCheckpoint, 2
            )
        except OSError as error:
            raise _unread(path, error) from error
        else:
            return _read(path, meta)
    if exist(folder):
        raise RunError(f"{folder}: all checkpoints are damaged; remove it to begin again, or name another --out")
    return None


def latest_of_all(folder: Path, world: World) -> Checkpoint | None:
    """`latest` in each process.

    Raises:
        RunError: as `latest` in any process, or if they read checkpoints of different steps.
    """
    found = world.on_all(lambda: latest(folder))
    steps = world.gather({str(found.step) if found else "none"})
    if len(steps) > 1:
        raise RunError(
            f"{folder}: processes read those of different steps ({', '.join(sorted(steps))}): see that all of them "
            "read the same disk, and start the same command again"
        )
    return found


def save_weights(tensors: dict[str, Tensor], path: Path, metadata: dict[str, str] | None = None) -> None:
    """Write parameters and buffers to a safetensors file."""
    save_file(
        {k: v.detach().cpu().contiguous() for k, v in tensors.items()},
        path,
        {"format": "pt", **(metadata or {})},
    )


def _intact(path: Path) -> dict[str, Any]:
    """What a checkpoint says of itself. Raises ValueError, KeyError or FileNotFoundError for one that is damaged."""
    meta = json.loads((path / _META).read_text())
    if not isinstance(meta, dict):
        raise ValueError(f"{_META} is not an object")
    if meta.pop("self") != _digest_of(meta):
        raise ValueError(f"checksum of {_META} does not match")
    for name, digest in meta["sha256"].items():
        if _digest(path / name) != digest:
            raise ValueError(f"checksum of {name} does not match")
    return meta


def _read(path: Path, meta: dict[str, Any]) -> Checkpoint:
    if meta["format"] != FORMAT:
        raise RunError(
            f"{path}: is of format {meta['format']}, and this version of cosub reads {FORMAT}; take a newer one"
        )
    try:
        return _loaded(path, meta)
    except (OSError, ValueError, RuntimeError, UnpicklingError, SafetensorError) as error:
        raise _unread(path, error) from error


def _loaded(path: Path, meta: dict[str, Any]) -> Checkpoint:
    weights = {Path(name).stem: load_file(path / name) for name in meta["sha256"] if name.endswith(".safetensors")}
    state = torch.load(path / "state.pt", weights_only=True, map_location="cpu")
    return Checkpoint(meta["step"], weights, state, meta["counters"])


def _unread(path: Path, error: Exception) -> RunError:
    return RunError(
        f"{path}: cannot be read ({_short(error)}); start the same command again, or remove this folder to go on from "
        "the checkpoint before"
    )


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:120]


def _folders(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*"), reverse=True)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _digest_of(meta: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(meta, sort_keys=True).encode()).hexdigest()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
