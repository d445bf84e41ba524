"""A classifier that starts as the best linear one on published features, against scikit-learn's own predictions."""

import dataclasses
import json

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tiny import run, run_and_kill, tiny, weights

from cosub.cli import main
from cosub.data.sources import BadImage, open_source
from cosub.data.transforms import evaluation, normalize
from cosub.errors import InputError
from cosub.recipes import get
from cosub.runs.distributed import World
from cosub.train.probing import STRENGTH, fit_heads, unfitted
from cosub.weights.heads import head_names, zero_heads

ALONE = World(0, 1, torch.device("cpu"))
VIT = {"img_size": 32, "patch_size": 4, "embed_dim": 16, "depth": 2, "num_heads": 2}
MODELS = {
    "a linear layer": ("vit_tiny_patch16_224", VIT),
    "two": ("deit_tiny_distilled_patch16_224", VIT),
    "a convolution": ("mobilenetv3_small_050", {}),
    "behind a norm": ("convnext_atto", {"dims": (8, 8, 8, 8), "depths": (1, 1, 1, 1)}),
}


@pytest.fixture(scope="module")
def digits():
    return open_source(get("digits").data)


@pytest.fixture
def recipe(tmp_path):
    return dataclasses.replace(tiny(tmp_path / "run"), head="probe", weights="named", resolution=32)


def made(name, classes=10):
    torch.manual_seed(0)
    model, settings = MODELS[name]
    network = timm.create_model(
        model, num_classes=classes, **{**settings, **({"img_size": 32} if settings is VIT else {})}
    )
    zero_heads(network)
    return network


class Few:
    """Some of the images, of which some cannot be read."""

    def __init__(self, examples, chosen, bad=()):
        self.examples, self.chosen, self.bad = examples, list(chosen), bad
        self.labels = tuple(examples.labels[index] for index in self.chosen)

    def image(self, index, *args):
        if index in self.bad:
            raise BadImage(f"{index}: cut off")
        return self.examples.image(self.chosen[index], *args)


def their_own():
    return make_pipeline(StandardScaler(), LogisticRegression(C=STRENGTH, max_iter=500))


def seen(network, examples, recipe, indices):
    """Images as the network sees them, and what comes into its first classifier."""
    transform = evaluation(recipe.resolution, recipe.inputs)
    pixels = torch.stack([torch.as_tensor(transform(examples.image(index))) for index in indices])
    images, features = normalize(pixels, recipe.inputs), []
    head = network.get_submodule(head_names(network)[0])
    handle = head.register_forward_pre_hook(lambda _, given: features.append(given[0].flatten(1)))
    with torch.no_grad():
        network.eval()(images)
    handle.remove()
    return images, features[0].double().numpy()


@pytest.mark.parametrize("name", MODELS)
def test_it_is_scikit_learns_classifier(name, digits, recipe):
    network, examples = made(name), Few(digits.train, range(200))
    message = fit_heads(network.train(), unfitted(network, recipe), examples, recipe, ALONE)
    assert network.training
    images, features = seen(network, examples, recipe, range(len(examples.labels)))
    theirs = make_pipeline(StandardScaler(), LogisticRegression(C=STRENGTH, max_iter=500)).fit(
        features, examples.labels
    )
    if name != "two":  # its logits are the mean of two classifiers
        with torch.no_grad():
            logits = network(images).double().numpy()
        # Features that hardly vary magnify rounding, to 0.013 on one CPU and less on another.
        np.testing.assert_allclose(logits, theirs.decision_function(features), atol=5e-2)
    assert f"{theirs.score(features, examples.labels):.1%}" in message or name == "two"
    assert all(network.get_submodule(head).weight.any() for head in head_names(network))


def test_two_classes_and_a_class_without_images(digits, recipe):
    examples = digits.train
    few = Few(examples, [index for index, label in enumerate(examples.labels[:300]) if label in (0, 2)])
    network = made("a linear layer", classes=3)
    fit_heads(network, unfitted(network, recipe), few, recipe, ALONE)
    assert not network.head.weight[1].any()
    images, features = seen(network, few, recipe, range(len(few.labels)))
    theirs = their_own().fit(features, few.labels)
    with torch.no_grad():
        logits = network(images)
    np.testing.assert_allclose((logits[:, 2] - logits[:, 0]).numpy(), theirs.decision_function(features), atol=1e-4)


