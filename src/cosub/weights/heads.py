"""The classifiers of a network, and their initialisation at zero."""

from torch import nn

_Classifier = nn.Linear | nn.Conv2d


def head_names(model: nn.Module) -> list[str]:
    """Names of the classifiers of a timm model: `head`, `head.fc`, `fc`, or two for a distilled one."""
    found = model.get_classifier() if hasattr(model, "get_classifier") else ()  # pyright: ignore[reportCallIssue]
    heads = {id(head) for head in (found if isinstance(found, tuple) else (found,))}
    return [name for name, module in model.named_modules() if id(module) in heads]


def zero_heads(model: nn.Module) -> None:
    """Set the classifiers to zero, in place: all logits are 0, so the first loss is ln C (CE), or ln 2 (BCE).

    timm's own initialisation depends on the family: for EfficientNet and MobileNet, logits of ten classes have a
    deviation of 8. In networks from outside timm the last linear layer counts as the classifier. Without a classifier
    nothing is done.
    """
    names = head_names(model)
    modules = [model.get_submodule(name) for name in names] if hasattr(model, "get_classifier") else [model]
    for module in modules:
        layers = [layer for layer in module.modules() if isinstance(layer, _Classifier)]
        for parameter in layers[-1].parameters() if layers else ():
            nn.init.zeros_(parameter)
