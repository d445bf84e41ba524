"""Architectures that are registered with timm: sizes, PatchConvNet's structure, use through the project."""

import pytest
import timm
import torch
import torch.nn.functional as F
from conftest import Mask
from test_design import SOURCE, imports
from timm.layers.drop import DropPath
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import cosub.architectures
from cosub.architectures.patchconvnet import ClassQuery, PatchConvBlock, PatchConvNet

# Millions of parameters: of the PatchConvNet paper, and of the sizes that the others are made of.
PARAMS = {
    "cait_l24_224": 329.6,
    "cait_m12_224": 100.8,
    "deit3_giant_patch14_224": 955.0,
    "patchconvnet_b120": 188.6,
    "patchconvnet_b60": 99.4,
    "patchconvnet_l120": 334.3,
    "patchconvnet_l60": 176.0,
    "patchconvnet_s60": 25.2,
    "xcit_large_12_p16_224": 103.8,
}
# Arguments that make each small, at 32 pixels.
TINY = {
    "cait": {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 3, "num_heads": 3},
    "deit3": {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 3, "num_heads": 3},
    "patchconvnet": {"embed_dim": 24, "depth": 3},
    "xcit": {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 3, "num_heads": 3},
}


def tiny(name: str, **given) -> nn.Module:
    return timm.create_model(name, **{**TINY[name.split("_")[0]], "num_classes": 7, **given})


@pytest.fixture
def net() -> PatchConvNet:
    """A small one whose branches matter."""
    torch.manual_seed(0)
    model = PatchConvNet(num_classes=7, embed_dim=24, depth=3, init_values=0.5).eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    return model


def test_all_registered_names_are_known_here():
    assert set(cosub.architectures.NAMES) == set(PARAMS)
    assert set(cosub.architectures.NAMES) <= set(timm.list_models())


@pytest.mark.parametrize("module", ["runs/network", "bench/step", "paper/sizes/models"])
def test_whoever_builds_networks_by_name_has_them_registered(module):
    assert "cosub.architectures" in imports(SOURCE / f"{module}.py", inside_functions=False)


@pytest.mark.parametrize("name", sorted(PARAMS))
def test_parameters_are_the_published_ones(name):
    with torch.device("meta"):
        model = timm.create_model(name)
    assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(PARAMS[name], rel=0.005)
    assert model.default_cfg["input_size"] == (3, 224, 224)


@pytest.mark.parametrize(("name", "published"), [("s60", 4.0), ("b60", 15.8), ("b120", 29.9)])
def test_flops_of_patchconvnet_are_the_published_ones(name, published):
    with torch.device("meta"):
        model = timm.create_model(f"patchconvnet_{name}").eval().requires_grad_(False)
        with FlopCounterMode(display=False) as counter:
            model(torch.empty(1, 3, 224, 224))
    assert counter.get_total_flops() / 2e9 == pytest.approx(published, rel=0.02)


@pytest.mark.parametrize("name", sorted(PARAMS))
def test_timm_builds_them_with_its_usual_arguments(name, images):
    model = tiny(name, drop_path_rate=0.3, in_chans=3).train()
    assert model(images).shape == (6, 7)
    rates = {module.drop_prob for module in model.modules() if isinstance(module, DropPath)}
    assert max(rates) == pytest.approx(0.3)
    assert model.get_classifier().out_features == 7
    model.reset_classifier(0)
    assert model(images).shape == (6, model.num_features)


@pytest.mark.parametrize("name", ["cait_m12_224", "deit3_giant_patch14_224", "xcit_large_12_p16_224"])
def test_those_of_timms_classes_give_maps(name, images):
    maps = tiny(name, features_only=True, num_classes=0)(images)
    assert [tuple(part.shape) for part in maps] == [(6, 24, 4, 4)] * 3


def test_layer_scale_starts_where_the_docstrings_say():
    assert tiny("deit3_giant_patch14_224").blocks[0].ls1.gamma.unique().item() == pytest.approx(1e-4)
    assert tiny("cait_l24_224").blocks[0].gamma_1.unique().item() == pytest.approx(1e-4)
    assert tiny("xcit_large_12_p16_224").blocks[0].gamma1.unique().item() == 1
    assert tiny("patchconvnet_s60").blocks[0].gamma_1.unique().item() == pytest.approx(1e-4)
    assert tiny("patchconvnet_l120").blocks[0].gamma_1.unique().item() == pytest.approx(1e-6)


def test_the_giant_trains_submodels(images):
    model = cosub.attach(tiny("deit3_giant_patch14_224"), drop_rate=0.5, copies=2, seed=0)
    assert len(cosub.state(model).rates) == 6
    assert model(images).shape == (12, 7)


# --- PatchConvNet


