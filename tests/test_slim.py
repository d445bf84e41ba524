"""Slimmed networks: what is taken out is gone, and what stays answers as the full network with those layers off."""

import pytest
import torch
from conftest import frozen

import cosub
from cosub.attachment import layers_per_block, state
from cosub.blocks import TWINS
from cosub.removal import blocks_of, remove_layers


def num_layers(model):
    return sum(TWINS[type(block)].layers_of(block) for block in blocks_of(model))


def some(total, pattern):
    """Ways of choosing layers: whole blocks gone, half-blocks, the first or the last block gone, a single layer."""
    choices = {
        "alternate": range(0, total, 2),
        "without the first": range(min(2, total - 1), total),
        "without the last": range(max(total - 3, 1)),
        "one": [total // 2],
        "all": range(total),
    }
    return list(choices[pattern])


PATTERNS = ["alternate", "without the first", "without the last", "one", "all"]


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("scale", [1.0, 1.5])
def test_a_slimmed_network_equals_the_full_one_with_the_same_layers_off(build, images, pattern, scale):
    total = num_layers(build())
    kept = some(total, pattern)
    full = cosub.attach(build().eval(), drop_rate=0.2)
    slim = cosub.attach(remove_layers(build().eval(), kept), drop_rate=0.2)
    state(slim).scale = scale
    with torch.no_grad():
        with cosub.active(full, cosub.keep_layers(kept, total, len(images), scale)):
            expected = full(images)
        torch.testing.assert_close(slim(images), expected, atol=1e-5, rtol=1e-5)
    assert sum(layers_per_block(slim)) == len(kept)
    names = dict(slim.named_parameters())
    assert names.keys() <= dict(full.named_parameters()).keys()
    assert all(names[name].shape == value.shape for name, value in full.named_parameters() if name in names)
    if pattern != "all":
        assert sum(value.numel() for value in names.values()) < sum(value.numel() for value in full.parameters())


def test_each_parameter_of_a_block_is_of_one_branch_or_of_what_lies_around_it(build):
    for block in blocks_of(build()):
        twin = TWINS[type(block)]
        named = [name for branch in twin.branches for name in branch]
        assert len(named) == len(set(named))
        others = {name.split(".")[0] for name, _ in block.named_parameters()} - set(named)
        assert others <= {"downsample", "shortcut"}
        assert len(twin.branches) == twin.layers


def test_a_slimmed_network_trains(build, images):
    slim = frozen(cosub.attach(remove_layers(build(), some(num_layers(build()), "alternate")), 0.3, copies=2).train())
    state(slim).scale = 1.2
    logits = slim(images)
    assert logits.shape == (2 * len(images), 5)
    logits.sum().backward()
    assert all(parameter.grad is not None for parameter in slim.parameters())
