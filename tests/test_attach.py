"""The contract of an attached model, tested once for all families."""

import copy
import inspect
import io
import pickle
from hashlib import blake2b

import pytest
import timm
import torch
from conftest import frozen, masked_reference
from timm.models import beit, cait, eva, xcit
from timm.models.pit import Transformer
from timm.models.swin_transformer import SwinTransformerBlock
from timm.models.vision_transformer import VisionTransformer
from timm.models.vision_transformer_relpos import VisionTransformerRelPos
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

import cosub
from cosub.attachment import layers_per_block
from cosub.submodel import keep_layers
from cosub.twins import TWINS
from cosub.twins.twin import Twin


def layers_of(model: nn.Module) -> int:
    return len(cosub.state(model).rates)


def gradients(model: nn.Module, logits) -> dict[str, torch.Tensor]:
    model.zero_grad()
    logits.square().mean().backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def assert_same(a: dict, b: dict, tolerance: float = 1e-5) -> None:
    """Equal to a tolerance, which is relative to a tensor's largest value where that is more than 1."""
    assert a.keys() == b.keys()
    for name in a:
        size = tolerance * max(1.0, b[name].abs().max().item())
        torch.testing.assert_close(a[name], b[name], rtol=0, atol=size, msg=lambda m, n=name: f"{n}: {m}")


def test_keys_do_not_change_and_full_network_is_timm_to_the_bit(build, images):
    reference, model = build(), cosub.attach(build(), drop_rate=0.5)
    assert list(model.state_dict()) == list(reference.state_dict())
    reference.eval(), model.eval()
    assert torch.equal(model(images), reference(images))
    with cosub.active(model, keep_layers(range(layers_of(model)), layers_of(model), len(images))):
        assert torch.equal(model(images), reference(images))
    reference.train(), model.train()
    cosub.detach(model)
    cosub.attach(model, drop_rate=0.0, copies=1, operation="plain")
    mine, theirs = model(images), reference(images)
    assert torch.equal(mine, theirs)
    mine, theirs = gradients(model, mine), gradients(reference, theirs)
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize(
    ("rate", "training", "operation"),
    [(0.2, True, "efficient"), (0.5, True, "plain"), (0.8, True, "efficient"), (0.5, False, "efficient")],
)
def test_submodel_equals_timm_with_an_explicit_mask(build, family, images, table, rate, training, operation):
    model = frozen(cosub.attach(build(), drop_rate=rate, copies=2, operation=operation).train(training))
    submodel = table(layers_of(model), 2 * len(images), rate)
    reference = frozen(masked_reference(build(), submodel.mask(), family).train(training))
    with cosub.active(model, submodel):
        logits = model(images)
    expected = reference(images.repeat(2, 1, 1, 1))
    assert_same({"logits": logits}, {"logits": expected})
    assert_same(gradients(model, logits), gradients(reference, expected))


def test_masked_rows_are_timms_drop_path(build, family, images, table):
    """Also in what BatchNorm sees: all rows."""
    model = cosub.attach(build(), drop_rate=0.5, copies=1, rounding="masked").train()
    submodel = table(layers_of(model), len(images), 0.5)
    reference = masked_reference(build(), submodel.mask(), family).train()
    with cosub.active(model, submodel):
        logits = model(images)
    expected = reference(images)
    assert_same({"logits": logits}, {"logits": expected})
    assert_same(gradients(model, logits), gradients(reference, expected))
    assert_same(dict(model.named_buffers()), dict(reference.named_buffers()))


def test_where_all_masked_rows_are_dropped_parameters_get_zeros(build, images):
    """As from timm's drop path: the optimizer then decays them as in any other step."""
    model = frozen(cosub.attach(build(), drop_rate=0.5, copies=1, rounding="masked").train())
    with cosub.active(model, cosub.keep_layers([], layers_of(model), len(images))):
        model(images).sum().backward()
    assert not [name for name, p in model.named_parameters() if p.grad is None]


