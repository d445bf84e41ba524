"""Learning rates and parameter groups against the published numbers of DeiT-III and Appendix A.1."""

import dataclasses
import itertools
import math

import pytest
import torch
from timm.scheduler.cosine_lr import CosineLRScheduler

import cosub
from cosub.errors import InputError
from cosub.recipes import get
from cosub.recipes.optimizer import Optimizer
from cosub.recipes.recipe import Recipe
from cosub.runs.network import build_network
from cosub.train.optim import (
    build_optimizer,
    depths,
    learning_rate,
    parameter_groups,
    rate_scales,
    rate_table,
    set_learning_rate,
)

# DeiT-III on ImageNet-1k from scratch: its published commands.
DEIT3 = Recipe(
    name="deit3",
    model="deit3_base_patch16_224",
    epochs=800,
    batch_size=2048,
    lr=3e-3,
    optimizer=Optimizer(name="lamb", weight_decay=0.05, lr_rule="constant"),
)
PER_EPOCH = 625  # 1,281,167 images in batches of 2048


@pytest.fixture(scope="module")
def base():
    with torch.device("meta"):
        import timm

        return cosub.attach(timm.create_model(DEIT3.model, init_values=1e-4), drop_rate=0.2)


def test_the_schedule_of_deit3_base():
    parameter = torch.nn.Parameter(torch.zeros(1))
    theirs = CosineLRScheduler(
        torch.optim.SGD([parameter], lr=3e-3), t_initial=800, lr_min=1e-5, warmup_t=5, warmup_lr_init=1e-6
    )
    for epoch in range(800):
        assert learning_rate(DEIT3, epoch * PER_EPOCH, PER_EPOCH) == pytest.approx(theirs._get_lr(epoch)[0], rel=1e-9)
    assert learning_rate(DEIT3, 0, PER_EPOCH) == 1e-6
    assert learning_rate(DEIT3, 4 * PER_EPOCH, PER_EPOCH) == pytest.approx(1e-6 + (3e-3 - 1e-6) * 4 / 5)
    assert learning_rate(DEIT3, 400 * PER_EPOCH, PER_EPOCH) == pytest.approx((3e-3 + 1e-5) / 2)
    steps = [learning_rate(DEIT3, step, PER_EPOCH) for step in range(5 * PER_EPOCH, 800 * PER_EPOCH, 997)]
    assert all(a > b for a, b in itertools.pairwise(steps))
    assert steps[-1] == pytest.approx(1e-5, rel=1e-2)


def test_the_fine_tuning_of_deit3_is_flat():
    """Minimum and peak are both 1e-5, so nothing falls after the warm-up."""
    flat = dataclasses.replace(DEIT3, epochs=20, batch_size=512, lr=1e-5)
    assert {learning_rate(flat, step, 2502) for step in range(5 * 2502, 20 * 2502, 501)} == {1e-5}


def test_the_parameter_groups_of_deit3_base(base):
    optimizer = build_optimizer(DEIT3, base)
    spared, decayed = sorted(optimizer.param_groups, key=lambda group: group["weight_decay"])
    names = {id(parameter): name for name, parameter in base.named_parameters()}
    told = {group["weight_decay"]: {names[id(p)] for p in group["params"]} for group in (spared, decayed)}
    assert set(told) == {0.0, 0.05}
    assert told[0.05] == {name for name in names.values() if name.endswith("weight") and not _is_norm(name)}
    assert {"cls_token", "pos_embed", "blocks.0.ls1.gamma", "blocks.0.attn.qkv.bias", "norm.weight"} <= told[0.0]
    for group in (spared, decayed):
        assert (group["betas"], group["eps"], group["lr"]) == ((0.9, 0.999), 1e-8, 3e-3)
        assert group["max_grad_norm"] is None  # the loop clips, at the 1.0 that LAMB has built in
    assert DEIT3.optimizer.clip == 1.0


def _is_norm(name: str) -> bool:
    return ".norm" in name or name.startswith("norm")


@pytest.mark.parametrize(
    ("batch", "lr", "peak"),
    [(2048, 1e-3, 1e-3), (1024, 1e-3, 7.07e-4), (512, 1e-3, 5e-4), (256, 1e-3, 3.536e-4),
     (2048, 1e-4, 1e-4), (512, 2e-4, 1e-4), (256, 1e-4, 3.536e-5)],
)  # fmt: skip
def test_the_rules_of_appendix_a(batch, lr, peak):
    assert Recipe(name="a", model="m", batch_size=batch, lr=lr).peak_lr == pytest.approx(peak, rel=1e-3)


