"""Exported networks give the logits of their run, in processes that have no cosub."""

import copy
import dataclasses
import errno
import json
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import timm
import torch
from conftest import SMALL
from outside import OUTSIDE
from pictures import picture
from tiny import call, run, tiny, weights
from torch import nn
from torchvision.transforms.functional import _compute_resized_output_size
from variants import VARIANTS

import cosub
from cosub.data.sources import open_source
from cosub.errors import InputError, RunError
from cosub.export import graph, upload
from cosub.export.card import _ONNX, Facts, timm_usage
from cosub.export.checks import real_images, require_same
from cosub.export.plain import _TIMM_NAMES, Plain, module_text, plain_model
from cosub.export.writing import write_timm
from cosub.recipes import get
from cosub.recipes.files import dump
from cosub.runs import standalone
from cosub.runs.folder import aside, load_run
from cosub.train.checkpoint import save_weights
from cosub.twins import TWINS
from cosub.twins.removal import blocks_of, remove_layers
from cosub.twins.twin import Twin

# Families of which whole blocks may go by timm's own argument.
BY_DEPTH = sorted(
    SMALL.keys() - {"regnet", "efficientnet", "eva", "evapost", "dinov3", "mobilenetv4", "hiera", "maxvit", "coatnext"}
)


def spans(model):
    """The residual layers of each block, by its name."""
    names = {module: name for name, module in model.named_modules()}
    found, first = {}, 0
    for block in blocks_of(model):
        layers = TWINS[type(block)].layers_of(block)
        found[names[block]] = range(first, first + layers)
        first += layers
    return found


def every(model):
    return [layer for layers in spans(model).values() for layer in layers]


def submodel_logits(model, images, kept, scale):
    """The logits of the full network without some layers, by the operation that all else is compared with."""
    attached = cosub.attach(copy.deepcopy(model).eval(), drop_rate=0.2)
    with torch.no_grad(), cosub.active(attached, cosub.keep_layers(kept, len(every(model)), len(images), scale)):
        return attached(images)


def spoiled(model, kept):
    """The model with what is not kept made useless: it may not be looked at."""
    slim = remove_layers(copy.deepcopy(model), kept)
    for name, value in model.named_parameters():
        if name not in dict(slim.named_parameters()):
            nn.init.constant_(value, float("nan"))
    return model


def removable(model):
    """One block that a depth can leave out: in Swin the last of a stage, so that shifts stay where they are."""
    names = [name for name, module in model.named_modules() if type(module) in TWINS]
    return next(
        name
        for name in reversed(names)
        if TWINS[type(model.get_submodule(name))].vanishes(model.get_submodule(name))
        and sum(other.startswith(f"{name.rpartition('.')[0]}.") for other in names) > 1
    )