def test_a_process_without_images_gets_the_others_classifier(digits, recipe, monkeypatch):
    """Of two processes the second one's images cannot be read."""
    few, sent = Few(digits.train, range(100), bad=range(1, 100, 2)), [({"head": []}, [])] * 2
    heads = []
    for rank in (0, 1):

        def gather(parts, own, rank=rank):
            sent[rank] = own
            parts[:] = sent

        monkeypatch.setattr("torch.distributed.all_gather_object", gather)
        network = made("a linear layer")
        message = fit_heads(network, unfitted(network, recipe), few, recipe, World(rank, 2, torch.device("cpu")))
        assert message.startswith("fitted to the features of 50 training images")
        heads.append(network.head.weight)
    assert torch.equal(*heads)


def test_images_that_give_no_classifier_are_one_line(digits, recipe):
    network = made("a linear layer")
    heads, labels = unfitted(network, recipe), digits.train.labels
    with pytest.raises(InputError, match=r"head: probe: none of the training images can be read; .*check-data"):
        fit_heads(network, heads, Few(digits.train, range(20), bad=range(20)), recipe, ALONE)
    zeros = Few(digits.train, [index for index in range(100) if labels[index] == 0])
    with pytest.raises(InputError, match=r"head: probe: all .* are of one class, and it needs two; take zero"):
        fit_heads(network, heads, zeros, recipe, ALONE)


def test_a_classifier_that_the_weights_have_stays_and_nothing_is_said(tmp_path, capsys):
    settings = tiny(tmp_path).model_args
    model = timm.create_model("vit_tiny_patch16_224", img_size=tiny(tmp_path).resolution, num_classes=10, **settings)
    torch.nn.init.ones_(model.head.weight)
    torch.save(model.state_dict(), tmp_path / "ten.pth")
    run(tiny(tmp_path / "run", head="probe", weights=str(tmp_path / "ten.pth"), lr=1e-30))
    assert "head: fit" not in capsys.readouterr().err
    assert (weights(tmp_path / "run")["head.weight"] - 1).abs().max() < 1e-3


def test_a_classifier_of_as_many_other_classes_is_dropped_and_fitted_anew(tmp_path, capsys):
    settings = tiny(tmp_path).model_args
    model = timm.create_model("vit_tiny_patch16_224", img_size=tiny(tmp_path).resolution, num_classes=10, **settings)
    torch.nn.init.ones_(model.head.weight)
    for name, classes in (("others", "abcdefghij"), ("same", "0123456789")):
        file = tmp_path / f"{name}.safetensors"
        save_file(model.state_dict(), file, {"classes": json.dumps(list(classes))})
        run(tiny(tmp_path / name, head="probe", weights=str(file), lr=1e-30))
        said, kept = capsys.readouterr().err, (weights(tmp_path / name)["head.weight"] - 1).abs().max() < 1e-3
        assert ("classifier dropped: it is for other classes ('a', where the data have '0')" in said) == (not kept)
        assert ("head: fitted to the features" in said) == (not kept) == (name == "others")


@pytest.mark.slow
def test_a_run_starts_from_it_and_goes_on_to_the_bit(tmp_path, capsys):
    (tmp_path / "weights").mkdir()
    settings = tiny(tmp_path).model_args
    model = timm.create_model("vit_tiny_patch16_224", img_size=tiny(tmp_path).resolution, num_classes=7, **settings)
    torch.save(model.state_dict(), tmp_path / "weights" / "seven.pth")
    start = {"head": "probe", "weights": str(tmp_path / "weights" / "seven.pth")}
    run(tiny(tmp_path / "whole", checkpoint_every=2, **start))
    assert "head: fitted to the features of" in capsys.readouterr().err
    capsys.readouterr()
    killed = tiny(tmp_path / "cut", checkpoint_every=2, **start)
    run_and_kill(killed, 5)
    run(killed)
    assert "fitted" not in capsys.readouterr().err
    whole, cut = weights(tmp_path / "whole"), weights(tmp_path / "cut")
    assert all(torch.equal(value, cut[name]) for name, value in whole.items())


def test_what_it_cannot_do(recipe, tmp_path, capsys):
    with pytest.raises(InputError, match=r"head: probe: .*--weights"):
        unfitted(made("a linear layer"), dataclasses.replace(recipe, weights=""))
    with pytest.raises(InputError, match=r"head: probe: .*no classifier"):
        unfitted(timm.create_model("resnet18", num_classes=0), recipe)
    assert main(["train", "digits", "--head", "probe", "--out", str(tmp_path / "none")]) == 2
    assert "head: probe" in capsys.readouterr().err
    assert main(["train", "digits", "--head", "linear"]) == 2
    assert "head" in capsys.readouterr().err
