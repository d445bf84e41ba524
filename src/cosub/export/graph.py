"""ONNX: torch's exporter, any number of images, checked with onnxruntime."""

import contextlib
import copy
import importlib.util
import io
import logging
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from timm.models._hub import save_config_for_hf
from torch import Tensor, nn

from cosub.errors import InputError, RunError
from cosub.export.card import Facts, onnx_usage, readme
from cosub.export.checks import NEAR, batched_logits, require_same
from cosub.export.plain import Plain
from cosub.export.writing import settings
from cosub.runs.folder import aside
from cosub.runs.names import write_text

_FILE = "model.onnx"
_ONE_FILE = 1.5e9  # bytes of weights: a protobuf holds 2 GiB


def require_packages() -> None:
    """Raises InputError with the command that installs what ONNX needs, if it is not there."""
    missing = [name for name in ("onnx", "onnxscript", "onnxruntime") if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(f"format: onnx: needs {', '.join(missing)}; pip install 'cosub[onnx]'")


def write_onnx(
    plain: Plain,
    facts: Facts,
    folder: Path,
    images: Float[Tensor, "B 3 H W"],
    source: Float[Tensor, "B K"],
    say: Callable[[str], None],
) -> float:
    """Write FOLDER/model.onnx from "images" `(B, 3, H, W)` to "logits" `(B, K)`, with a config and a card.

    Where the exporter cannot take fused attention, it gets attention in plain operations, and `say` gets a message.

    Returns:
        The largest difference between the logits of onnxruntime and the run's, over batches of several sizes.

    Raises:
        InputError: if something is there already, or a package is missing.
        RunError: if torch cannot export the model, or the result gives other logits than the run.
    """
    require_packages()
    with aside(folder) as place:
        _export(plain.model, images[:2], place / _FILE, say)
        save_config_for_hf(plain.model, str(place / "config.json"), **settings(facts, plain))
        write_text(place / "README.md", readme(facts, plain, onnx_usage()))
        found = batched_logits(_session(place / _FILE), images, batches=(1, 3) if len(images) > 4 else ())
        return require_same(found, source, NEAR, "the ONNX model")


def _export(model: nn.Module, images: Float[Tensor, "B 3 H W"], path: Path, say: Callable[[str], None]) -> None:
    try:
        _try(model, images, path)
    except Exception as error:  # the exporter raises what any of its stages does
        if not any(vars(module).get("fused_attn") for module in model.modules()):
            raise _unexportable(model, error) from error
        say(f"ONNX: torch cannot export fused attention ({_short(error)}); exporting it in plain operations")
        try:
            _try(unfused(model), images, path)
        except Exception as again:
            raise _unexportable(model, again) from again


def unfused(model: nn.Module) -> nn.Module:
    """A copy whose attention is matrix products and a softmax: timm's `set_fused_attn(False)`, for one model."""
    model = copy.deepcopy(model)
    for module in model.modules():
        if vars(module).get("fused_attn"):
            module.fused_attn = False  # pyright: ignore[reportArgumentType]
    return model


def _try(model: nn.Module, images: Float[Tensor, "B 3 H W"], path: Path) -> None:
    large = sum(tensor.numel() * tensor.element_size() for tensor in model.state_dict().values()) > _ONE_FILE
    with _quiet():
        torch.onnx.export(
            model,
            (images,),
            path,
            dynamo=True,
            input_names=["images"],
            output_names=["logits"],
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            external_data=large,
            verbose=False,
        )


def _session(path: Path) -> Callable[[Tensor], Tensor]:
    import onnxruntime

    options: Any = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda images: torch.from_numpy(session.run(["logits"], {"images": images.numpy()})[0])


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter's deprecations, progress and reports are not the user's business; its errors are."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            logger.setLevel(level)


def _unexportable(model: nn.Module, error: Exception) -> RunError:
    return RunError(f"format: onnx: torch {torch.__version__} cannot export {type(model).__name__} ({_short(error)})")


def _short(error: Exception) -> str:
    lines = [line.strip() for line in str(error.__cause__ or error).splitlines() if line.strip()]
    return (lines or [type(error).__name__])[0][:200].rstrip(".")