@pytest.mark.parametrize("family", BY_DEPTH)
def test_whole_blocks_disappear_into_the_depth(family, build, images):
    model = build().eval()
    gone = removable(model)
    kept = sorted(set(every(model)) - set(spans(model)[gone]))
    expected = submodel_logits(model, images, kept, 1.25)
    plain = plain_model(spoiled(model, kept), kept, 1.25)
    assert not plain.removed
    assert len(spans(plain.model)) == len(spans(model)) - 1
    with torch.no_grad():
        torch.testing.assert_close(plain.model(images), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("first", [0, 1])
def test_single_layers_are_taken_out_of_the_full_model(build, images, first):
    model = build().eval()
    kept = every(model)[first::2]
    expected = submodel_logits(model, images, kept, 1.25)
    names = remove_layers(copy.deepcopy(model), kept).state_dict().keys()
    plain = plain_model(spoiled(model, kept), kept, 1.25)
    if plain.removed:
        assert plain.model.state_dict().keys() == names
    else:  # every second block was a residual layer of its own
        assert len(plain.model.state_dict()) == len(names)
    with torch.no_grad():
        torch.testing.assert_close(plain.model(images), expected, atol=1e-5, rtol=1e-5)


def test_swin_with_other_shifts_is_not_a_matter_of_depth(images):
    torch.manual_seed(0)
    model = SMALL["swin"]().eval()
    kept = sorted(set(every(model)) - set(spans(model)["layers.0.blocks.0"]))
    assert plain_model(model, kept).removed == {"layers.0.blocks.0": [0, 1]}


def alive(model):
    """Without what starts at zero and would hide a factor, and without dropout, which some small ones come with."""
    for value in model.parameters():
        if not value.any():
            nn.init.normal_(value, std=0.5)
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return model.eval()


ALL_KINDS = {**SMALL, **VARIANTS}


@pytest.mark.parametrize("name", sorted(ALL_KINDS))
@pytest.mark.parametrize("first", [0, 1])
def test_every_twin_is_exported_with_a_factor(name, first, images, tmp_path):
    """Half of the layers, times 1.25: timm's own forward, in the model at hand and in one built from the JSON."""
    torch.manual_seed(0)
    model = alive(ALL_KINDS[name]())
    kept = every(model)[first::2]
    expected = submodel_logits(model, images, kept, 1.25)
    keys = remove_layers(copy.deepcopy(model), kept).state_dict().keys()
    again = copy.deepcopy(model)
    plain = plain_model(spoiled(model, kept), kept, 1.25)
    models = [plain.model]
    if plain.replaced:
        assert plain.model.state_dict().keys() == keys
        replaced = json.loads(json.dumps(plain.replaced))
        standalone.replace(again, replaced)
        again.load_state_dict(plain.model.state_dict())
        models.append(again)
    assert expected.std() > 1e-3
    for found in models:
        assert not any(isinstance(module, Twin) for module in found.modules())
        with torch.no_grad():
            torch.testing.assert_close(found(images), expected, atol=1e-5, rtol=1e-5)


def test_every_twin_of_timm_is_among_them():
    found = {type(block) for make in ALL_KINDS.values() for block in blocks_of(make())}
    assert {kind for kind in TWINS if kind.__module__.split(".")[0] in ("timm", "cosub")} - found == set()


@pytest.mark.parametrize("name", sorted(OUTSIDE))
def test_networks_from_outside_timm_are_refused(name):
    """timm builds none of them, so there is no network that an export could be loaded into."""
    with pytest.raises(ValueError, match="timm's networks alone"):
        remove_layers(OUTSIDE[name](), [0])


def test_a_branch_that_can_take_no_factor_is_refused():
    model = SMALL["vit"]()
    for block in blocks_of(model):
        block.ls1, block.attn.proj = nn.Identity(), nn.Sequential(block.attn.proj, nn.Tanh())
        del block.drop_path1, block.drop_path2
    with pytest.raises(InputError, match=r"kept_scale: 1\.25: a branch of Block"):
        plain_model(model, every(model)[1:], 1.25)


def test_a_branch_that_ends_in_a_gate_is_scaled_by_the_module(images):
    torch.manual_seed(0)
    model = timm.create_model("seresnet18", channels=(8, 8, 8, 8), num_classes=5, zero_init_last=False).eval()
    kept = every(model)
    expected = submodel_logits(model, images, kept, 1.25)
    plain = plain_model(model, kept, 1.25)
    assert plain.needs_module
    assert set(plain.scaled.values()) == {1.25}
    with torch.no_grad():
        torch.testing.assert_close(plain.model(images), expected, atol=1e-5, rtol=1e-5)


def test_the_module_file_says_nothing_of_cosub():
    patchconvnet = Plain(SMALL["patchconvnet"](), {}, {}, {})
    for plain in (patchconvnet, Plain(SMALL["vit"](), {"blocks.1": [0]}, {}, {"blocks.1.norm1": "pass"})):
        text = module_text(plain)
        assert "import cosub" not in text
        assert "from cosub" not in text
        compile(text, "model.py", "exec")


# --- a finished run


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """After so short a training all images look alike: its head is made sharper, so that it tells them apart."""
    out = tmp_path_factory.mktemp("export") / "run"
    run(tiny(out))
    file = out / "model.safetensors"
    values = weights(out)
    values["head.weight"] *= 30
    values["head.bias"].zero_()
    save_weights(values, file, {"classes": json.dumps([str(digit) for digit in range(10)])})
    return out


@pytest.fixture(scope="module")
def half(finished, tmp_path_factory):
    """A slimmed run: the second block without its attention."""
    return slimmed(finished, tmp_path_factory.mktemp("half") / "run", (0, 1, 3), 1.1)


def slimmed(finished, out, kept, scale):
    trained = load_run(finished)
    recipe = dataclasses.replace(trained.recipe, kept_layers=kept, kept_scale=scale)
    model = remove_layers(cosub.detach(trained.network), kept)
    out.mkdir()
    (out / "recipe.json").write_text(dump(recipe))
    save_weights(model.state_dict(), out / "model.safetensors", {"classes": json.dumps(trained.classes)})
    return out


@pytest.fixture
def digit_files(tmp_path):
    """Test images of digits as files, and one of them under the name that cards use."""
    examples = open_source(get("digits").data).test
    for index in range(60):
        examples.image(index).save(tmp_path / f"{index}.png")
    examples.image(0).save(tmp_path / "image.png")
    return tmp_path


def alone(code, folder):
    """Run code in a folder, in a process that cannot import cosub."""
    code = f"import sys\nsys.modules['cosub'] = None\nsys.path.insert(0, '')\n{code}"
    words = [sys.executable, "-I", "-B", "-W", "error::UserWarning", "-c", code]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)
    assert not done.returncode, done.stderr
    return done.stdout


