"""Weights under the names of other code: prefixes of wrappers, EfficientNet-PyTorch, and what has no translation."""

import pytest
import timm
import torch
from safetensors.torch import save_file

from cosub.errors import InputError
from cosub.evaluation.candidates import open_network
from cosub.weights.loading import load_weights


def resnet(seed=0, **changes):
    torch.manual_seed(seed)
    return timm.create_model("resnet18", **{"channels": (4, 4, 8, 8), "num_classes": 5, **changes}).eval()


def lite(seed=0, name="tf_efficientnet_lite0", classes=5):
    torch.manual_seed(seed)
    model = timm.create_model(name, num_classes=classes)
    for value in model.state_dict().values():
        if value.is_floating_point():
            value.add_(torch.rand_like(value))  # statistics and norms of their own
    return model.eval()


def loaded(model, weights, tmp_path):
    torch.save(weights, tmp_path / "w.pth")
    return load_weights(model, tmp_path / "w.pth")


def equal(a, b):
    return all(torch.equal(value, b.state_dict()[name]) for name, value in a.state_dict().items())


@pytest.mark.parametrize("prefix", ["model.", "net.", "backbone.", "encoder.", "module.model.", "model.backbone."])
def test_a_wrappers_prefix_of_all_names(tmp_path, prefix):
    source, target = resnet(0), resnet(1)
    said = loaded(target, {prefix + name: value for name, value in source.state_dict().items()}, tmp_path)
    assert said == [f"{' and '.join(f'{word}.' for word in prefix.split('.')[:-1])} stripped from the names"]
    assert equal(source, target)


def test_a_backbones_prefix_beside_a_head_without_one(tmp_path):
    source, target = resnet(0), resnet(1)
    weights = {name if "fc." in name else f"backbone.{name}": value for name, value in source.state_dict().items()}
    assert loaded(target, weights, tmp_path) == ["backbone. stripped from the names"]
    assert equal(source, target)


def test_a_prefix_that_does_not_make_the_rest_fit_stays(tmp_path):
    weights = {**resnet().state_dict(), "encoder.conv1.bias": torch.zeros(4)}
    with pytest.raises(InputError, match=r"unexpected: encoder\.conv1\.bias"):
        loaded(resnet(1), weights, tmp_path)
    twice = {**resnet().state_dict(), "model.conv1.weight": resnet().conv1.weight}  # two of one name
    with pytest.raises(InputError, match=r"unexpected: model\.conv1\.weight"):
        loaded(resnet(1), twice, tmp_path)


def of_efficientnet_pytorch(model):
    """The same weights by the names of EfficientNet-PyTorch: blocks counted through, and a norm before each branch."""
    weights, blocks = {}, [block for stage in model.blocks for block in stage]
    for name, value in model.state_dict().items():
        first, *rest = name.split(".")
        if first == "blocks":
            block = model.blocks[int(rest[0])][int(rest[1])]
            expanded = hasattr(block, "conv_pwl")
            names = {"conv_dw": "_depthwise_conv", "se": "_se", "conv_pwl": "_project_conv",
                     "conv_pw": "_expand_conv" if expanded else "_project_conv"}  # fmt: skip
            norms = {"bn1": "_bn0", "bn2": "_bn1", "bn3": "_bn2"} if expanded else {"bn1": "_bn1", "bn2": "_bn2"}
            part = ".".join(rest[2:])
            for ours, theirs in (("se.conv_", "_se_"), *names.items(), *norms.items()):
                if part.startswith(ours):
                    part = theirs + part.removeprefix(ours)
                    break
            name = f"_blocks.{next(i for i, other in enumerate(blocks) if other is block)}.{part}"
        else:
            outside = {"conv_stem": "_conv_stem", "bn1": "_bn0", "conv_head": "_conv_head", "bn2": "_bn1"}
            name = ".".join([{**outside, "classifier": "_fc"}[first], *rest])
        weights[name] = value
    return weights


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("name", ["tf_efficientnet_lite0", "tf_efficientnet_b0"])
def test_efficientnet_pytorchs_file(tmp_path, name, prefix):
    source, target = lite(0, name), lite(1, name)
    weights = {prefix + key: value for key, value in of_efficientnet_pytorch(source).items()}
    assert f"{prefix}_blocks.3._expand_conv.weight" in weights
    assert "names of EfficientNet-PyTorch translated" in loaded(target, weights, tmp_path)[-1]
    assert equal(source, target)
    other = lite(2, name, classes=7)
    assert "classifier of 5 classes dropped: this network has 7" in loaded(other, weights, tmp_path)
    assert torch.equal(other.conv_head.weight, source.conv_head.weight)


def test_a_deeper_file_of_efficientnet_pytorch_says_what_is_left(tmp_path):
    weights = of_efficientnet_pytorch(lite())
    weights["_blocks.16._bn2.bias"] = torch.zeros(3)
    with pytest.raises(InputError, match=r"unexpected: _blocks\.16\._bn2\.bias"):
        loaded(lite(1), weights, tmp_path)


def test_names_that_differ_throughout_are_shown_from_both_sides(tmp_path):
    weights = {f"layer_{index}/kernel": value for index, value in enumerate(resnet().state_dict().values())}
    weights["classifier/bias"] = torch.zeros(5)
    target = resnet(1)
    with pytest.raises(InputError) as error:
        loaded(target, weights, tmp_path)
    assert "have other names throughout than this ResNet: first layer_0/kernel, layer_1/kernel, " in str(error.value)
    assert "; here conv1.weight, bn1.weight, bn1.bias, and " in str(error.value)
    assert equal(target, resnet(1))


def test_a_file_that_has_a_classifier_by_another_name_is_not_said_to_have_none(tmp_path):
    """The head is asked for after the fit."""
    weights = {f"x{name}": value for name, value in resnet(num_classes=1000).state_dict().items()}
    save_file(weights, tmp_path / "w.safetensors")
    with pytest.raises(InputError, match="have other names throughout than this ResNet: first xbn1"):
        open_network(str(tmp_path / "w.safetensors"), "resnet18")
