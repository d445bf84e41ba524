"""To the Hugging Face Hub, by timm's own function."""

from timm.models import push_to_hf_hub

from cosub.errors import InputError, RunError
from cosub.export.card import Facts, card, timm_usage
from cosub.export.plain import Plain
from cosub.export.writing import settings
from cosub.weights.hub_names import is_hub_name


def require_name(repository: str) -> None:
    """Raises InputError for what is not OWNER/NAME."""
    if not is_hub_name(repository):
        raise InputError(f"repo: {repository!r}: must be OWNER/NAME; say where on the Hub with --repo")


def push(plain: Plain, facts: Facts, repository: str, private: bool) -> str:
    """Push a checkpoint, its config and, where the repository has no README yet, a card.

    Returns:
        Where it can be seen.

    Raises:
        InputError: for a network that timm cannot load from the Hub.
        RunError: if the Hub does not take it.
    """
    if plain.needs_module:
        raise InputError(
            "format: hub: timm alone cannot build this network, and its push carries no module; "
            f"export with --format timm, then: hf upload {repository} FOLDER"
        )
    try:
        push_to_hf_hub(
            plain.model,
            repository,
            private=private,
            model_card=card(facts, plain, timm_usage(f"hf-hub:{repository}")),
            safe_serialization=True,
            **settings(facts, plain),
        )
    except Exception as error:  # a network raises what it likes
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise RunError(f"repo: {repository}: the Hub did not take it ({reason}); hf auth login, or check it") from error
    return f"https://huggingface.co/{repository}"
