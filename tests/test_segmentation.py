"""Semantic segmentation: UperNet on attached backbones, dense losses, scenes, evaluation, runs."""

import copy
import dataclasses
from pathlib import Path

import pytest
import torch
from torch import Tensor

import cosub
from conftest import SMALL
from cosub.errors import InputError
from cosub.network import build_network
from cosub.recipes import get
from cosub.recipes.config import Augment, Classification, Cosub, Distill, Recipe, Scenes, Segmentation, Supervised
from cosub.segmentation.backbones import look, tapped
from cosub.segmentation.network import Classifier, Segmenter

TINY = {"patch_size": 8, "embed_dim": 24, "depth": 4, "num_heads": 3, "init_values": 0.1}


def recipe(**changes) -> Recipe:
    """A recipe for crops of 32 pixels on a tiny ViT."""
    task = Segmentation(width=8, short_side=32)
    small = {"model": "deit3_small_patch16_224", "model_args": TINY, "resolution": 32, "task": task, "weights": ""}
    return dataclasses.replace(get("camvid"), **{**small, "drop_rate": 0.5, **changes})


# --- networks


def segmenter(family: str) -> Segmenter:
    with torch.device("meta"):
        shape = look(SMALL[family](), 32)
    torch.manual_seed(0)
    return Segmenter(cosub.attach(SMALL[family](), drop_rate=0.5, copies=2), shape, 5, width=8)


def test_blocks_are_those_of_the_paper():
    assert tapped(12) == [3, 5, 7, 11]
    assert tapped(24) == [7, 11, 15, 23]


# Strides of what the heads get: the small models of some families have patches of 8 or 2 pixels.
STRIDES = {
    **{"convnext": [4, 8, 16, 32], "deit3": [2, 4, 8, 16], "patchconvnet": [4, 8, 16, 32], "pit": [4, 8, 16]},
    **{"resnet18": [4, 8, 16, 32], "swin": [2, 4, 8], "xcit": [2, 4, 8, 16]},
}


@pytest.mark.parametrize("family", sorted(STRIDES))
def test_two_copies_give_the_maps_of_the_doubled_input_and_what_they_hang_on_learns(family, images: Tensor, table):
    network = segmenter(family).eval()
    layers, rows = len(cosub.state(network).rates), 2 * len(images)
    with torch.no_grad(), cosub.active(network, table(layers, rows)):
        copied, doubled = network.maps(images), network.maps(torch.cat([images, images]))
    for one, other in zip(copied, doubled, strict=True):
        assert one.shape[0] == rows
        torch.testing.assert_close(one, other)
    assert not torch.equal(copied[-1][: len(images)], copied[-1][len(images) :])
    with torch.no_grad():
        assert [32 // level.shape[-1] for level in network.neck(copied)] == STRIDES[family]
    for name, parameter in network.backbone.named_parameters():
        parameter.requires_grad_(name not in network.shape.unused)
    logits, auxiliary = network.train()(images)
    assert logits.shape[:2] == auxiliary.shape[:2] == (rows, 5)
    (logits.sum() + auxiliary.sum()).backward()
    assert all((parameter.grad is not None) == parameter.requires_grad for parameter in network.parameters())


def test_the_classifiers_drop_channels_and_keep_transformers_keys():
    network = segmenter("deit3")
    assert {"decode_head.classifier.weight", "auxiliary_head.classifier.weight"} <= network.state_dict().keys()
    classifier = network.decode_head.classifier
    assert isinstance(classifier, Classifier)
    torch.manual_seed(0)
    x = torch.ones(64, 8, 2, 2)
    dropped = classifier.train()(x) - classifier.bias.view(1, -1, 1, 1)
    kept = classifier.eval()(x) - classifier.bias.view(1, -1, 1, 1)
    assert not torch.equal(dropped, kept)
    assert torch.equal(dropped[..., 0, 0], dropped[..., 1, 1])  # whole channels
    torch.testing.assert_close(dropped.mean(0), kept.mean(0), rtol=0.3, atol=0.1)


def test_a_recipe_builds_its_network_and_weights_fit_its_backbone(tmp_path: Path):
    from safetensors.torch import save_file

    network = build_network(recipe(), 11, copies=2)
    assert isinstance(network, Segmenter)
    assert network.shape.any_size
    published = SMALL["deit3"]()
    save_file(published.state_dict(), tmp_path / "model.safetensors")
    said = cosub.load_weights(network.backbone, tmp_path)
    assert said == ["head of 5 classes dropped: this network has none"]
    assert torch.equal(network.backbone.blocks[0].mlp.fc1.weight, published.blocks[0].mlp.fc1.weight)
    frozen = [name for name, parameter in network.named_parameters() if not parameter.requires_grad]
    assert frozen == ["backbone.norm.weight", "backbone.norm.bias"]
    assert network.no_weight_decay() == {f"backbone.{name}" for name in published.no_weight_decay()}
    again = build_network(recipe(), 11, copies=1)
    assert torch.equal(again.decode_head.classifier.weight, network.decode_head.classifier.weight)


def test_a_network_without_maps_of_three_sizes_is_one_line():
    with pytest.raises(InputError, match="mixer_s16_224"):
        build_network(recipe(model="mixer_s16_224", model_args={}), 11, copies=1)