def test_copies_equal_the_repeated_input(build, images, table):
    once, twice = cosub.attach(build(), 0.5, copies=1).train(), cosub.attach(build(), 0.5, copies=2).train()
    submodel = table(layers_of(once), 2 * len(images))
    with cosub.active(once, submodel), cosub.active(twice, submodel):
        a, b = once(images.repeat(2, 1, 1, 1)), twice(images)
    assert_same({"logits": a}, {"logits": b})
    assert_same(gradients(once, a), gradients(twice, b))
    # BatchNorm before the replication point counts each image once; its running variance corrects for their number.
    assert_same(dict(once.named_buffers()), dict(twice.named_buffers()), tolerance=1e-4)


def test_train_gives_copies_and_eval_the_full_network(build, images):
    model = cosub.attach(build(), drop_rate=0.5, copies=2).train()
    assert model(images).shape == (12, 5)
    assert model.eval()(images).shape == (6, 5)


def test_every_parameter_gets_a_gradient(build, images):
    for rounding in ("nearest", "floor", "bernoulli", "masked"):
        model = frozen(cosub.attach(build(), drop_rate=0.9, copies=2, rounding=rounding).train())
        loss = cosub.cosub_loss(model(images), torch.arange(6) % 5)
        loss.backward()
        assert not [name for name, p in model.named_parameters() if p.grad is None]


def test_tables_follow_seed_and_step(build, images):
    model = cosub.attach(build(), drop_rate=0.5, seed=3).train()
    first, second = model(images), model(images)
    assert not torch.equal(first, second)
    assert cosub.state(model).step == 2
    cosub.state(model).step = 0
    assert torch.equal(model(images), first)
    other = cosub.attach(build(), drop_rate=0.5, seed=4).train()
    assert not torch.equal(other(images), first)


def test_evaluation_draws_nothing(build, images):
    model = cosub.attach(build(), drop_rate=0.5).eval()
    model(images)
    assert cosub.state(model).step == 0


def test_detach_restores_the_timm_model(build, images):
    model = build()
    before = {name: type(module) for name, module in model.named_modules()}
    attributes = {name: set(vars(module)) for name, module in model.named_modules()}
    cosub.attach(model, drop_rate=0.5)
    assert cosub.detach(model) is model
    assert {name: type(module) for name, module in model.named_modules()} == before
    assert {name: set(vars(module)) for name, module in model.named_modules()} == attributes
    assert torch.equal(model.eval()(images), build().eval()(images))


@pytest.mark.parametrize("duplicate", ["deepcopy", "pickle", "torch.save"])
def test_copies_of_the_model_have_a_state_of_their_own(build, images, duplicate):
    model = cosub.attach(build(), drop_rate=0.5).train()
    if duplicate == "deepcopy":
        twin = copy.deepcopy(model)
    elif duplicate == "pickle":
        twin = pickle.loads(pickle.dumps(model))
    else:
        buffer = io.BytesIO()
        torch.save(model, buffer)
        buffer.seek(0)
        twin = torch.load(buffer, weights_only=False)
    assert torch.equal(twin(images), model(images))
    model(images)
    assert (cosub.state(model).step, cosub.state(twin).step) == (2, 1)


def test_averaged_model_evaluates_the_full_network(build, images):
    model = cosub.attach(build(), drop_rate=0.5).train()
    averaged = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9))
    averaged.update_parameters(model)
    assert torch.equal(averaged.eval()(images), model.eval()(images))


def test_hooks_and_wrappers_see_the_model(build, images, table):
    model = cosub.attach(build(), drop_rate=0.5).train()
    seen = []
    model.register_forward_hook(lambda _module, _inputs, output: seen.append(output.shape))
    wrapped = nn.Sequential(model)
    with cosub.active(wrapped, table(layers_of(wrapped), 6)):
        wrapped(images)
    assert seen == [(6, 5)]


