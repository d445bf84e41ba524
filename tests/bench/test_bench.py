"""Bounds on what is saved for backward and on FLOPs, counted without memory."""

from typing import get_args

import pytest
import timm
import torch
from timm.layers.drop import DropPath
from torch.utils._python_dispatch import TorchDispatchMode

from cosub.attachment import attach, layers_per_block
from cosub.bench.coverage import coverage
from cosub.bench.step import FIGURE2, Case, _mask, count, measure
from cosub.choices import Way
from cosub.twins import KEPT, TWINS

HUGE = ("deit3_huge_patch14_224", 0.6)
LARGE = ("deit3_large_patch16_224", 0.45)
BASE = ("deit3_base_patch16_224", 0.2)


@pytest.mark.parametrize("model", ["resnet18", "hrnet_w18_small"])  # without img_size, without drop_path_rate
def test_any_supported_network_is_counted_at_any_resolution(model):
    found = count(Case(model, 0.5, 2, 64, ways=("masked", "efficient")))
    assert found["ratio"]["saved_bytes"]["efficient"] < 1


@pytest.mark.parametrize(
    ("model", "rate", "bf16", "ours", "cosub", "flops"),
    [
        (*BASE, False, 0.82, 1.6, 1.61),
        *(pytest.param(*row, marks=pytest.mark.slow) for row in (
            (*HUGE, False, 0.41, 0.82, 0.82), (*LARGE, False, 0.57, 1.1, 1.1),
            (*HUGE, True, 0.46, 0.84, 0.82), (*LARGE, True, 0.61, 1.1, 1.1))),
    ],
)  # fmt: skip
def test_bytes_and_flops_stay_below_their_bounds(model, rate, bf16, ours, cosub, flops):
    result = count(Case(model, rate, 32, bf16=bf16))
    saved = result["ratio"]["saved_bytes"]
    assert saved["efficient"] <= ours < saved["plain"]
    assert saved["cosub"] <= cosub
    assert result["ratio"]["flops"]["cosub"] <= flops
    assert result["flops"]["efficient"] == result["flops"]["plain"]  # nothing is computed that it does not


def test_saved_bytes_follow_the_rows_kept():
    few, many = (count(Case("deit3_small_patch16_224", rate, 32, ways=("efficient",))) for rate in (0.75, 0.5))
    assert few["saved_bytes"]["efficient"] < 0.6 * many["saved_bytes"]["efficient"]


@pytest.mark.slow
def test_coverage_tells_twins_from_blocks_without():
    rows = {(row["file"], row["block"]): row["cosub"] for row in coverage()}
    assert rows["vision_transformer", "Block"] == rows["resnet", "Bottleneck"] == "twin"
    assert rows["cait", "LayerScaleBlockClassAttn"] == "kept"
    assert rows["maxxvit", "ParallelPartitionAttention"] == "none"
    timms = {kind for kind in TWINS if kind.__module__.startswith("timm.")}
    assert sum(standing == "twin" for standing in rows.values()) == len(timms)
    assert sum(standing == "kept" for standing in rows.values()) == len(KEPT)
    assert len(rows) > 100


@pytest.mark.parametrize("model", ["resnet26", "cait_xxs24_224", "xcit_nano_12_p16_224"])
def test_what_is_masked_is_what_has_a_twin(model):
    masked = timm.create_model(model)
    _mask(masked, 0.25)
    slots = [module for module in masked.modules() if isinstance(module, DropPath)]
    shared = 2 if model.startswith("cait") else 1  # one module serves both branches
    layers = sum(layers_per_block(attach(timm.create_model(model), 0.25)))
    assert {slot.drop_prob for slot in slots} == {0.25}
    assert len(slots) * shared == layers


@pytest.mark.slow
def test_what_the_methods_cost_beside_figure_2():
    """At rate 0 nothing is skipped, and the FLOPs are figure 2's: backward is twice forward."""
    result = count(Case("deit3_small_patch16_224", 0.0, 4, resolution=64, depth=12, ways=get_args(Way)))
    for way, paper in FIGURE2.items():
        assert result["ratio"]["flops"][way] == pytest.approx(paper["compute"], rel=0.02), way
    case = Case("vit_tiny_patch16_224", 0.5, 4, resolution=32, depth=1, ways=get_args(Way))
    measured = measure(case, torch.device("cpu"), 1)
    for way, paper in FIGURE2.items():
        found = measured["figure2"][way]
        assert (found["weights"], found["optimizer"]) == (paper["weights"], paper["optimizer"]), way
        assert found["paper"] == paper
    assert set(measured["seconds"]) == set(get_args(Way))


class Operations(TorchDispatchMode):
    """Counts ATen operations, views and custom ones included."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += 1
        return function(*args, **kwargs or {})


def operations(name, depth, masked):
    model = timm.create_model(name, img_size=32, depth=depth, embed_dim=48, num_heads=3).train()
    if masked:
        _mask(model, 0.5)
    else:
        attach(model, 0.5, copies=1)

    def step():
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(torch.randn(8, 3, 32, 32))
        logits.float().square().mean().backward()

    step()
    model.zero_grad()
    with Operations() as counted:
        step()
    return counted.count


@pytest.mark.parametrize("name", ["deit3_base_patch16_224", "vit_base_patch16_224"])
def test_a_block_takes_few_more_operations_than_timms(name):
    """Forward and backward, bf16: no slices of the table, no casts that timm does not make."""
    ours, timms = (operations(name, 2, masked) - operations(name, 1, masked) for masked in (False, True))
    assert ours - timms <= 2
