"""A classifier that starts at zero: the first loss is that of a network that knows nothing, in every family."""

import dataclasses
import math

import pytest
import torch
from conftest import SMALL
from outside import OUTSIDE, made
from torch import nn

import cosub
from cosub.recipes import get
from cosub.recipes.files import dump, parse
from cosub.recipes.recipe import Recipe
from cosub.runs.network import build_network
from cosub.weights.heads import zero_heads

CLASSES = 5


@pytest.mark.parametrize("name", [*sorted(SMALL), *sorted(OUTSIDE)])
def test_the_first_loss_is_that_of_all_classes_alike(name, images):
    torch.manual_seed(0)
    model = SMALL[name]() if name in SMALL else made(OUTSIDE[name])
    assert _logits(model, images).abs().max() > 0  # else the test says nothing
    zero_heads(model)
    logits = _logits(cosub.attach(model, drop_rate=0.5, copies=2), images)
    assert logits.shape == (2 * len(images), CLASSES)
    assert not logits.any()
    labels = torch.arange(len(images)) % CLASSES
    assert cosub.cosub_loss(logits, labels, kind="ce-soft").item() == pytest.approx(math.log(CLASSES))
    assert cosub.cosub_loss(logits, labels, kind="bce-soft").item() == pytest.approx(math.log(2))
    cosub.cosub_loss(logits, labels, kind="ce-soft").backward()
    head = [parameter for parameter in model.parameters() if parameter.grad is not None and parameter.grad.any()]
    assert head  # it learns from there


def _logits(model: nn.Module, images: torch.Tensor) -> torch.Tensor:
    torch.manual_seed(1)
    return model.train()(images)


def test_both_heads_of_a_distilled_network():
    import timm

    model = timm.create_model("deit_tiny_distilled_patch16_224", embed_dim=24, depth=1, num_heads=3, num_classes=5)
    zero_heads(model)
    assert not any(layer.weight.any() or layer.bias.any() for layer in model.get_classifier())


def test_a_network_without_a_classifier_stays_as_it_is():
    import timm

    model = timm.create_model("resnet18", num_classes=0)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    zero_heads(model)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


SHAPE = {"img_size": 32, "embed_dim": 24, "depth": 2, "num_heads": 3}


def test_the_recipe_says_how_the_classifier_starts_and_the_rest_is_the_same():
    arguments = {key: value for key, value in SHAPE.items() if key != "img_size"}
    recipe = Recipe("test", "vit_tiny_patch16_224", arguments, resolution=32)
    model, zero = (
        build_network(dataclasses.replace(recipe, head=head), 10, copies=1).state_dict() for head in ("model", "zero")
    )
    differ = {name for name, value in model.items() if not torch.equal(value, zero[name])}
    assert differ == {"head.weight"}
    assert not zero["head.weight"].any()


def test_finetune_starts_from_a_probe_and_recipes_of_before_as_they_did():
    import json

    assert get("finetune").head == "probe"
    assert get("deit3-b-21k-90-1k").head == get("cifar10").head == "model"
    written = json.loads(dump(get("finetune")))
    del written["format"], written["head"]
    assert parse(written, "an earlier recipe.json").head == "model"