def test_bfloat16_autocast(build, family, images, table):
    model = frozen(cosub.attach(build(), drop_rate=0.5).train())
    submodel = table(layers_of(model), 12)
    reference = frozen(masked_reference(build(), submodel.mask(), family).train())
    with torch.autocast("cpu", torch.bfloat16), cosub.active(model, submodel):
        ours, expected = model(images), reference(images.repeat(2, 1, 1, 1))
    assert_same({"logits": ours.float()}, {"logits": expected.float()}, tolerance=0.05)


# --- the two traps of the design, and gradient checkpointing


@pytest.fixture
def checkpointed(images):
    def make(checkpointing: str) -> nn.Module:
        torch.manual_seed(0)
        model = timm.create_model(
            "deit3_small_patch16_224",
            img_size=32,
            patch_size=8,
            embed_dim=24,
            depth=4,
            num_heads=3,
            num_classes=5,
        )
        cosub.attach(model, drop_rate=0.5)
        if checkpointing == "timm":
            model.set_grad_checkpointing(True)
        else:
            cosub.state(model).checkpointing = checkpointing
        return model.train()

    return make


@pytest.mark.parametrize("way", ["timm", "blocks", "selective"])
def test_two_forwards_before_backward_under_checkpointing(checkpointed, images, table, way):
    results = []
    for checkpointing in (way, "none"):
        model = checkpointed(checkpointing)
        with cosub.active(model, table(8, 12, seed=1)):
            first = model(images)
        with cosub.active(model, table(8, 12, seed=2)):
            second = model(images)
        # Backward runs outside of both `active`, after the state has moved on twice.
        results.append(gradients(model, first + 2 * second))
    assert_same(*results, tolerance=1e-6)


def test_checkpointing_runs_blocks_twice_and_draws_once(checkpointed, images):
    model = checkpointed("timm")
    calls = []
    model.blocks[1].mlp.register_forward_hook(lambda *_: calls.append(1))
    model(images).sum().backward()
    assert (len(calls), cosub.state(model).step) == (2, 1)


@pytest.mark.parametrize(("way", "calls"), [("none", 1), ("selective", 2), ("blocks", 2)])
def test_checkpointing_computes_again_in_backward(checkpointed, images, table, way, calls):
    model, seen = checkpointed(way), []
    model.blocks[1].mlp.act.register_forward_hook(lambda *_: seen.append(1))
    with cosub.active(model, table(8, 12)):
        model(images).sum().backward()
    assert len(seen) == calls


def test_checkpointing_set_before_attach_survives_both_ways(images):
    model = timm.create_model("vit_tiny_patch16_224", img_size=32, depth=2)
    model.set_grad_checkpointing(True)
    cosub.attach(model, drop_rate=0.5)
    assert cosub.state(model).checkpointing == "blocks"
    assert cosub.detach(model).grad_checkpointing is True


def test_timms_gradient_checkpointing_gives_identical_gradients(build, family, images, table):
    if family == "pit":
        pytest.skip("timm's PiT has no gradient checkpointing")
    results = []
    for enable in (True, False):
        model = cosub.attach(build(), drop_rate=0.5).train()
        model.set_grad_checkpointing(enable)
        with cosub.active(model, table(layers_of(model), 12)):
            logits = model(images)
        results.append(gradients(model, logits))
    assert_same(*results, tolerance=0.0)


