"""Names of models on the Hub, and of the one file that is taken from there."""

import re

from cosub.errors import InputError

FILE = "model.safetensors"


def require_hub_name(name: str) -> None:
    """Raises InputError for what is not OWNER/NAME, and so is not asked for."""
    if not re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", name, re.ASCII) or ".." in name:
        raise InputError(f"weights: hf-hub:{name}: must be hf-hub:OWNER/NAME")
