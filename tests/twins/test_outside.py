"""Networks of torchvision and transformers: the contract of test_attach.py, and what is theirs alone."""

import copy
import dataclasses
import functools
import inspect
import pickle
import re
from hashlib import blake2b

import pytest
import torch
import torchvision
from conftest import frozen, masked_reference
from outside import OUTSIDE, convnext, dinov2, made, swin, transformers, vit
from test_attach import (  # noqa: F401, the contract, here with the networks of this file
    assert_same,
    gradients,
    layers_of,
    test_averaged_model_evaluates_the_full_network,
    test_batch_norm_sees_the_kept_rows_alone,
    test_bfloat16_autocast,
    test_copies_equal_the_repeated_input,
    test_copies_of_the_model_have_a_state_of_their_own,
    test_detach_restores_the_timm_model,
    test_evaluation_draws_nothing,
    test_every_parameter_gets_a_gradient,
    test_frozen_parts_get_no_gradient_and_change_nothing_for_others,
    test_keys_do_not_change_and_full_network_is_timm_to_the_bit,
    test_submodel_equals_timm_with_an_explicit_mask,
    test_tables_follow_seed_and_step,
    test_train_gives_copies_and_eval_the_full_network,
)
from test_design import FILES, SOURCE, imports
from torch import nn
from torchvision.models.detection.generalized_rcnn import GeneralizedRCNN
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.ops import StochasticDepth

import cosub
from cosub.errors import InputError
from cosub.recipes import get
from cosub.runs.network import build_network
from cosub.submodel import keep_layers
from cosub.twins.from_torchvision import VISION_TWINS
from cosub.twins.from_transformers import TRANSFORMERS_TWINS
from cosub.twins.removal import remove_layers
from cosub.twins.twin import Twin

LABELS = torch.tensor([0, 1, 2, 3, 4, 0])


@functools.cache
def _built(family: str) -> nn.Module:
    return made(OUTSIDE[family])


@pytest.fixture(params=sorted(OUTSIDE))
def family(request):
    return request.param


@pytest.fixture
def build(family):
    return lambda: copy.deepcopy(_built(family))


def test_layers_that_are_skipped_altogether_leave_their_input_alone(build, images):
    """An activation after the addition that writes in place has then the block's input in its hands."""
    model = frozen(cosub.attach(build(), drop_rate=0.5).train())
    submodel = keep_layers(range(1, layers_of(model), 2), layers_of(model), 12)
    reference = frozen(masked_reference(build(), submodel.mask()).train())
    with cosub.active(model, submodel):
        logits = model(images)
    expected = reference(images.repeat(2, 1, 1, 1))
    assert_same({"logits": logits}, {"logits": expected})
    ours, theirs = gradients(model, logits), gradients(reference, expected)
    assert_same(ours, {name: theirs[name] for name in ours})
    assert not any(gradient.any() for name, gradient in theirs.items() if name not in ours)


# --- checkpointing


def test_checkpointing_gives_the_same_gradients(build, images, table):
    results = []
    for checkpointing in ("blocks", "selective", "none"):
        model = frozen(cosub.attach(build(), drop_rate=0.5).train())
        cosub.state(model).checkpointing = checkpointing
        with cosub.active(model, table(layers_of(model), 12)):
            logits = model(images)
        results.append(gradients(model, logits))  # after `active`: backward must not ask again which rows
    assert_same(results[0], results[2], tolerance=1e-6)
    assert_same(results[1], results[2], tolerance=1e-6)


@pytest.mark.parametrize("make", [vit, dinov2])
def test_transformers_own_checkpointing_draws_once_and_stays(make, images):
    results = []
    for enable in (True, False):
        model = made(make).train()
        if enable:
            model.activation_checkpointing_enable()
        cosub.attach(model, drop_rate=0.5)
        calls = []
        layer = model.base_model.layers[1] if make is vit else model.base_model.encoder.layer[1]
        layer.mlp.register_forward_hook(lambda *_, seen=calls: seen.append(1))
        results.append(gradients(model, model(images).logits + 2 * model(images).logits))
        assert (len(calls), cosub.state(model).step) == (4 if enable else 2, 2)
        assert cosub.detach(model).is_activation_checkpointing is enable
    assert_same(*results, tolerance=1e-6)