def snippet(folder):
    return re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.S)[0]


ALL = """
names = [f"../{number}.png" for number in range(60)]
images = torch.stack([transform(Image.open(name).convert("RGB")) for name in names])
print([[int(index), float(value)] for value, index in zip(*network(images).softmax(1).detach().max(1))])
"""


def predicted(run, capsys, folder):
    """The classes that the run itself gives, by the verb that people use, and their probabilities."""
    files = [folder / f"{number}.png" for number in range(60)]
    status, out, _ = call(capsys, "predict", run, *files, "--top", 1, "--json")
    assert status == 0
    best = [item["classes"][0] for item in json.loads(out)["predictions"]]
    return [int(item["class"]) for item in best], [item["probability"] for item in best]


@pytest.mark.slow
@pytest.mark.parametrize("which", ["finished", "half"])
def test_timm_alone_gives_the_same_classes(which, request, capsys, digit_files):
    source, folder = request.getfixturevalue(which), digit_files / "exported"
    status, out, _ = call(capsys, "export", source, "--out", folder, "--json")
    assert status == 0
    values = json.loads(out)
    assert values["difference"] < 1e-5
    assert values["module"] == (folder / "model.py").exists() == (which == "half")
    (digit_files / "image.png").rename(folder / "image.png")
    first, found = alone(snippet(folder) + ALL, folder).splitlines()
    classes, probabilities = zip(*json.loads(found), strict=True)
    expected = predicted(source, capsys, digit_files)
    assert list(classes) == expected[0]
    assert list(probabilities) == pytest.approx(expected[1], abs=1e-5)
    assert max(probabilities) - min(probabilities) > 1e-3
    assert int(first.split()[0]) == classes[0]
    assert float(first.split()[1]) == pytest.approx(probabilities[0], abs=1e-5)
    config = json.loads((folder / "config.json").read_text())
    assert config["label_names"] == [str(digit) for digit in range(10)]
    assert config["pretrained_cfg"]["input_size"] == [3, 8, 8]
    assert "license" not in config["pretrained_cfg"]


@pytest.mark.slow
def test_onnx_alone_gives_the_same_classes(finished, capsys, digit_files):
    folder = digit_files / "onnx"
    status, out, _ = call(capsys, "export", finished, "--format", "onnx", "--out", folder, "--json")
    assert status == 0
    values = json.loads(out)
    assert values["difference"] < 1e-4
    assert values["images"] == 100
    (digit_files / "image.png").rename(folder / "image.png")
    said = alone("sys.modules['torch'] = sys.modules['timm'] = None\n" + snippet(folder), folder)
    assert int(said) == predicted(finished, capsys, digit_files)[0][0]