def test_batch_norm_sees_the_kept_rows_alone(build, images, table):
    """In train mode its running statistics are those of a batch of the kept rows."""
    model = cosub.attach(build(), drop_rate=0.5).train()
    seen, submodel = {}, table(layers_of(model), 12)
    inside = [
        (name, module)
        for block in model.modules()
        if isinstance(block, Twin) and block.cosub.num_layers
        for name, module in block.named_modules()
        if isinstance(module, nn.BatchNorm2d) and name.split(".")[0] not in ("downsample", "proj")
    ]
    if not inside:
        pytest.skip("no BatchNorm in a branch")
    for _, module in inside:
        module.register_forward_pre_hook(lambda module, inputs: seen.update({module: inputs[0].detach().clone()}))
        module.momentum = 1.0
    with cosub.active(model, submodel):
        model(images)
    for _, module in inside:
        assert len(seen[module]) == 6  # of 12
        expected = seen[module].transpose(0, 1).flatten(1)
        torch.testing.assert_close(module.running_mean, expected.mean(1), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(module.running_var, expected.var(1), rtol=1e-4, atol=1e-5)


def test_maps_of_each_family_with_copies_equal_those_of_the_repeated_input(build, images, table):
    model = frozen(cosub.attach(build(), drop_rate=0.5).train())
    with cosub.active(model, table(layers_of(model), 12)):
        copies = flatten(model.forward_intermediates(images))
        doubled = flatten(model.forward_intermediates(images.repeat(2, 1, 1, 1)))
    assert copies[-1].shape[0] == 12
    # Stems run before the copies are made, once for each image.
    for ours, theirs in zip(copies, doubled, strict=True):
        assert_same({"map": ours}, {"map": theirs if len(ours) == 12 else theirs[: len(ours)]})


@pytest.mark.parametrize("form", ["list", "tuple", "dict", "prefix", "tokens"])
def test_forward_intermediates_with_copies(images, table, form):
    arguments = {
        "list": {"intermediates_only": True},
        "tuple": {},
        "dict": {"output_dict": True, "return_prefix_tokens": True},
        "prefix": {"intermediates_only": True, "return_prefix_tokens": True},
        "tokens": {"intermediates_only": True, "output_fmt": "NLC"},
    }[form]
    model = timm.create_model("deit3_small_patch16_224", img_size=(32, 64), patch_size=16, embed_dim=24, depth=3)
    cosub.attach(model, drop_rate=0.5).train()
    images = torch.randn(4, 3, 32, 64)
    with cosub.active(model, table(6, 8)):
        copies = model.forward_intermediates(images, **arguments)
        doubled = model.forward_intermediates(images.repeat(2, 1, 1, 1), **arguments)
    flat, expected = flatten(copies), flatten(doubled)
    assert len(flat) == len(expected) >= 3
    for a, b in zip(flat, expected, strict=True):
        torch.testing.assert_close(a, b)
    assert flat[-1].shape[0] == 8


def flatten(value) -> list[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        return [value]
    return [leaf for item in (value.values() if isinstance(value, dict) else value) for leaf in flatten(item)]


@pytest.mark.parametrize("wanted", [None, [1]])
def test_gradients_through_intermediates(build, images, table, wanted):
    """Features that are taken out on the way are not written to by the layers after them."""
    results = []
    for operation in ("efficient", "plain"):
        model = cosub.attach(build(), drop_rate=0.5, operation=operation).train()
        with cosub.active(model, table(layers_of(model), 12)):
            final, maps = model.forward_intermediates(images, indices=wanted)
        total = final.square().mean() + sum((1 + index) * x.square().mean() for index, x in enumerate(maps))
        model.zero_grad()
        total.backward()
        results.append({n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None})
        results[-1] |= {f"map {index}": x.detach() for index, x in enumerate(maps)}
    assert_same(*results)


def test_frozen_parts_get_no_gradient_and_change_nothing_for_others(build, images, table):
    results = []
    for operation in ("efficient", "plain"):
        model = cosub.attach(build(), drop_rate=0.5, operation=operation).train()
        for name, parameter in model.named_parameters():
            parameter.requires_grad_("norm1" not in name and "fc1" not in name and "embed" not in name)
        with cosub.active(model, table(layers_of(model), 12)):
            results.append(gradients(model, model(images)))
    assert_same(*results)
    assert not any("norm1" in name for name in results[0])


FEATURES = {
    "vit_tiny_patch16_224": {"img_size": 64, "depth": 3},
    "beit_base_patch16_224": {"img_size": 64, "depth": 3, "embed_dim": 48, "num_heads": 3},
    "cait_xxs24_224": {"img_size": 64, "depth": 3, "embed_dim": 48, "num_heads": 3},
    "xcit_nano_12_p16_224": {"depth": 3},
    "swin_tiny_patch4_window7_224": {"img_size": 64, "window_size": 4, "embed_dim": 24, "depths": (2, 1, 1, 1),
                                     "drop_path_rate": 0.0},
    "convnext_atto": {"depths": (2, 1, 1, 1)},
    "resnet18": {},
    "regnety_002": {},
    "tf_efficientnetv2_b0": {},
    "patchconvnet_s60": {"depth": 3, "embed_dim": 48},
    "pit_ti_224": {},
    "eva02_tiny_patch14_224": {"img_size": 64, "patch_size": 16, "depth": 3},
    "swinv2_tiny_window8_256": {"img_size": 64, "window_size": 4, "embed_dim": 24, "depths": (2, 1, 1, 1),
                                "drop_path_rate": 0.0},
    "mobilenetv4_conv_small_035": {},
    "hiera_tiny_224": {"img_size": 64, "embed_dim": 24, "stages": (1, 2, 1, 1)},
    "test_maxvit": {"img_size": 64},
    "test_coatnet": {"img_size": 64},
}  # fmt: skip


@pytest.mark.parametrize("name", FEATURES)
def test_features_only_with_copies(table, name):
    model = timm.create_model(name, features_only=True, **FEATURES[name])
    frozen(cosub.attach(model, drop_rate=0.5).train())
    pixels = 224 if name.startswith("pit") else 64
    images = torch.randn(2, 3, pixels, pixels)
    with cosub.active(model, table(layers_of(model), 4)):
        copies, doubled = model(images), model(images.repeat(2, 1, 1, 1))
    assert len(copies[-1]) == 4
    for ours, theirs in zip(copies, doubled, strict=True):
        assert_same({"map": ours}, {"map": theirs[: len(ours)]})


def test_a_mask_with_a_batch_dimension_follows_its_rows(images, table):
    torch.manual_seed(0)
    model = cosub.attach(timm.create_model("vit_tiny_patch16_224", img_size=32, depth=2), drop_rate=0.5).eval()
    mask = torch.rand(6, 1, 5, 5) > 0.3
    mask[..., 0] = True
    with cosub.active(model, table(4, 12)):
        torch.testing.assert_close(
            model(images, attn_mask=mask), model(images.repeat(2, 1, 1, 1), attn_mask=mask.repeat(2, 1, 1, 1))
        )


def test_meta_device_takes_a_training_forward():
    with torch.device("meta"):
        model = cosub.attach(timm.create_model("deit3_small_patch16_224"), drop_rate=0.5).train()
        assert model(torch.empty(4, 3, 224, 224)).shape == (8, 1000)


def test_patches_that_are_missing_are_not_pooled_in_any_copy():
    """NaFlexViT pools by a mask that has a row for each image."""
    torch.manual_seed(0)
    model = timm.create_model("naflexvit_base_patch16_gap", embed_dim=24, num_heads=3, depth=2, num_classes=5)
    model = frozen(cosub.attach(model, drop_rate=0.5).train())
    generator = torch.Generator().manual_seed(1)
    patches = torch.randn(3, 6, 16 * 16 * 3, generator=generator)
    places = torch.stack(torch.meshgrid(torch.arange(2), torch.arange(3), indexing="ij"), -1).reshape(1, 6, 2)
    valid = torch.arange(6) < torch.tensor([[6], [4], [2]])
    given = {"patches": patches, "patch_coord": places.repeat(3, 1, 1), "patch_valid": valid}
    submodel = keep_layers(range(4), 4, 6)
    with cosub.active(model, submodel):
        copies = model(given)
    assert_same({"logits": copies}, {"logits": model.eval()(given).repeat(2, 1)})
    assert not torch.allclose(copies[1], model({**given, "patch_valid": torch.ones_like(valid)})[1])


def test_channels_stay_last(images):
    model = cosub.attach(timm.create_model("test_resnet"), drop_rate=0.5).train()
    point = next(module for module in model.modules() if isinstance(module, Twin))
    rows = cosub.state(model).begin(images.to(memory_format=torch.channels_last), point)
    assert rows.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(rows, images.repeat(2, 1, 1, 1))


def test_by_chance_no_row_may_be_dropped_without_a_warning(images):
    model = cosub.attach(timm.create_model("test_vit"), drop_rate=0.01, copies=1, rounding="bernoulli").train()
    cosub.state(model).next(2)
    assert not cosub.state(model).warned


# --- misuse


def test_refusals_name_the_remedy(images, table):
    live = timm.create_model("vit_tiny_patch16_224", depth=2, drop_path_rate=0.1)
    with pytest.raises(ValueError, match=r"drop_path_rate=0\.0"):
        cosub.attach(live, drop_rate=0.1)
    with pytest.raises(ValueError, match=r"blocks without a twin: ConvBlock, .*supported families: ViT.*a line in its"):
        cosub.attach(timm.create_model("edgenext_xx_small"), drop_rate=0.1)
    with pytest.raises(ValueError, match="no block that has a twin"):
        cosub.attach(nn.Linear(2, 2), drop_rate=0.1)
    model = timm.create_model("vit_tiny_patch16_224", img_size=32, depth=2)
    with pytest.raises(ValueError, match=r"cosub\.attach"):
        cosub.state(model)
    with pytest.raises(ValueError, match=r"drop_rate must be in \[0, 1\)"):
        cosub.attach(model, drop_rate=1.0)
    with pytest.raises(ValueError, match="copies must be at least 1"):
        cosub.attach(model, drop_rate=0.1, copies=0)
    cosub.attach(model, drop_rate=0.5)
    with pytest.raises(ValueError, match="attached already"):
        cosub.attach(model, drop_rate=0.1)
    with (
        pytest.raises(ValueError, match="6 residual layers and the model 4"),
        cosub.active(model, table(6, 12)),
    ):
        pass
    with cosub.active(model, table(4, 8)), pytest.raises(ValueError, match="8 rows and the batch 6"):
        model(images)
    with cosub.active(model, table(4, 12)):
        model(images)
        with pytest.raises(ValueError, match="call the whole model"):
            model.blocks[1](torch.randn(3, 5, 192))


def test_layers_per_block_counts_branches():
    assert layers_per_block(cosub.attach(timm.create_model("pit_ti_224"), 0.1)) == (2,) * 12


# --- drift guard: when timm changes a forward, this says which twin to look at

GUARDED = (
    *(kind.forward for kind in TWINS if kind.__module__.startswith("timm.")),
    *(xcit.Xcit.forward_features, cait.Cait.forward_features, Transformer.forward, SwinTransformerBlock._attn),
    *(kind.forward_intermediates for kind in (VisionTransformer, VisionTransformerRelPos, beit.Beit, eva.Eva)),
    *(kind.forward_intermediates for kind in (cait.Cait, xcit.Xcit)),
)
HASHES = {
    "vision_transformer.Block.forward": "2a1bf168ecc2f908",
    "beit.Block.forward": "c5a69d9247c98cde",
    "cait.LayerScaleBlock.forward": "80f099bf74eada61",
    "xcit.XCABlock.forward": "ff085e89b3400e39",
    "swin_transformer.SwinTransformerBlock.forward": "7b016d966cdffdb2",
    "convnext.ConvNeXtBlock.forward": "504418d58b49e8ba",
    "resnet.BasicBlock.forward": "af321bd4c7be204e",
    "resnet.Bottleneck.forward": "af7383cf929818b6",
    "regnet.Bottleneck.forward": "78f23362e33c658f",
    "_efficientnet_blocks.ConvBnAct.forward": "d500a2b2d8da7e10",
    "_efficientnet_blocks.DepthwiseSeparableConv.forward": "e136ef2dafac0ad6",
    "_efficientnet_blocks.InvertedResidual.forward": "44dfa0fe0232a198",
    "_efficientnet_blocks.EdgeResidual.forward": "9c404fb604adcac9",
    "eva.EvaBlock.forward": "58576e8347ec517d",
    "eva.EvaBlockPostNorm.forward": "e5db6cd3e4e72279",
    "swin_transformer_v2.SwinTransformerV2Block.forward": "3d6a61094897cce0",
    "_efficientnet_blocks.CondConvResidual.forward": "e95b5dea6dd7a5cc",
    "_efficientnet_blocks.UniversalInvertedResidual.forward": "02e593aa5d47eb80",
    "_efficientnet_blocks.MobileAttention.forward": "fa8d3c13171efc05",
    "hiera.HieraBlock.forward": "f2b01cb759dd0e92",
    "maxxvit.MbConvBlock.forward": "28ab0e09fd050781",
    "maxxvit.ConvNeXtBlock.forward": "5775dc4a21466b1b",
    "maxxvit.TransformerBlock2d.forward": "53d0deb44788e879",
    "maxxvit.PartitionAttentionCl.forward": "91c7fb02a90e6e5e",
    "maxxvit.PartitionAttention2d.forward": "4c1785973ebd0ad2",
    "byobnet.BasicBlock.forward": "3186a386079a10ea",
    "byobnet.BottleneckBlock.forward": "df0ffcce75d7fe48",
    "byobnet.DarkBlock.forward": "ed6c4c01ee1d07f5",
    "byobnet.EdgeBlock.forward": "974bd6eac05b2936",
    "byobnet.SelfAttnBlock.forward": "3b346c3c707a0121",
    "cspnet.BottleneckBlock.forward": "4dd6a1ae3834198e",
    "cspnet.DarkBlock.forward": "51296cd299f4692e",
    "cspnet.EdgeBlock.forward": "51296cd299f4692e",
    "resnetv2.PreActBasic.forward": "a7234d102816660d",
    "resnetv2.PreActBottleneck.forward": "184101b84c414cbe",
    "resnetv2.Bottleneck.forward": "038d9d349daf7a70",
    "nfnet.NormFreeBlock.forward": "26f5fa879fcb3dcb",
    "vision_transformer_relpos.RelPosBlock.forward": "2fa9af71f6a64d84",
    "vision_transformer_relpos.ResPostRelPosBlock.forward": "c5c570caed4ebe21",
    "vision_transformer_relpos.VisionTransformerRelPos.forward_intermediates": "3a69ec797af00692",
    "xcit.Xcit.forward_features": "9cb9978b2faacd5c",
    "cait.Cait.forward_features": "2878a201b70bcde8",
    "pit.Transformer.forward": "89e9ecab4489ccf0",
    "swin_transformer.SwinTransformerBlock._attn": "569c4e2d1aecb55e",
    "vision_transformer.VisionTransformer.forward_intermediates": "accfc1b99e6299c5",
    "beit.Beit.forward_intermediates": "f7ee2e6c8e39e0f1",
    "cait.Cait.forward_intermediates": "d02b518c4d35f789",
    "xcit.Xcit.forward_intermediates": "a73ed2565d420aae",
    "eva.Eva.forward_intermediates": "34f2b1f3bccdfaed",
}


def name_of(function) -> str:
    return f"{function.__module__.removeprefix('timm.models.')}.{function.__qualname__}"


@pytest.mark.parametrize("kind", TWINS, ids=lambda kind: kind.__name__)
def test_a_twin_takes_what_timms_forward_takes(kind):
    theirs = list(inspect.signature(kind.forward).parameters.values())[2:]  # after self and x
    ours = list(inspect.signature(TWINS[kind].run).parameters.values())[3:]  # and the rows
    assert [(p.name, p.default) for p in ours] == [(p.name, p.default) for p in theirs]


@pytest.mark.parametrize("function", GUARDED, ids=name_of)
def test_timm_forward_is_the_one_the_twin_was_written_for(function):
    digest = blake2b(inspect.getsource(function).encode(), digest_size=8).hexdigest()
    assert digest == HASHES.get(name_of(function)), (
        f"timm {timm.__version__} changed {function.__qualname__}: compare the twin in cosub/twins, then set {digest}"
    )
