"""Names of models on the Hub, and of the one file that is read from there."""

import re

from cosub.errors import InputError

FILE = "model.safetensors"


def is_hub_name(name: str) -> bool:
    """Whether a name is OWNER/NAME, and leads out of no folder."""
    return bool(re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", name, re.ASCII)) and ".." not in name


def require_hub_name(name: str) -> None:
    """Raise InputError unless the name is OWNER/NAME, before anything is requested."""
    if not is_hub_name(name):
        raise InputError(f"weights: hf-hub:{name}: must be hf-hub:OWNER/NAME")