def test_transformers_checkpoints_some_layers(images):
    model = cosub.attach(made(vit), drop_rate=0.5).train()
    model.activation_checkpointing_enable(every_n_layers=2)
    calls = {}
    for index, layer in enumerate(model.vit.layers):
        layer.mlp.register_forward_hook(lambda *_, index=index: calls.update({index: calls.get(index, 0) + 1}))
    model(images).logits.sum().backward()
    assert calls == {0: 2, 1: 1, 2: 2, 3: 1}


# --- stochastic depth of their own


def dead(model: nn.Module) -> nn.Module:
    for module in model.modules():
        if isinstance(module, StochasticDepth):
            module.p = 0.0
    return model


@pytest.mark.parametrize("make", [swin, convnext])
def test_a_live_stochastic_depth_is_refused(make):
    with pytest.raises(
        ValueError, match=r"drop path is live .*stochastic_depth: 0\.\d+.* p = 0\.0 on every torchvision"
    ):
        cosub.attach(make(rate=0.1), drop_rate=0.5)
    assert cosub.attach(dead(make(rate=0.1)), drop_rate=0.5)


def test_a_live_drop_path_of_transformers_is_refused():
    with pytest.raises(ValueError, match=r"drop path is live .*drop_path: 0\.1.*drop_path_rate=0\.0"):
        cosub.attach(dinov2(drop_path_rate=0.1), drop_rate=0.5)


def test_blocks_without_a_twin_are_named():
    """Also where their own rate is live: to set that to 0 first would be in vain."""
    with pytest.raises(ValueError, match=r"blocks without a twin: MBConv; supported families: .*torchvision's ViT"):
        cosub.attach(torchvision.models.efficientnet_b0(), drop_rate=0.5)
    config = transformers.SwinConfig(depths=[2], num_heads=[1], embed_dim=8)
    with pytest.raises(ValueError, match="SwinModel has blocks without a twin: SwinLayer"):
        cosub.attach(transformers.SwinModel(config), drop_rate=0.5)


def test_detectors_take_one_submodel_per_image():
    backbone = nn.Sequential(OUTSIDE["torchvision-swin"]())
    detector = GeneralizedRCNN(
        backbone, nn.Identity(), nn.Identity(), GeneralizedRCNNTransform(32, 32, [0.5] * 3, [0.5] * 3)
    )
    with pytest.raises(ValueError, match=r"GeneralizedRCNN takes a list of images .*attach it with copies=1"):
        cosub.attach(detector, drop_rate=0.5)
    assert len(cosub.state(cosub.attach(detector, drop_rate=0.5, copies=1)).rates) == 8


def test_layers_of_another_version_are_refused():
    model = vit()
    layer = model.vit.layers[0].attention
    del layer.o_proj
    with pytest.raises(ValueError, match=r"ViTLayer of this version of transformers.*pip install --upgrade"):
        cosub.attach(model, drop_rate=0.5)


# --- what transformers' models are given, and what they give


@pytest.fixture(params=[vit, dinov2], ids=["vit", "dinov2"])
def classifier(request):
    return lambda: made(request.param)


@pytest.mark.parametrize("by_name", [True, False])
def test_labels_are_refused_where_an_image_has_several_submodels(classifier, images, by_name):
    model = cosub.attach(classifier(), drop_rate=0.5).train()
    with pytest.raises(ValueError, match=r"labels: .*equation 2.*cosub\.cosub_loss\(outputs\.logits, labels\)"):
        model(pixel_values=images, labels=LABELS) if by_name else model(images, LABELS)
    assert cosub.state(model).step == 0
    assert cosub.cosub_loss(model(images).logits, LABELS).isfinite()
    twin = copy.deepcopy(model)
    cosub.state(twin).copies = 1
    assert twin(images, labels=LABELS).loss.isfinite()  # its hook reads its own state
    assert cosub.detach(model)(images, labels=LABELS).loss.isfinite()