def test_layer_decay_of_the_paper_and_of_timm(base):
    paper, timms = (rate_scales(base, 0.75, rule) for rule in ("paper", "timm"))
    for name, exponent in {"patch_embed.proj.weight": 12, "pos_embed": 12, "blocks.0.norm1.weight": 11,
                           "blocks.11.mlp.fc2.bias": 0, "norm.weight": 0, "head.weight": 0}.items():  # fmt: skip
        assert paper[name] == pytest.approx(0.75**exponent), name
    for name, exponent in {"patch_embed.proj.weight": 13, "cls_token": 13, "blocks.0.norm1.weight": 12,
                           "blocks.11.mlp.fc2.bias": 1, "norm.weight": 1, "head.weight": 0}.items():  # fmt: skip
        assert timms[name] == pytest.approx(0.75**exponent), name
    recipe = dataclasses.replace(DEIT3, lr=2e-4, optimizer=Optimizer(layer_decay=0.75))
    table = rate_table(recipe, base)
    assert list(table) == ["before the blocks", *[f"block {place}" for place in range(1, 13)], "after the blocks"]
    assert table["block 12"] == table["after the blocks"] == pytest.approx(2e-4)
    assert table["block 10"] == pytest.approx(2e-4 * 0.75**2)


def test_layer_decay_covers_every_parameter_once(build, family):
    model = cosub.attach(build(), drop_rate=0.1)
    recipe = Recipe(name="a", model="m", optimizer=Optimizer(layer_decay=0.5, weight_decay=0.1))
    groups = parameter_groups(model, recipe)
    held = [id(parameter) for group in groups for parameter in group["params"]]
    assert sorted(held) == sorted(id(parameter) for parameter in model.parameters())
    plain = parameter_groups(model, dataclasses.replace(recipe, optimizer=Optimizer(weight_decay=0.1)))
    spared = [{id(p) for g in told if g["weight_decay"] == 0 for p in g["params"]} for told in (groups, plain)]
    assert spared[0] == spared[1]
    blocks = len(cosub.attachment.layers_per_block(model))
    scales = {group["lr_scale"] for group in groups}
    assert scales == {0.5**exponent for exponent in range(blocks + 1)}
    places = depths(model)
    head = model.get_classifier()
    assert {places[name] for name, p in model.named_parameters() if any(p is q for q in head.parameters())} == {
        blocks + 1
    }


def test_downsampling_has_the_rate_of_the_block_after_it():
    import timm

    model = timm.create_model("convnext_atto", depths=(1, 1, 1, 1), dims=(8, 8, 8, 8), num_classes=5)
    places = depths(cosub.attach(model, drop_rate=0.1))
    assert places["stages.1.downsample.1.weight"] == places["stages.1.blocks.0.conv_dw.weight"] == 2


def test_timms_rule_refuses_a_model_that_does_not_tell_its_layers():
    import timm

    model = cosub.attach(timm.create_model("patchconvnet_s60", embed_dim=24, depth=2, num_classes=5), drop_rate=0.1)
    with pytest.raises(InputError, match="does not list its layers for timm; take paper"):
        rate_scales(model, 0.5, "timm")


def test_a_step_multiplies_the_rate_of_each_layer():
    """The first step of SGD moves every parameter by its own rate times the same multiple of the gradient."""
    recipe = dataclasses.replace(
        get("digits"), optimizer=Optimizer(name="sgd", weight_decay=0.0, layer_decay=0.5, lr_rule="constant"), lr=0.1
    )
    network = build_network(recipe, 10, 1)
    optimizer = build_optimizer(recipe, network)
    before = {name: parameter.detach().clone() for name, parameter in network.named_parameters()}
    for parameter in network.parameters():
        parameter.grad = torch.ones_like(parameter)
    set_learning_rate(optimizer, recipe.peak_lr)
    optimizer.step()
    moved = {name: (before[name] - parameter).flatten()[0].item() for name, parameter in network.named_parameters()}
    for name, exponent in {"cls_token": 8, "blocks.0.norm1.weight": 7, "blocks.7.norm1.weight": 0}.items():
        assert math.isclose(moved[name], moved["head.weight"] * 0.5**exponent, rel_tol=1e-3), name
