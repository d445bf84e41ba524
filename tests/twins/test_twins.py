"""Networks that share a twin with a family of the contract and differ in what their blocks are made of."""

import pytest
import timm
import torch
from conftest import MAX, _alive, _vit, frozen, masked_reference
from test_attach import assert_same, gradients, layers_of
from timm.layers.patch_dropout import PatchDropout
from torch import nn
from variants import VARIANTS

import cosub
from cosub.export.plain import plain_model
from cosub.twins.removal import remove_layers


@pytest.fixture(params=VARIANTS)
def variant(request):
    def make() -> nn.Module:
        torch.manual_seed(0)
        model = _alive(VARIANTS[request.param]())
        for module in model.modules():
            if isinstance(module, nn.Dropout):  # timm's relative positions come with one
                module.p = 0.0
        return model

    return make


def test_nothing_dropped_is_timm_to_the_bit(variant, images):
    reference, model = variant().train(), cosub.attach(variant().train(), drop_rate=0.0, copies=1, operation="plain")
    mine, theirs = model(images), reference(images)
    assert torch.equal(mine, theirs)
    mine, theirs = gradients(model, mine), gradients(reference, theirs)
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)


def test_a_submodel_is_timm_with_a_mask(variant, images, table):
    model = frozen(cosub.attach(variant(), drop_rate=0.5).train())
    submodel = table(layers_of(model), 12)
    reference = frozen(masked_reference(variant(), submodel.mask()).train())
    with cosub.active(model, submodel):
        logits = model(images)
    expected = reference(images.repeat(2, 1, 1, 1))
    assert_same({"logits": logits}, {"logits": expected})
    assert_same(gradients(model, logits), gradients(reference, expected))


def test_one_that_is_slimmed_and_exported_gives_the_logits_of_the_submodel(variant, images):
    full = cosub.attach(variant().eval(), drop_rate=0.5)
    kept, total = range(1, layers_of(full), 2), layers_of(full)
    with torch.no_grad(), cosub.active(full, cosub.keep_layers(kept, total, len(images))):
        expected = full(images)
    slim = cosub.attach(remove_layers(variant().eval(), kept), drop_rate=0.5)
    for model in (slim, plain_model(variant(), kept).model):
        with torch.no_grad():
            assert_same({"logits": model(images)}, {"logits": expected})


@pytest.mark.parametrize(
    ("name", "layers"),
    [("vit_small_patch14_reg4_dinov2", 24), ("vit_small_patch16_dinov3", 24)],
)
def test_dinos_of_full_size_attach(name, layers):
    with torch.device("meta"):
        model = cosub.attach(timm.create_model(name, img_size=64 if "16" in name else 56), 0.2).train()
        assert layers_of(model) == layers
        assert model(torch.empty(2, 3, *[model.patch_embed.img_size[0]] * 2)).shape[0] == 4


class Patches(PatchDropout):
    """Keeps eight patches of each image, always the same: of a doubled input the second half as the first."""

    def forward(self, x):
        prefix, patches = x[:, :1], x[:, 1:]
        kept = torch.stack(
            [torch.randperm(16, generator=torch.Generator().manual_seed(i % 6))[:8] for i in range(len(x))]
        )
        return torch.cat([prefix, patches.gather(1, kept[..., None].expand(-1, -1, x.shape[2]))], 1), kept


@pytest.mark.parametrize("name", ["eva02_tiny_patch14_224", "vit_small_patch16_rope_mixed_224"])
def test_rotary_positions_of_kept_patches_follow_their_rows(name, images, table):
    def make():
        torch.manual_seed(0)
        model = _vit(name, depth=2)
        model.patch_drop = Patches()
        return model.train()

    model = cosub.attach(make(), drop_rate=0.5)
    submodel = table(4, 12)
    reference = masked_reference(make(), submodel.mask())
    with cosub.active(model, submodel):
        assert_same({"logits": model(images)}, {"logits": reference(images.repeat(2, 1, 1, 1))})


def test_a_block_without_a_twin_is_named():
    settings = {**MAX, "depths": (1, 1, 1)}
    model = timm.create_model("test_maxvit", **settings, block_type=("PM",) * 3, transformer_window_size=(2, 2),
                              transformer_grid_size=(2, 2))  # fmt: skip
    with pytest.raises(ValueError, match=r"MaxxVit has blocks without a twin: ParallelPartitionAttention; supported"):
        cosub.attach(model, drop_rate=0.1)


def test_a_model_that_makes_rows_of_patches_is_refused():
    with torch.device("meta"):
        model = timm.create_model("mobilevit_xxs")
    with pytest.raises(ValueError, match="modules that group rows in their own way: MobileVitBlock; supported"):
        cosub.attach(model, drop_rate=0.1)