def test_labels_serve_where_an_image_has_one(classifier, images, table):
    model = cosub.attach(classifier(), drop_rate=0.5).eval()
    assert torch.equal(model(images, labels=LABELS).loss, classifier().eval()(images, labels=LABELS).loss)
    with cosub.active(model, table(8, 6)):
        outputs = model(images, labels=LABELS)
    torch.testing.assert_close(outputs.loss, nn.functional.cross_entropy(outputs.logits, LABELS))
    once = cosub.attach(classifier(), drop_rate=0.5, copies=1).train()
    outputs = once(images, labels=LABELS)
    torch.testing.assert_close(outputs.loss, nn.functional.cross_entropy(outputs.logits, LABELS))


@pytest.mark.parametrize("make", [vit, dinov2])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_masks_follow_their_rows(make, attention, images, table):
    model = cosub.attach(made(lambda: make(attention)), drop_rate=0.5).train()
    mask = torch.rand(6, 17, generator=torch.Generator().manual_seed(2)) > 0.3
    mask[:, 0] = True
    with cosub.active(model, table(8, 12)):
        once = model(images, attention_mask=mask).logits
        twice = model(images.repeat(2, 1, 1, 1), attention_mask=mask.repeat(2, 1)).logits
        bare = model(images).logits
    assert_same({"logits": once}, {"logits": twice})
    assert not torch.allclose(once, bare)


@pytest.mark.parametrize("make", [vit, dinov2])
def test_implementations_of_attention_agree(make, images, table):
    models = [cosub.attach(made(lambda kind=kind: make(kind)), drop_rate=0.5).train() for kind in ("sdpa", "eager")]
    results = []
    for model in models:
        with cosub.active(model, table(8, 12)):
            results.append(gradients(model, model(images).logits))
    assert_same(*results)


def test_dinov2_with_the_other_mlp_equals_an_explicit_mask(images, table):
    model = cosub.attach(made(lambda: dinov2(use_swiglu_ffn=True)), drop_rate=0.5).train()
    submodel = table(8, 12)
    reference = masked_reference(made(lambda: dinov2(use_swiglu_ffn=True)), submodel.mask()).train()
    with cosub.active(model, submodel):
        logits = model(images).logits
    expected = reference(images.repeat(2, 1, 1, 1)).logits
    assert_same({"logits": logits}, {"logits": expected})
    assert_same(gradients(model, logits), gradients(reference, expected))


def test_outputs_keep_their_forms(classifier, images):
    model = cosub.attach(classifier(), drop_rate=0.5).train()
    outputs = model(images, output_hidden_states=True)
    # The first is what the layers are given, before the copies are made.
    assert [len(state) for state in outputs.hidden_states] == [6, 12, 12, 12, 12]
    assert outputs.logits.shape == (12, 5)
    (logits,) = model(images, return_dict=False)
    assert logits.shape == (12, 5)
    base = model.base_model(images)
    assert (base.last_hidden_state.shape, len(model.eval()(images).logits)) == ((12, 17, 24), 6)


def test_backbones_are_refused_where_they_would_fold_copies_together(images):
    model = cosub.attach(dinov2(kind="Dinov2Backbone", out_features=["stage2"]), drop_rate=0.5)
    assert model.eval()(images).feature_maps[0].shape == (6, 24, 4, 4)
    with pytest.raises(ValueError, match=r"Dinov2Backbone folds its maps.*reshape_hidden_states=False"):
        model.train()(images)
    model.config.reshape_hidden_states = False
    assert model(images).feature_maps[0].shape == (12, 17, 24)


def test_what_transformers_saves_is_its_own(classifier, images, tmp_path):
    model = cosub.attach(classifier(), drop_rate=0.5).eval()
    model.save_pretrained(tmp_path)
    loaded = type(model).from_pretrained(tmp_path).eval()
    assert loaded.config.architectures == [type(classifier()).__name__]
    assert torch.equal(loaded(images).logits, model(images).logits)


