"""Checkpointing "lean": less is stored, and every gradient is that of "none" to the bit, or nothing is done."""

import pytest
import timm
import torch
from conftest import SMALL
from outside import OUTSIDE
from test_precision import step
from torch import nn

import cosub
from cosub.runs.counting import Ledger
from cosub.twins import lean

BF16 = torch.autocast("cpu", torch.bfloat16)


@pytest.fixture
def made_again(monkeypatch):
    """What is computed again in backward, by the name of its node."""
    calls = []
    find = lean._recompute

    def note(block, node):
        again = find(block, node)
        return again and (lambda: calls.append(node.name()) or again())

    monkeypatch.setattr(lean, "_recompute", note)
    return calls


def network(checkpointing="lean", depth=2, rate=0.5, width=24):
    torch.manual_seed(0)
    model = timm.create_model("deit3_small_patch16_224", img_size=32, depth=depth, embed_dim=width, num_heads=3).train()
    if checkpointing == "masked":
        for block in model.blocks:
            block.drop_path1, block.drop_path2 = timm.layers.DropPath(rate), timm.layers.DropPath(rate)
    else:
        cosub.state(cosub.attach(model, rate)).checkpointing = checkpointing
    return model


def images():
    return torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def gradients(model, backward=lambda loss: loss.backward()):
    with BF16:
        loss = model(images()).square().mean()
    backward(loss)
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def assert_equal(ours, theirs):
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())


@pytest.mark.parametrize("way", ["fp32", "autocast", pytest.param("a model in bf16", marks=pytest.mark.slow)])
@pytest.mark.parametrize("family", sorted([*SMALL, *OUTSIDE]))
def test_every_family_to_the_bit(family, way):
    assert_equal(step(family, way, "lean"), step(family, way, "none"))


def test_norms_and_activations_are_made_again(made_again):
    """Two norms and one activation a block; the gather of the first has a gradient to hand on too."""
    gradients(network())
    assert len(made_again) == 2 * 3


def kept(kind, depth, rate):
    """Bytes that live between forward and backward, without bf16 casts of weights."""
    model = network(kind, depth, rate, width=192)
    batch = torch.randn(8, 3, 32, 32)
    with Ledger(model.parameters()) as ledger:
        with BF16:
            logits = model(batch)
        total = ledger.total
    assert logits.requires_grad
    return total - sum(2 * p.numel() for p in model.parameters() if p.dim() == 2)


@pytest.mark.parametrize(("rate", "bar"), [(0.45, 0.80), (0.6, 0.54)])
def test_activations_of_a_block(rate, bar):
    """Of DeiT-III, relative to timm's masked block."""
    ours, masked = (kept(kind, 2, rate) - kept(kind, 1, rate) for kind in ("lean", "masked"))
    assert ours / masked <= bar


# --- exact or absent


def twice(loss):
    loss.backward(retain_graph=True)
    loss.backward()


def second_order(loss, model):
    first = torch.autograd.grad(loss, [p for p in model.parameters() if p.requires_grad], create_graph=True)
    sum(g.float().square().sum() for g in first).backward()


def test_twice_backward_and_second_derivatives():
    with_lean, without = network(), network("none")
    assert_equal(gradients(with_lean, twice), gradients(without, twice))
    models = [network(), network("none")]
    for block in [block for model in models for block in model.blocks]:
        block.attn.fused_attn = False  # the kernel has no second derivative
    assert_equal(*(gradients(model, lambda loss, model=model: second_order(loss, model)) for model in models))


class Doubles(nn.Module):
    """Changes what it is given in place, where autograd does not see it."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        with torch.no_grad():
            x.mul_(2)
        return self.inner(x)


def hooked(model):
    def double(_module, _given, result):
        with torch.no_grad():
            result.mul_(2)

    model.blocks[1].norm1.register_forward_hook(double)


def wrapped(model):
    model.blocks[1].mlp.fc1 = Doubles(model.blocks[1].mlp.fc1)


def reparametrized(model):
    nn.utils.parametrizations.weight_norm(model.blocks[1].mlp.fc2)


@pytest.mark.parametrize("change", [hooked, wrapped, reparametrized])
def test_changed_models(change):
    models = [network(), network("none")]
    for model in models:
        change(model)
    assert_equal(*(gradients(model) for model in models))


def test_nothing_is_done_where_others_pack_tensors(made_again):
    with torch.autograd.graph.save_on_cpu():
        ours = gradients(network())
    assert not made_again
    assert_equal(ours, gradients(network("none")))


def test_nothing_is_done_under_torch_func(made_again):
    model = network().requires_grad_(True)
    values = dict(model.named_parameters())
    torch.func.grad(lambda v: torch.func.functional_call(model, v, (images(),)).square().mean())(values)
    assert not made_again


def test_detach_leaves_no_checkpointing():
    assert not cosub.detach(network()).grad_checkpointing
    assert cosub.detach(network("blocks")).grad_checkpointing