def test_patchconvnets_keys_are_those_of_its_authors():
    block = ["gamma_1", "norm1.weight", "norm1.bias", *_pairs("attn.qkv_pos", "0", "2", "5")]
    block += _pairs("attn.qkv_pos.4", "conv_reduce", "conv_expand")
    pool = ["gamma_1", "gamma_2", *_pairs("", "norm1", "norm2", "mlp.fc1", "mlp.fc2"), *_pairs("attn", *"qkv", "proj")]
    keys = ["cls_token", "norm.weight", "norm.bias", "head.weight", "head.bias"]
    keys += [f"patch_embed.proj.{index}.0.weight" for index in (0, 2, 4, 6)]
    keys += [f"blocks.{index}.{key}" for index in range(2) for key in block]
    keys += [f"blocks_token_only.0.{key}" for key in pool]
    assert sorted(PatchConvNet(embed_dim=8, depth=2).state_dict()) == sorted(keys)


def _pairs(prefix: str, *names: str) -> list[str]:
    return [f"{prefix}.{name}.{kind}".lstrip(".") for name in names for kind in ("weight", "bias")]


def test_a_block_is_the_published_formula(net):
    block, x = net.blocks[1], torch.randn(2, 24, 5, 3)
    first, _, depthwise, _, gate, last = block.attn.qkv_pos
    h = F.layer_norm(x.movedim(1, -1), (24,), block.norm1.weight, block.norm1.bias, 1e-6).movedim(-1, 1)
    h = F.gelu(F.conv2d(h, first.weight, first.bias))
    h = F.gelu(F.conv2d(h, depthwise.weight, depthwise.bias, padding=1, groups=24))
    squeezed = F.relu(F.linear(h.mean((2, 3)), gate.conv_reduce.weight.flatten(1), gate.conv_reduce.bias))
    scale = torch.sigmoid(F.linear(squeezed, gate.conv_expand.weight.flatten(1), gate.conv_expand.bias))
    h = F.conv2d(h * scale[..., None, None], last.weight, last.bias)
    torch.testing.assert_close(block(x), x + block.gamma_1[:, None, None] * h)


def test_a_block_is_one_residual_layer(net):
    block, x = net.blocks[0], torch.randn(4, 24, 2, 2)
    assert isinstance(block.drop_path, nn.Identity)
    assert isinstance(PatchConvBlock(8, drop_path=0.2).drop_path, DropPath)
    whole = block(x)
    block.drop_path = Mask([torch.tensor([0.0, 1.0, 0.0, 2.0])])
    masked = block(x)
    assert torch.equal(masked[[0, 2]], x[[0, 2]])
    torch.testing.assert_close(masked[1], whole[1])
    torch.testing.assert_close(masked[3] - x[3], 2 * (whole[3] - x[3]))


def test_the_query_attends_to_itself_and_to_all_patches():
    query, x = ClassQuery(8), torch.randn(2, 5, 8)
    scores = query.q(x[:, 0:1]) @ query.k(x).transpose(1, 2) / 8**0.5
    assert scores.shape == (2, 1, 5)
    torch.testing.assert_close(query(x), query.proj(scores.softmax(-1) @ query.v(x)))


def test_pooling_does_not_care_where_patches_are(net):
    maps = net.forward_features(torch.randn(2, 3, 64, 64))
    assert maps.shape == (2, 24, 4, 4)
    torch.testing.assert_close(net.forward_head(maps), net.forward_head(maps.flip(2).transpose(2, 3)))
    torch.testing.assert_close(net.head(net.forward_head(maps, pre_logits=True)), net.forward_head(maps))
    assert not torch.allclose(net.forward_head(maps), net.forward_head(maps.roll(1, 0)))


@pytest.mark.parametrize(("height", "width", "maps"), [(64, 32, (4, 2)), (40, 72, (3, 5))])
def test_images_need_not_be_square(net, height, width, maps):
    x = torch.randn(2, 3, height, width)
    assert net.forward_features(x).shape[2:] == maps
    assert net(x).shape == (2, 7)


def test_classes_change_on_the_device_where_the_model_is(net):
    model = net.to("meta")
    model.reset_classifier(5)
    assert (model.num_classes, model.head.weight.shape, model.head.weight.device.type) == (5, (5, 24), "meta")
    with pytest.raises(ValueError, match="pools by attention"):
        model.reset_classifier(5, global_pool="avg")


def test_checkpointing_changes_no_gradient(net, monkeypatch):
    calls: list[Tensor] = []
    forward = PatchConvBlock.forward
    monkeypatch.setattr(PatchConvBlock, "forward", lambda self, x: calls.append(x) or forward(self, x))
    gradients = []
    for enable in (False, True):
        net.train().set_grad_checkpointing(enable)
        net.zero_grad()
        net(torch.ones(2, 3, 32, 32)).square().sum().backward()
        gradients.append([p.grad.clone() for p in net.parameters()])
    assert len(calls) == 3 + 2 * 3
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


def test_the_class_token_is_not_decayed(net):
    from cosub.recipes import get
    from cosub.train.optim import build_optimizer

    groups = build_optimizer(get("digits"), net).param_groups
    plain = {id(p) for group in groups if group["weight_decay"] == 0 for p in group["params"]}
    assert {id(net.cls_token), id(net.blocks[0].gamma_1)} <= plain
    assert id(net.head.weight) not in plain