def test_the_words_for_onnx_resize_as_torchvision_does():
    (line,) = [line for line in _ONNX.splitlines() if "image.resize(" in line]
    resized = re.search(r"resize\((\[.*\]),", line)[1]
    for short in (224, 256):
        for size in [(2448, 3264), (3264, 2448), *((side, side + 7) for side in range(short, 4000, 3))]:
            found = eval(resized, {"short": short, "image": SimpleNamespace(size=size)})
            assert found[::-1] == _compute_resized_output_size(size[::-1], [short])


def test_the_card_says_what_the_run_was(finished, capsys, tmp_path):
    assert call(capsys, "export", finished, "--out", tmp_path / "out")[0] == 0
    card = (tmp_path / "out" / "README.md").read_text()
    summary = json.loads((finished / "summary.json").read_text())
    assert f"top-1 {summary['top1']:.2%} on 360 held-out images" in card
    assert "4 of the 4 that were trained" in card
    assert "drop rate 0.5, 1 epoch of recipe digits" in card
    assert "arxiv.org/abs/2212.04884" in card


def test_the_card_names_the_images_that_chose_the_epoch(finished, capsys, tmp_path):
    summary = json.loads((finished / "summary.json").read_text())
    (finished / "summary.json").write_text(json.dumps({**summary, "reported_on": "validation"}))
    assert call(capsys, "export", finished, "--out", tmp_path / "out")[0] == 0
    assert "on 360 validation images" in (tmp_path / "out" / "README.md").read_text()


def small_facts(resolution=32):
    recipe = dataclasses.replace(get("digits"), resolution=resolution)
    return Facts(recipe, tuple("abcde"), {}, (0, 1), 2)


SIZES = {"embed_dim": 24, "depth": 2, "num_heads": 3, "num_classes": 5, "img_size": 32}


@pytest.mark.parametrize("name", sorted(_TIMM_NAMES))
def test_what_timm_lacks_is_written_under_a_name_that_it_has(name, tmp_path, images):
    import cosub.architectures  # noqa: F401

    sizes = SIZES if "deit3" not in name else {**SIZES, "img_size": 28}
    images = images[..., : sizes["img_size"], : sizes["img_size"]].contiguous()
    model = timm.create_model(name, **sizes).eval()
    with torch.no_grad():
        logits = model(images)
    plain = plain_model(model, every(model))
    difference = write_timm(plain, small_facts(sizes["img_size"]), tmp_path / "out", images, logits)
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert difference < 1e-5
    assert config["architecture"] == _TIMM_NAMES[name]
    assert not (tmp_path / "out" / "model.py").exists()


@pytest.mark.slow
def test_sizes_of_what_timm_lacks_are_all_written():
    """timm's name stands for other sizes: each that differs has to be in the arguments."""
    for name, theirs in _TIMM_NAMES.items():
        ours = timm.create_model(name, device="meta")
        arguments = {"num_classes": 1000, **vars(ours)["_model_args"]}
        arguments.pop("device", None)
        same = timm.create_model(theirs, device="meta", img_size=224, **arguments)
        shapes = {key: value.shape for key, value in ours.state_dict().items()}
        assert {key: value.shape for key, value in same.state_dict().items()} == shapes


@pytest.mark.slow
def test_patchconvnet_brings_itself_along(tmp_path, images):
    torch.manual_seed(0)
    model = SMALL["patchconvnet"]().eval()
    kept = every(model)[:-1]
    expected = submodel_logits(model, images, kept, 1.0)
    plain = plain_model(model, kept)
    assert plain.needs_module
    assert write_timm(plain, small_facts(), tmp_path / "out", images, expected) < 1e-5


