"""A classifier that starts as the best linear one on the features of published weights: a probe, then fine-tuning.

Fine-tuning from a classifier at zero first moves the features by the gradients of a classifier that knows nothing.
"""

import functools
import warnings
from collections.abc import Mapping

import torch
import torch.distributed as dist
from jaxtyping import Float, Int
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn

from cosub.data.loading import Batch, TestSet, test_loader
from cosub.data.sources import Examples
from cosub.data.transforms import evaluation, normalize
from cosub.errors import InputError
from cosub.recipes.recipe import Recipe
from cosub.runs.distributed import World
from cosub.runs.network import evaluating
from cosub.weights.heads import head_names

MOST = 20_000  # images, evenly spaced in the training set
STRENGTH = 0.01  # scikit-learn's C on standardised features (LOG.md, 2026-11-26)
_BATCH = 64


def unfitted(network: nn.Module, recipe: Recipe) -> dict[str, nn.Module]:
    """The classifiers that are still zero, by name: those that the weights did not have.

    Raises:
        InputError: if the recipe names no weights, or the network has no classifier.
    """
    if not recipe.weights:
        raise InputError("head: probe: needs the features of published weights: name --weights, or take zero or model")
    found = {name: network.get_submodule(name) for name in head_names(network)}
    heads = {name: head for name, head in found.items() if isinstance(head, nn.Linear | nn.Conv2d)}
    if not heads:
        raise InputError("head: probe: this network has no classifier; take model")
    return {name: head for name, head in heads.items() if not head.weight.any()}


def fit_heads(
    network: nn.Module, heads: Mapping[str, nn.Module], examples: Examples, recipe: Recipe, world: World
) -> str:
    """Fit these classifiers, in place, by logistic regression; returns what there is to say.

    Features are those of the full network in eval mode, of images prepared as for evaluation. All processes get the
    same result, or error.

    Raises:
        InputError: if no image can be read, or all that can be are of one class.
    """
    features, labels = _features(network, heads, examples, recipe, world)
    right = [_fit(heads[name], found, labels) for name, found in features.items()]
    return f"fitted to the features of {len(labels)} training images; {min(right):.1%} of them are right"


def _features(
    network: nn.Module, heads: Mapping[str, nn.Module], examples: Examples, recipe: Recipe, world: World
) -> tuple[dict[str, Float[Tensor, "N D"]], Int[Tensor, " N"]]:
    """What comes into each classifier, and the labels, of all processes."""
    step = -(-len(examples.labels) // MOST)
    transform = evaluation(recipe.resolution, recipe.inputs)
    indices = range(world.rank * step, len(examples.labels), world.size * step)
    loader = test_loader(TestSet(examples, transform, indices), _BATCH, recipe.runtime.workers or 0, False)
    found: dict[str, list[Tensor]] = {name: [] for name in heads}
    labels: list[Tensor] = []

    def note(parts: list[Tensor], _head: nn.Module, given: tuple[Tensor, ...]) -> None:
        parts.append(given[0].flatten(1).float().cpu())

    handles = [head.register_forward_pre_hook(functools.partial(note, found[name])) for name, head in heads.items()]
    try:
        with evaluating(network), torch.no_grad():
            for batch in loader:
                if isinstance(batch, Batch):
                    network(normalize(batch.images.to(world.device), recipe.inputs))
                    labels.append(batch.labels)
    finally:
        for handle in handles:
            handle.remove()
    return _gathered(found, labels, world)


def _gathered(own: dict[str, list[Tensor]], labels: list[Tensor], world: World) -> tuple[dict[str, Tensor], Tensor]:
    """One tensor of the batches of all processes, of which some may have none. Raises as `fit_heads`."""
    parts = [(own, labels)] * world.size
    if world.size > 1:
        dist.all_gather_object(parts, (own, labels))
    every = [batch for _, found in parts for batch in found]
    if not every:
        raise InputError(
            "head: probe: none of the training images can be read; `cosub check-data` lists what is wrong with them"
        )
    if len(torch.cat(every).unique()) < 2:
        raise InputError(
            "head: probe: all training images that it can read are of one class, and it needs two; take zero, or see "
            "what `cosub check-data` says of the images"
        )
    features = {name: torch.cat([batch for found, _ in parts for batch in found[name]]) for name in own}
    return features, torch.cat(every)


def _fit(head: nn.Module, features: Float[Tensor, "N D"], labels: Int[Tensor, " N"]) -> float:
    """Set a linear layer, or a convolution of one pixel; gives the share of the images that it has right."""
    scaler = StandardScaler().fit(features.double().numpy())
    standard = scaler.transform(features.double().numpy())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a start need not be the optimum
        model = LogisticRegression(C=STRENGTH, max_iter=500).fit(standard, labels.numpy())
    weight, bias = torch.as_tensor(model.coef_), torch.as_tensor(model.intercept_)
    if len(model.classes_) == 2:  # scikit-learn keeps the difference of the two
        weight, bias = torch.cat([-weight, weight]) / 2, torch.cat([-bias, bias]) / 2
    weight = weight / torch.as_tensor(scaler.scale_)
    bias = bias - weight @ torch.as_tensor(scaler.mean_)
    classes = torch.as_tensor(model.classes_)
    with torch.no_grad():  # a class without images stays at zero
        for parameter, values in zip(head.parameters(), (weight, bias), strict=False):  # it may have no bias
            parameter[classes] = values.to(parameter).view(-1, *parameter.shape[1:])
    return float(model.score(standard, labels.numpy()))