def test_layers_are_found_by_the_names_that_transformers_gives_them(classifier, images):
    """By what shards a model or places it on devices; the other classes of `_no_split_modules` are untouched."""
    model = cosub.attach(classifier(), drop_rate=0.5).eval()
    assert set(model._no_split_modules) <= {type(module).__name__ for module in model.modules()}
    again = pickle.loads(pickle.dumps(model))
    assert [type(module) for module in again.modules()] == [type(module) for module in model.modules()]
    assert torch.equal(again(images).logits, model(images).logits)


@pytest.mark.parametrize("version", [1, 2])
def test_accelerate_shards_layer_by_layer(classifier, version):
    pytest.importorskip("accelerate", reason="accelerate is not installed: pip install 'cosub[examples]'")
    from accelerate.utils import FullyShardedDataParallelPlugin
    from accelerate.utils.fsdp_utils import fsdp2_prepare_auto_wrap_policy

    model = cosub.attach(classifier(), drop_rate=0.5)
    plugin = FullyShardedDataParallelPlugin(fsdp_version=version, auto_wrap_policy="transformer_based_wrap")
    if version == 1:
        plugin.set_auto_wrap_policy(model)
        chosen = tuple(plugin.auto_wrap_policy.keywords["transformer_layer_cls"])
        found = [module for module in model.modules() if isinstance(module, chosen)]
    else:
        found = list(filter(fsdp2_prepare_auto_wrap_policy(plugin, model), model.modules()))
    assert sum(isinstance(module, Twin) for module in found) == 4


# --- what is for timm's networks


@pytest.mark.parametrize("make", [swin, vit])
def test_slimming_says_that_it_is_for_timm(make):
    with pytest.raises(ValueError, match=r"^layers can be removed from timm's networks alone.*is not one of these$"):
        remove_layers(make(), [0, 1])


@pytest.mark.parametrize("name", ["torchvision.models.swin_t", "facebook/dinov2-base", "swin_v2_t"])
def test_recipes_say_that_timm_does_not_know_it(name):
    with pytest.raises(InputError, match=r"^model: .*timm does not know it[^\n]*$"):
        build_network(dataclasses.replace(get("digits"), model=name), 10, 2)


# --- how they are known


def test_transformers_is_imported_by_its_twins_alone():
    """And no module imports those when it is imported itself."""
    naming = [
        path for path in FILES if re.search(r"from_transformers|transformers\.models\.(vit|dinov2)", path.read_text())
    ]
    assert SOURCE / "twins" / "from_transformers.py" in naming
    for path in naming:
        found = imports(path, inside_functions=False)
        assert "cosub.twins.from_transformers" not in found
        assert path.name == "from_transformers.py" or not {name for name in found if name.startswith("transformers")}


HASHES = {
    "torchvision.models.vision_transformer.EncoderBlock": "f3e228b2f48e21dd",
    "torchvision.models.swin_transformer.SwinTransformerBlock": "59cff4cdb60c6490",
    "torchvision.models.swin_transformer.SwinTransformerBlockV2": "94799defb3410bf4",
    "torchvision.models.convnext.CNBlock": "fdfee34adf1cfc33",
    "torchvision.models.resnet.BasicBlock": "871b5419f8503dde",
    "torchvision.models.resnet.Bottleneck": "1647605fd99e4363",
    "torchvision.models.regnet.ResBottleneckBlock": "45d77c93b59bc340",
    "transformers.models.vit.modeling_vit.ViTLayer": "6e18b713cdce6455",
    "transformers.models.dinov2.modeling_dinov2.Dinov2Layer": "9daa96c14de68238",
}


@pytest.mark.parametrize("kind", [*VISION_TWINS, *TRANSFORMERS_TWINS], ids=lambda kind: kind.__name__)
def test_a_forward_is_the_one_the_twin_was_written_for(kind):
    name = f"{kind.__module__}.{kind.__name__}"
    digest = blake2b(inspect.getsource(kind.forward).encode(), digest_size=8).hexdigest()
    assert digest == HASHES[name], f"{name} has changed: compare its twin in cosub/twins, then set {digest}"