def test_what_gives_other_logits_is_not_written(tmp_path, images):
    torch.manual_seed(0)
    model = SMALL["vit"]().eval()
    plain = plain_model(model, every(model))
    with pytest.raises(RunError, match="differ by"):
        write_timm(plain, small_facts(), tmp_path / "out", images, torch.zeros(len(images), 5))
    assert not list(tmp_path.iterdir())


def test_not_a_number_is_a_difference():
    with pytest.raises(RunError, match="nan"):
        require_same(torch.full((2, 3), float("nan")), torch.zeros(2, 3), 1e-5, "it")


def test_unreadable_images_are_left_out_of_the_comparison(tmp_path):
    from cosub.data.sources import Files

    picture().save(tmp_path / "good.png")
    (tmp_path / "bad.png").write_bytes(b"no image")
    files = Files([tmp_path / "bad.png", tmp_path / "good.png"], [0, 0])
    assert real_images(files, get("digits")).shape == (1, 3, 8, 8)
    with pytest.raises(InputError, match=r"bad\.png"):
        real_images(Files([tmp_path / "bad.png"], [0]), get("digits"))


# --- the Hub


@pytest.fixture
def pushed(monkeypatch):
    calls = []
    monkeypatch.setattr(upload, "push_to_hf_hub", lambda model, repo_id, **settings: calls.append((repo_id, settings)))
    return calls


def test_a_push_is_timms_own(finished, capsys, pushed):
    status, out, _ = call(capsys, "export", finished, "--format", "hub", "--repo", "me/mine", "--private", "--json")
    assert status == 0
    assert json.loads(out)["to"] == "https://huggingface.co/me/mine"
    ((repository, settings),) = pushed
    assert repository == "me/mine"
    assert settings["private"]
    assert settings["safe_serialization"] is True  # and no pickle
    assert settings["model_config"]["label_names"] == [str(digit) for digit in range(10)]
    assert settings["data_config"]["input_size"] == (3, 8, 8)
    assert timm_usage("hf-hub:me/mine") in settings["model_card"]["usage"]


def test_what_the_hub_says_is_one_line(finished, capsys, monkeypatch):
    def refuse(*_, **__):
        raise ConnectionError("no\nnetwork")

    monkeypatch.setattr(upload, "push_to_hf_hub", refuse)
    status, _, err = call(capsys, "export", finished, "--format", "hub", "--repo", "me/mine")
    assert status == 3
    assert "did not take it (no network)" in err


