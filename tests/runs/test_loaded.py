"""A loaded network says in timm's words how its images are prepared: timm's own way gives what the run sees."""

import dataclasses

import numpy as np
import pytest
import timm
import torch
from finished import CLASSES, FAMILIES, finished
from PIL import Image
from sklearn.datasets import load_sample_image
from tiny import run, tiny

import cosub
from cosub.data.sources import open_source
from cosub.data.transforms import evaluation, normalize
from cosub.errors import InputError
from cosub.recipes import get
from cosub.recipes.data import Digits, Folder
from cosub.recipes.inputs import Inputs
from cosub.runs.folder import load_run

INPUTS = Inputs(crop_ratio=0.8, interpolation="bilinear", mean=(0.5, 0.4, 0.3), std=(0.5, 0.25, 0.2))


@pytest.fixture(scope="module")
def photographs():
    """Wide, tall, and smaller than what the network takes."""
    china = Image.fromarray(load_sample_image("china.jpg"))
    flower = Image.fromarray(load_sample_image("flower.jpg")).transpose(Image.Transpose.ROTATE_90)
    return [china, flower, china.resize((49, 41))]


def timms_way(network):
    return timm.data.create_transform(**timm.data.resolve_model_data_config(network), is_training=False)


@pytest.mark.parametrize("slimmed", [False, True])
@pytest.mark.parametrize("model", FAMILIES)
def test_timms_way_gives_the_runs_pixels_and_logits(model, slimmed, photographs, tmp_path):
    slim = {"kept_layers": (0, 2), "kept_scale": 1.25} if slimmed else {}
    recipe = finished(tmp_path, model, inputs=INPUTS, **slim)
    network = cosub.load(tmp_path)
    transform, ours = timms_way(network), evaluation(recipe.resolution, recipe.inputs)
    mean, std = (torch.tensor(values).view(3, 1, 1) * 255 for values in (INPUTS.mean, INPUTS.std))
    for image in photographs:
        pixels, theirs = ours(image), transform(image)
        assert ((theirs * std + mean).round().byte() == torch.as_tensor(pixels)).all()
        with torch.inference_mode():
            logits = network(normalize(torch.as_tensor(pixels)[None], INPUTS))
            torch.testing.assert_close(network(theirs[None]), logits, atol=1e-5, rtol=0)


def test_a_loaded_network_knows_its_classes_and_nothing_of_other_weights(tmp_path):
    finished(tmp_path, "convnext_tiny")
    network = cosub.load(tmp_path)
    about = network.pretrained_cfg
    assert about["label_names"] == list(CLASSES)
    assert (about["architecture"], about["num_classes"], about["crop_mode"]) == ("convnext_tiny", 3, "center")
    assert not {"url", "hf_hub_id", "tag", "license", "test_input_size", "test_crop_pct"} & about.keys()
    assert network.default_cfg is about
    config = timm.data.resolve_model_data_config(network, use_test_size=True)
    assert config["input_size"] == (3, 64, 64)


def test_images_of_a_source_that_decodes_itself_are_seen_alike(tmp_path):
    run(tiny(tmp_path / "run"))
    trained = load_run(tmp_path / "run")
    image = open_source(Digits()).test.image(0)
    ours = normalize(torch.as_tensor(evaluation(8, trained.recipe.inputs)(image))[None], trained.recipe.inputs)
    torch.testing.assert_close(timms_way(trained.network)(image)[None], ours)
    assert trained.network.pretrained_cfg["label_names"] == [str(digit) for digit in range(10)]
    assert "image_reading" not in trained.network.pretrained_cfg


def test_how_an_image_becomes_rgb_is_recorded_where_pillow_alone_would_make_another(tmp_path):
    finished(tmp_path, "resnet18", data=Folder(path="x", range=(0.0, 4095.0), orientation=True))
    about = cosub.load(tmp_path).pretrained_cfg["image_reading"]
    assert (about["range"], about["orientation"], about["ground"]) == ((0.0, 4095.0), True, "white")


def test_a_segmenter_says_why_timm_cannot_prepare_its_scenes():
    pytest.importorskip("transformers")
    from cosub.segmentation.network import build_segmenter

    network = build_segmenter(dataclasses.replace(get("camvid"), resolution=64), 3, 1)
    with pytest.raises(InputError, match="cannot say how scenes are prepared"):
        timm.data.resolve_model_data_config(network)


def test_describing_a_network_leaves_those_that_are_built_as_they_were(tmp_path):
    finished(tmp_path, "resnet18")
    cosub.load(tmp_path)
    assert timm.create_model("resnet18").pretrained_cfg["num_classes"] == 1000
    assert np.isclose(timm.create_model("resnet18").pretrained_cfg["crop_pct"], 0.95)
