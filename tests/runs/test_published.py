"""How images are prepared for weights: which source decides, and that evaluation and training follow."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
import timm
import torch
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError
from PIL import Image
from safetensors.torch import save_file
from timm.data import create_transform, resolve_model_data_config
from timm.models import save_for_hf
from tiny import TINY, run, tiny

import cosub
from cosub.cli import main
from cosub.cli.train import understand
from cosub.data.pixels import reading_of, rule_of
from cosub.data.transforms import evaluation, normalize
from cosub.errors import InputError
from cosub.evaluation.candidates import open_network
from cosub.recipes import get
from cosub.recipes.data import Folder
from cosub.recipes.files import read
from cosub.recipes.inputs import Inputs
from cosub.runs.network import build_network
from cosub.runs.published import look_up, metadata, prepared_otherwise
from cosub.train.checkpoint import save_weights

VIT = "vit_tiny_patch16_224"  # timm has mean and deviation 0.5 and crop 0.9 for it
HALF = Inputs(0.9, "bicubic", (0.5,) * 3, (0.5,) * 3)
ODD = Inputs(0.8, "bilinear", (0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
OURS = {"crop_pct": 0.8, "interpolation": "bilinear", "mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]}
SMALL = {"embed_dim": 24, "depth": 2, "num_heads": 3, "patch_size": 8}


def vit(**changes):
    torch.manual_seed(0)
    return timm.create_model(VIT, **{"img_size": 32, "num_classes": 3, **SMALL, **changes})


def written(folder, metadata=None, config=None):
    """A file of weights with what is told of it inside and beside."""
    folder.mkdir(exist_ok=True)
    save_file(vit().state_dict(), folder / "model.safetensors", metadata)
    if config is not None:
        (folder / "config.json").write_text(json.dumps({"architecture": VIT, "pretrained_cfg": config}))
    return str(folder / "model.safetensors")


# --- which source decides


def test_the_files_own_word_goes_before_the_one_beside_it(tmp_path):
    inside = {"pretrained_cfg": json.dumps(OURS), "classes": json.dumps(["a", "b", "c"])}
    beside = {**OURS, "crop_pct": 0.7, "num_classes": 3}
    found = look_up(written(tmp_path / "both", inside, beside), VIT)
    assert (found.inputs, found.classes) == (ODD, ("a", "b", "c"))
    found = look_up(written(tmp_path / "beside", None, beside))
    assert (found.inputs, found.model) == (dataclasses.replace(ODD, crop_ratio=0.7), VIT)
    assert found.classes == ("0", "1", "2")
    assert found.origin.endswith("beside/config.json")


def test_where_nothing_is_stated_timms_values_and_else_imagenets_and_that_is_reported(tmp_path):
    path = written(tmp_path / "alone")
    found = look_up(path, VIT)
    assert (found.inputs, found.resolution, found.model) == (HALF, 224, "")
    assert found.origin == f"timm's {VIT}.augreg_in21k_ft_in1k"
    assert look_up(path, f"{VIT}.augreg_in21k").origin == f"timm's {VIT}.augreg_in21k"
    assert look_up("tf_efficientnet_lite1.in1k").resolution == 240
    nothing = look_up(path, "no_such_model")
    assert nothing.inputs == Inputs()
    assert "these are ImageNet's values" in nothing.origin


def test_a_runs_recipe_goes_with_its_folder_and_its_file(tmp_path):
    run(tiny(tmp_path / "run", inputs=ODD))
    for source in (tmp_path / "run", tmp_path / "run" / "model.safetensors"):
        assert look_up(str(source)).inputs == ODD
    (tmp_path / "away").mkdir()
    moved = (tmp_path / "run" / "model.safetensors").rename(tmp_path / "away" / "mine.safetensors")
    found = look_up(str(moved), VIT)  # it says itself what it wants
    assert (found.inputs, found.resolution, len(found.classes)) == (ODD, 8, 10)


def test_a_runs_file_says_how_pixels_are_read(tmp_path):
    recipe = dataclasses.replace(get("digits"), data=Folder(orientation=True, range=(0.0, 4095.0)))
    save_weights({}, tmp_path / "model.safetensors", metadata(recipe, ("a", "b")))
    found = look_up(str(tmp_path / "model.safetensors"))
    assert rule_of(reading_of(found.config, found.origin)) == rule_of(recipe.data)


def test_what_is_not_built_is_reported():
    found = look_up("resnetv2_50x1_bit.goog_in21k_ft_in1k")
    assert found.messages == ()
    squashed = next(name for name in timm.list_pretrained("vit*siglip*") if look_up(name).messages)
    assert "crop_mode squash is not supported" in look_up(squashed).messages[0]


@pytest.mark.parametrize("about", [{"mean": [0.5]}, {"std": "x"}, {"std": [0, 1, 1]}, {"crop_pct": None}, 3])
def test_a_description_that_makes_no_sense_is_one_line(tmp_path, about):
    written(tmp_path, None, about)
    with pytest.raises(InputError, match=r"config\.json|std: "):
        look_up(str(tmp_path))


@pytest.fixture
def hub(tmp_path, monkeypatch):
    def download(repo_id, filename, **_):
        if not (tmp_path / "hub" / filename).exists():
            raise EntryNotFoundError(f"404: no {filename}")
        return str(tmp_path / "hub" / filename)

    monkeypatch.setattr("timm.models._hub.hf_hub_download", download)
    return tmp_path / "hub"


def test_the_hubs_config_decides_and_names_the_model(hub):
    save_for_hf(vit(), str(hub), safe_serialization=True, data_config={**OURS, "input_size": (3, 32, 32)})
    found = open_network("hf-hub:owner/name")
    assert (found.recipe.model, found.recipe.resolution, found.recipe.inputs) == (VIT, 32, ODD)
    assert torch.equal(found.network.state_dict()["head.weight"], vit().head.weight)
    (hub / "config.json").unlink()
    said = look_up("hf-hub:owner/name", VIT)
    assert said.inputs == HALF
    assert "its config.json cannot be downloaded (404: no config.json)" in said.messages[0]
    (hub / "config.json").write_text('{"architectures": ["ViTModel"]}')  # of another library
    assert "is not timm's description" in look_up("hf-hub:owner/name", VIT).messages[0]
    with pytest.raises(InputError, match="must be hf-hub:OWNER/NAME"):
        look_up("hf-hub:../name", VIT)


def test_without_network_the_hub_is_asked_once_and_one_line_says_what_to_do(monkeypatch, capsys):
    asked = []

    def offline(repo_id, filename, **_):
        asked.append(filename)
        raise LocalEntryNotFoundError("no network")

    monkeypatch.setattr("timm.models._hub.hf_hub_download", offline)
    assert main(["evaluate", "hf-hub:owner/name", "--model", VIT, "--set", "val=."]) == 2
    said = capsys.readouterr().err
    assert said.startswith("cosub: weights: hf-hub:owner/name: the Hub cannot be reached, and the cache has nothing")
    assert (said.count("\n"), asked) == (1, ["config.json"])
    monkeypatch.setattr("cosub.runs.published.try_to_load_from_cache", lambda *_: "/cache/model.safetensors")
    assert look_up("hf-hub:owner/name", VIT).messages == ("hf-hub:owner/name: its config.json is not in the cache",)


@pytest.mark.parametrize("mode", ["squash", "border"])
def test_a_crop_that_is_not_built_is_reported_by_every_command_that_reads_the_weights(tmp_path, capsys, mode):
    folder, paths = tmp_path / "theirs", pictures(tmp_path / "images")
    given = {**OURS, "crop_mode": mode, "input_size": (3, 32, 32)}
    save_for_hf(vit(), str(folder), safe_serialization=True, model_config={"label_names": ["a", "b", "c"]},
                data_config=given)  # fmt: skip
    config = resolve_model_data_config(timm.create_model(f"local-dir:{folder}"))
    theirs = create_transform(**config, is_training=False)(Image.open(paths[-1]))
    ours = open_network(str(folder))
    pixels = torch.as_tensor(evaluation(32, ours.recipe.inputs)(Image.open(paths[-1])))[None]
    assert not torch.allclose(normalize(pixels, ours.recipe.inputs)[0], torch.as_tensor(theirs), atol=0.1)
    for words in (
        ["evaluate", str(folder), "--set", f"val={tmp_path / 'images'}"],
        ["predict", str(folder), str(paths[0])],
        ["train", "finetune", "--weights", str(folder), "--dry-run"],
    ):
        assert main(words) == 0
        assert f"crop_mode {mode} is not supported, and predictions may differ" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["hf-hub:a/b", "local-dir:/x", "../vit", "no_such_model"])
def test_no_code_comes_from_a_config(tmp_path, name):
    written(tmp_path, None, OURS)
    (tmp_path / "config.json").write_text(json.dumps({"architecture": name, "pretrained_cfg": OURS}))
    (tmp_path / "model.py").write_text(f"open({str(tmp_path / 'touched')!r}, 'w')")
    with pytest.raises(InputError, match="timm does not know it"):
        open_network(str(tmp_path))
    assert not (tmp_path / "touched").exists()


# --- evaluation


def pictures(folder, names=("a", "b", "c")):
    generator = torch.Generator().manual_seed(0)
    for label, name in enumerate(names):
        (folder / "val" / name).mkdir(parents=True)
        for item in range(4):
            size = (40 + 7 * item, 33 + 5 * label)
            pixels = torch.randint(0, 255, (size[1], size[0], 3), generator=generator, dtype=torch.uint8)
            Image.fromarray(pixels.numpy()).save(folder / "val" / name / f"{item}.png")
    return sorted(folder.glob("val/*/*.png"))


def logits_of(candidate, paths):
    transform = evaluation(candidate.recipe.resolution, candidate.recipe.inputs)
    images = torch.stack([torch.as_tensor(transform(Image.open(path))) for path in paths])
    with torch.inference_mode():
        return candidate.network(normalize(images, candidate.recipe.inputs))


def test_a_folder_that_timm_wrote_gives_timms_logits_image_by_image(tmp_path, capsys):
    folder, paths = tmp_path / "theirs", pictures(tmp_path / "images")
    config = {"label_names": ["a", "b", "c"]}
    given = {**OURS, "input_size": (3, 32, 32)}
    save_for_hf(vit(), str(folder), safe_serialization=True, model_config=config, data_config=given)
    model = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    transform = create_transform(**resolve_model_data_config(model), is_training=False)
    with torch.inference_mode():
        theirs = model(torch.stack([torch.as_tensor(transform(Image.open(path).convert("RGB"))) for path in paths]))
    ours = open_network(str(folder))
    assert ours.classes == ("a", "b", "c")
    torch.testing.assert_close(logits_of(ours, paths), theirs, rtol=0, atol=1e-5)
    assert main(["evaluate", str(folder), "--set", f"val={tmp_path / 'images'}", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    right = theirs.argmax(1) == torch.tensor([0] * 4 + [1] * 4 + [2] * 4)
    assert found["top1"] == round(float(right.float().mean()), 6)
    assert (found["mean"], found["crop_ratio"], found["interpolation"]) == ([0.1, 0.2, 0.3], 0.8, "bilinear")


@pytest.mark.parametrize(
    "kept", [(), pytest.param((0, 1, 3), marks=pytest.mark.slow)], ids=["whole", "half a block gone"]
)
def test_a_folder_that_cosub_exported_gives_the_logits_of_its_run(tmp_path, kept, monkeypatch):
    recipe = tiny(tmp_path / "run", inputs=ODD)
    run(recipe)
    if kept:
        from cosub.recipes.files import dump
        from cosub.train.checkpoint import save_weights

        recipe = dataclasses.replace(recipe, kept_layers=kept)
        classes = {"classes": json.dumps([str(number) for number in range(10)])}
        save_weights(build_network(recipe, 10, 1).state_dict(), tmp_path / "run" / "model.safetensors", classes)
        (tmp_path / "run" / "recipe.json").write_text(dump(recipe))
    assert main(["export", str(tmp_path / "run"), "--out", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out" / "model.py").exists() == bool(kept)
    ours = open_network(str(tmp_path / "out"))
    assert (ours.recipe.inputs, ours.recipe.resolution, len(ours.classes)) == (ODD, 8, 10)
    images = torch.randn(4, 3, 8, 8)
    with torch.inference_mode():
        torch.testing.assert_close(ours.network(images), cosub.load(tmp_path / "run")(images), rtol=0, atol=1e-5)


def test_what_is_given_overrides_and_must_make_sense(tmp_path, capsys):
    path = written(tmp_path / "w", {"classes": json.dumps(["a", "b", "c"])})
    pictures(tmp_path / "images")
    words = ["evaluate", path, "--model", VIT, "--resolution", "32", "--set", f"val={tmp_path / 'images'}", "--json"]
    save_file(timm.create_model(VIT, num_classes=3).state_dict(), path, {"classes": json.dumps(["a", "b", "c"])})
    given = ["--mean", "0", "0.5", "1", "--std", "1", "1", "2", "--crop-ratio", "0.75", "--interpolation", "bilinear"]
    assert main([*words, *given]) == 0
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert (found["mean"], found["std"], found["crop_ratio"]) == ([0, 0.5, 1], [1, 1, 2], 0.75)
    assert "except crop_ratio, interpolation, mean, std, as given" in err
    for wrong, message in (
        (["--std", "0", "1", "1"], "std: 0.0: "),
        (["--interpolation", "nearest"], "'nearest': must be one of bicubic, bilinear"),
        (["--interpolation", "None"], "'None': must be one of bicubic, bilinear"),
        (["--mean", "0.5"], "mean: needs 3 values"),
        (["--mean", "a", "0", "0"], "mean: 'a', '0', '0': must be numbers"),
        (["--mean", "127", "127", "127"], "must be in [0, 1], as pixels are; divide values of 0 to 255 by 255"),
        (["--crop-ratio", "3"], "crop_ratio: 3.0: "),
    ):
        assert main([*words, *wrong]) == 2
        assert message in capsys.readouterr().err


def test_what_may_be_left_out_is_offered_without_none(capsys):
    with pytest.raises(SystemExit):
        main(["evaluate", "--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert "--interpolation {bicubic,bilinear}" in said
    assert "--mean FLOAT FLOAT FLOAT" in said
    assert "None" not in said


def test_files_that_hold_no_weights_and_names_too_long_for_a_file(tmp_path, capsys):
    for name, content, message in (
        (
            "a.txt",
            b"hello",
            "cannot be read as weights: it is damaged, or holds none (KeyError 101); name a .safetensors or .pth file",
        ),
        ("r.pth", bytes(range(255, 0, -1)) * 4, "holds none (not written by torch.save)"),
        ("x" * 300, None, "is neither a run, a file, a folder, nor a name of timm's weights"),
    ):
        if content is not None:
            (tmp_path / name).write_bytes(content)
        assert main(["evaluate", str(tmp_path / name), "--model", VIT, "--set", "val=."]) == 2
        said = capsys.readouterr().err
        assert message in said
        assert said.count("\n") == 1


def test_a_model_that_the_weights_do_not_name(tmp_path, capsys):
    folder = tmp_path / "theirs"
    save_for_hf(vit(), str(folder), safe_serialization=True)
    for words, message in (
        ([str(folder), "--model", "resnet18"], f"names its model itself, {VIT}; leave --model out"),
        ([written(tmp_path / "alone")], "name the timm model of"),
    ):
        assert main(["evaluate", *words, "--set", "val=."]) == 2
        assert message in capsys.readouterr().err


# --- training


def test_training_from_weights_takes_their_preprocessing_unless_it_is_given(tmp_path, capsys):
    path = written(tmp_path / "w", {"pretrained_cfg": json.dumps(OURS)})
    words = ["cifar10", "--model", VIT, "--weights", path, "--out", str(tmp_path / "run")]
    recipe, _ = understand(words)
    assert (recipe.inputs, recipe.resolution) == (ODD, get("cifar10").resolution)
    assert "inferred: mean 0.1 0.2 0.3, std 0.4 0.5 0.6, crop_ratio 0.8 (bilinear), from " in capsys.readouterr().err
    recipe, _ = understand([*words, "--mean", "0", "0", "0", "--crop-ratio", "1"])
    assert recipe.inputs == dataclasses.replace(ODD, mean=(0.0,) * 3, crop_ratio=1.0)
    assert understand(["cifar10", "--model", VIT])[0].inputs == Inputs()
    with pytest.raises(InputError, match=r"mean: \(2.0, 2.0, 2.0\): must be in \[0, 1\]"):
        understand([*words, "--mean", "2", "2", "2"])


def test_a_recipe_with_weights_of_its_own_keeps_its_own_and_a_run_of_it_is_warned():
    recipe, _ = understand(["deit3-b-800-192px-to-224"])
    assert recipe.inputs == Inputs()
    other = dataclasses.replace(recipe, model=VIT, weights="nowhere.pth")
    assert "the weights expect images with mean 0.5 0.5 0.5" in prepared_otherwise(other)
    assert prepared_otherwise(dataclasses.replace(other, inputs=HALF)) == ""


def test_a_run_goes_on_with_what_it_began_with(tmp_path, capsys):
    """Runs of before normalised as ImageNet whatever their weights were; and a file may be gone by now."""
    path = written(tmp_path / "w", {"pretrained_cfg": json.dumps(OURS)})
    save_file(timm.create_model(VIT, img_size=8, **TINY).state_dict(), path, {"pretrained_cfg": json.dumps(OURS)})
    begun = tiny(tmp_path / "run", weights=path)  # in Python nothing is inferred
    run(begun)
    assert begun.inputs == Inputs()
    capsys.readouterr()
    again, _ = understand([str(tmp_path / "run" / "recipe.json"), "--weights", path, "--out", str(tmp_path / "run")])
    assert again.inputs == Inputs()
    words = ["digits", "--weights", path, "--out", str(tmp_path / "run")]
    found, _ = understand(words)
    assert found.inputs == Inputs()
    assert f"inferred: inputs as in {tmp_path / 'run'}, which has begun" in capsys.readouterr().err
    assert understand([*words[:-1], str(tmp_path / "new")])[0].inputs == ODD
    assert read(tmp_path / "run" / "recipe.json").inputs == Inputs()


# --- prediction


def predicted(capsys, *words):
    assert main(["predict", *map(str, words), "--json"]) == 0
    out, err = capsys.readouterr()
    return json.loads(out)["predictions"], err


def test_predict_takes_what_evaluate_takes_with_the_same_predictions(tmp_path, hub, capsys):
    run(tiny(tmp_path / "run", inputs=ODD))
    assert main(["export", str(tmp_path / "run"), "--out", str(hub)]) == 0
    alone = shutil.copy(tmp_path / "run" / "model.safetensors", tmp_path / "alone.safetensors")
    images = pictures(tmp_path / "images")[0].parents[1]
    capsys.readouterr()
    wanted, said = predicted(capsys, tmp_path / "run", images)
    assert (len(wanted), said) == (12, "")
    for words in ([hub], ["hf-hub:owner/name"], [hub / "model.safetensors"]):
        found, said = predicted(capsys, *words, images)
        assert "images are prepared with mean 0.1 0.2 0.3" in said
        for ours, theirs in zip(found, wanted, strict=True):
            assert [item["class"] for item in ours["classes"]] == [item["class"] for item in theirs["classes"]]
            assert ours["classes"][0]["probability"] == pytest.approx(theirs["classes"][0]["probability"], abs=1e-5)
    halves = [predicted(capsys, source, images, "--keep", 0.5)[0] for source in (hub, tmp_path / "run")]
    assert halves[0] == halves[1] != wanted
    other, _ = predicted(capsys, hub, images, "--mean", "0.9", "0.9", "0.9")
    assert other[0]["classes"] != wanted[0]["classes"]
    assert main(["predict", str(alone), str(images)]) == 2
    assert "name the timm model of" in capsys.readouterr().err


@pytest.mark.parametrize("turn", [False, True])
def test_an_exported_folder_is_asked_with_images_opened_as_its_run_opened_them(tmp_path, capsys, turn):
    """Deep images, and photographs that were held upright."""
    paths = pictures(tmp_path / "images", tuple("0123456789"))
    deep = Image.fromarray(np.arange(0, 60000, 25, dtype=np.uint16).reshape(40, 60))
    deep.save(paths[0])
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(paths[5]).save(paths[5], exif=exif)
    data = Folder(path=str(tmp_path / "images" / "val"), range=(0.0, 60000.0), orientation=turn)
    run(tiny(tmp_path / "run", data=data, batch_size=16))
    assert main(["export", str(tmp_path / "run"), "--out", str(tmp_path / "out")]) == 0
    capsys.readouterr()
    wanted, found = (predicted(capsys, tmp_path / name, tmp_path / "images")[0] for name in ("run", "out"))
    for ours, theirs in zip(found, wanted, strict=True):
        values = [{item["class"]: item["probability"] for item in each["classes"]} for each in (ours, theirs)]
        assert values[0] == pytest.approx(values[1], abs=1e-5)
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    (tmp_path / "out" / "config.json").write_text(json.dumps({**config, "image_reading": {"range": "auto"}}))
    assert main(["predict", str(tmp_path / "out"), str(paths[0])]) == 2
    assert "image_reading is invalid" in capsys.readouterr().err