# --- what is wrong


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--format", "tflite"], "must be one of timm, onnx, hub"),
        (["--out", "FULL"], "exists and is not an empty folder"),
        (["--out", "FULL/file"], "exists and is not an empty folder"),
        (["--out", "no/such"], "no is not a folder"),
        (["--repo", "me/mine"], "belong to --format hub"),
        (["--format", "hub"], "must be OWNER/NAME"),
        (["--format", "hub", "--repo", "../up"], "must be OWNER/NAME"),
        (["--format", "hub", "--repo", "me/mine", "--out", "x"], "take --format timm"),
        (["--data.path", "elsewhere"], "embedded digits"),
        (["--formt", "timm"], "did you mean --format"),
    ],
)
def test_wrong_words_are_one_line(finished, capsys, tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "FULL").mkdir()
    (tmp_path / "FULL" / "file").write_text("mine")
    status, out, err = call(capsys, "export", finished, *words)
    assert (status, out) == (2, "")
    assert message in err
    assert len(err.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["FULL"]
    assert not (finished / "timm").exists()


def test_runs_that_are_not_there_or_not_done(finished, capsys, tmp_path):
    status, _, err = call(capsys, "export", tmp_path / "none")
    assert (status, len(err.splitlines())) == (2, 1)
    assert "holds no run" in err
    for name in ("recipe.json", "model.safetensors"):
        (tmp_path / name).write_bytes((finished / name).read_bytes())
    (tmp_path / "summary.json").write_text('{"state": "stopped"}')
    status, _, err = call(capsys, "export", tmp_path)
    assert status == 2
    assert "is stopped, not done" in err
    (tmp_path / "model.safetensors").unlink()
    status, _, err = call(capsys, "export", tmp_path)
    assert status == 2
    assert "has no model.safetensors yet" in err


def test_missing_packages_are_named_with_the_command(finished, capsys, monkeypatch):
    real = graph.importlib.util.find_spec
    monkeypatch.setattr(graph.importlib.util, "find_spec", lambda name: None if name == "onnxscript" else real(name))
    status, _, err = call(capsys, "export", finished, "--format", "onnx")
    assert status == 2
    assert "needs onnxscript; pip install 'cosub[onnx]'" in err


def test_the_hub_cannot_carry_a_module(half, capsys, pushed):
    status, _, err = call(capsys, "export", half, "--format", "hub", "--repo", "me/mine")
    assert status == 2
    assert "hf upload me/mine FOLDER" in err
    assert not pushed


def test_a_result_that_cannot_be_named_stays(tmp_path, monkeypatch):
    def busy(*_):
        raise OSError(errno.EBUSY, "Device or resource busy")

    monkeypatch.setattr(Path, "replace", busy)
    with pytest.raises(RunError, match="the result is whole, in") as raised, aside(tmp_path / "out") as place:
        (place / "file").write_text("whole")
    assert str(place) in str(raised.value)
    assert (place / "file").read_text() == "whole"


def test_a_folder_that_fails_leaves_nothing(tmp_path):
    def fail():
        with aside(tmp_path / "out") as place:
            (place / "file").write_text("half")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert not list(tmp_path.iterdir())


@pytest.fixture
def exporter(monkeypatch):
    """Stands for torch's: fails as told, and notes which attention it was given."""
    tried = []

    def try_(model, images, path):
        tried.append({module.fused_attn for module in model.modules() if hasattr(module, "fused_attn")})
        if tried[-1] <= fails:
            raise RuntimeError("no such operator\nand more")

    fails = set()
    monkeypatch.setattr(graph, "_try", try_)
    return tried, fails


def test_a_failing_exporter_gets_plain_attention(exporter, images, tmp_path):
    tried, fails = exporter
    fails.add(True)
    model, said = SMALL["vit"](), []
    graph._export(model, images, tmp_path / "model.onnx", said.append)
    assert tried == [{True}, {False}]
    assert said == ["ONNX: torch cannot export fused attention (no such operator); exporting it in plain operations"]
    assert model.get_submodule("blocks.0.attn").fused_attn  # a copy was changed


@pytest.mark.parametrize(("family", "times"), [("vit", 2), ("resnet18", 1)])
def test_what_cannot_be_exported_is_reported(exporter, images, tmp_path, family, times):
    tried, fails = exporter
    fails |= {True, False}
    with pytest.raises(RunError, match=r"format: onnx: torch .* cannot export \w+ \(no such operator\)"):
        graph._export(SMALL[family](), images, tmp_path / "model.onnx", print)
    assert len(tried) == times


# --- every family, at length


@pytest.mark.slow
def test_onnx_gives_the_logits_of_the_run(family, build, data, tmp_path, capsys):
    """Half of the residual layers and a factor, 100 photographs, batches of several sizes."""
    from cosub.data.sources import Folder, open_source

    pictures = open_source(Folder(path=str(data / "cifar10-mini"))).test
    recipe = dataclasses.replace(get("digits"), resolution=32)
    photographs = real_images(pictures, recipe)
    assert len(photographs) == 100
    model = build().eval()
    kept = every(model)[::2]
    expected = submodel_logits(model, photographs, kept, 1.25)
    plain = plain_model(model, kept, 1.25)
    said = []
    graph._export(plain.model, photographs[:2], tmp_path / "model.onnx", said.append)
    found = graph.batched_logits(graph._session(tmp_path / "model.onnx"), photographs, batches=(1, 3))
    difference = require_same(found, expected, 1e-4, family)
    spread = float(expected.std())
    assert difference < 1e-4 * spread  # small networks with small heads have small logits
    with capsys.disabled():
        print(f"\n{family:<14} {difference:.1e} of {spread:.1e}  {'unfused' if said else 'fused'}  {' '.join(said)}")
