"""Where weights are read from: a file, a folder, the Hub, a name of timm's. No code is run by reading them."""

import argparse
import os
import re
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from timm import list_pretrained
from timm.models import get_pretrained_cfg, is_model_pretrained, load_state_dict_from_hf

from cosub.errors import InputError, nearest
from cosub.weights.hub_names import FILE, require_hub_name
from cosub.weights.naming import Weights


def require_weights(source: str | Path) -> None:
    """Refuse a path that is not there or a folder without weights, before anything is computed; nothing is read."""
    opener(source)


def opener(source: str | Path) -> Callable[[], Any]:
    """A function that reads the weights of a source. Raises InputError where there is nothing to read."""
    kind, _, name = str(source).partition(":")
    if kind == "hf-hub":
        return partial(_from_hub, name)
    if kind == "timm":
        return partial(_from_timm, name)
    path = Path(source)
    if os.path.isdir(path):
        if not (path / FILE).is_file():
            raise InputError(f"weights: {path}: is a folder without {FILE}; name a finished run or a file")
        path = path / FILE
    if os.path.exists(path):  # False for a name that is too long for a file
        return partial(_from_file, path)
    if is_model_pretrained(str(source)):
        return partial(_from_timm, str(source))
    raise InputError(
        f"weights: {source}: is neither a file, nor a run's folder, nor a name of timm's weights"
        f"{nearest(str(source), list_pretrained())}"
    )


def _from_timm(name: str) -> Weights:
    """Weights by a name of timm's registry, which has their place on the Hub."""
    if not is_model_pretrained(name):
        raise InputError(f"weights: timm:{name}: timm has no weights of that name{nearest(name, list_pretrained())}")
    found = get_pretrained_cfg(name)
    if found is None or not found.hf_hub_id:
        raise InputError(f"weights: timm:{name}: are not on the Hub; download timm's file, and name it with --weights")
    return _from_hub(found.hf_hub_id)


def _from_hub(name: str) -> Weights:
    """The safetensors file of a model on the Hub. With its name given, timm requests no other and unpickles none."""
    require_hub_name(name)
    try:
        return load_state_dict_from_hf(name, filename=FILE)
    except Exception as error:  # of any kind, from the network
        raise InputError(
            f"weights: hf-hub:{name}: its {FILE} cannot be downloaded ({_short(error)}); check the name and network, "
            f"or name a copy of that file, --weights FOLDER/{FILE}; other files on the Hub are not read"
        ) from error


def _from_file(path: Path) -> Any:
    try:
        return load_file(path) if path.suffix == ".safetensors" else _load_tensors(path)
    except UnpicklingError as error:
        if found := re.search(r"GLOBAL (\S+)", str(error)):
            raise InputError(
                f"weights: {path}: holds the Python object {found[1]}, and reading it could run code; "
                "save the state_dict alone, best as safetensors"
            ) from error
        raise _damaged(path, ValueError("not written by torch.save")) from error
    except (OSError, SafetensorError) as error:
        raise _damaged(path, error) from error


def _load_tensors(path: Path) -> Any:
    """Read a .pth file: tensors, plain values, and a training script's options (argparse.Namespace) of plain values."""
    with warnings.catch_warnings(), torch.serialization.safe_globals([argparse.Namespace]):
        warnings.simplefilter("ignore")  # torch guesses what is wrong with a damaged file
        try:
            return torch.load(path, map_location="cpu", weights_only=True)
        except (OSError, UnpicklingError):
            raise
        except Exception as error:  # of any kind, where bytes are damaged
            raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> InputError:
    return InputError(
        f"weights: {path}: cannot be read as weights: it is damaged, or holds none ({_short(error)}); name a "
        ".safetensors or .pth file, or get it again"
    )


def _short(error: Exception) -> str:
    text = " ".join(str(error).split())[:120].strip(" .")
    return text if any(map(str.isalpha, text)) else f"{type(error).__name__} {text}".strip()
