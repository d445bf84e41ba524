"""The words that load what was exported, from any folder, in a process that has no cosub."""

from pathlib import Path

from cosub.choices import Format
from cosub.export.plain import Plain


def loading_words(plain: Plain, form: Format, where: str) -> list[str]:
    """Lines of Python. `where` is the folder that was written, or OWNER/NAME on the Hub."""
    if form == "hub":
        return _timm(f"hf-hub:{where}")
    folder = Path(where).resolve()
    if form == "onnx":
        return ["import onnxruntime", f"session = onnxruntime.InferenceSession({str(folder / 'model.onnx')!r})"]
    if plain.needs_module:
        path = f"sys.path.insert(0, {str(folder)!r})"
        return ["import sys", path, "from model import load", "network = load()"]
    return _timm(f"local-dir:{folder}")


def _timm(source: str) -> list[str]:
    return ["import timm", f"network = timm.create_model({source!r}, pretrained=True).eval()"]
