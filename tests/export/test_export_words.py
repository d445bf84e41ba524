"""The lines that `cosub export` prints load the network in a process that cannot import cosub, from any folder."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from timm.models import save_for_hf
from tiny import TINY, call

import cosub
from cosub.export import upload
from cosub.recipes import get
from cosub.recipes.files import dump, read
from cosub.runs.network import build_network
from cosub.train.checkpoint import save_weights

_BEFORE = """
import sys


class Nowhere:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "cosub":
            raise ModuleNotFoundError(name)


sys.meta_path.insert(0, Nowhere())
"""
_AFTER = """
from safetensors.torch import load_file, save_file

images = load_file("images.safetensors")["images"]
save_file({"logits": network(images).detach()}, "logits.safetensors")
"""
_AFTER_ONNX = """
import torch
from safetensors.torch import load_file, save_file

images = load_file("images.safetensors")["images"]
save_file({"logits": torch.from_numpy(session.run(None, {"images": images.numpy()})[0])}, "logits.safetensors")
"""
EFFICIENTNET = ("tf_efficientnetv2_b0", {"channel_multiplier": 0.2})
# The model, the layers that are kept (all where none is named), their factor, whether a module file is needed.
RUNS = {
    "plain": (("vit_tiny_patch16_224", TINY), (), 1.0, False),
    "slimmed by blocks": (("vit_tiny_patch16_224", TINY), (2, 3), 1.5, False),
    "slimmed by layers": (("vit_tiny_patch16_224", TINY), (0, 1, 3), 1.5, True),
    "an EfficientNet": (EFFICIENTNET, (0, 2), 1.5, True),
}


def made(folder, which):
    """A run's folder, its network not trained: that is not what this is about."""
    (model, arguments), kept, scale, _ = RUNS[which]
    recipe = get("digits")
    values = json.loads(dump(recipe)) | {"model": model, "model_args": arguments, "kept_layers": kept}
    values |= {"kept_scale": scale, "resolution": 8 if arguments is TINY else 32}
    folder.mkdir(parents=True)
    (folder / "recipe.json").write_text(json.dumps(values))

    network = build_network(read(folder / "recipe.json"), 10, copies=1)
    for parameter in network.parameters():  # what starts at zero would hide the rest
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.5)
    save_weights(network.state_dict(), folder / "model.safetensors", {"classes": json.dumps([*map(str, range(10))])})
    return folder


def printed(out):
    """The lines of Python in what the command prints."""
    return "\n".join(line.strip() for line in out.splitlines() if line.startswith("  "))


def executed(code, run, folder, after=_AFTER, **environment):
    """The logits that the lines give for some images in another folder, and those of the run."""
    folder.mkdir()
    size = 8 if RUNS["plain"][0][1] == json.loads((run / "recipe.json").read_text())["model_args"] else 32
    images = torch.randn(5, 3, size, size, generator=torch.Generator().manual_seed(0))
    save_file({"images": images}, folder / "images.safetensors")
    words = [sys.executable, "-I", "-B", "-c", f"{_BEFORE}\n{code}\n{after}"]
    done = subprocess.run(words, cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True)
    assert not done.returncode, done.stderr
    with torch.no_grad():
        return load_file(folder / "logits.safetensors")["logits"], cosub.load(run)(images)


QUICK = ("plain",)


@pytest.mark.parametrize(
    "which", [which if which in QUICK else pytest.param(which, marks=pytest.mark.slow) for which in RUNS]
)
def test_the_lines_for_timm_load_what_was_written(which, capsys, tmp_path, monkeypatch):
    run = made(tmp_path / "a run's folder" / "run", which)
    monkeypatch.chdir(run.parent)  # the folder is named from here, and the lines are run elsewhere
    status, out, err = call(capsys, "export", "run", "--out", "written out")
    assert status == 0, err
    assert (Path("written out") / "model.py").exists() == RUNS[which][3]
    found, expected = executed(printed(out), run, tmp_path / "elsewhere")
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    assert expected.std() > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("which", ["plain", "slimmed by layers"])
def test_the_lines_for_onnx_load_what_was_written(which, capsys, tmp_path):
    run = made(tmp_path / "run", which)
    status, out, err = call(capsys, "export", run, "--format", "onnx")
    assert status == 0, err
    found, expected = executed(printed(out), run, tmp_path / "elsewhere", _AFTER_ONNX)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("which", ["plain", "slimmed by blocks"])
def test_the_lines_for_the_hub_load_what_was_pushed(which, capsys, tmp_path, monkeypatch):
    """What is pushed lies where huggingface_hub would have put it, and the network is not asked."""
    cached = tmp_path / "cache" / "models--me--mine"

    def push(model, repo_id, **settings):
        configs = {name: settings[name] for name in ("model_config", "data_config", "safe_serialization")}
        save_for_hf(model, str(cached / "snapshots" / "a1"), **configs)
        (cached / "refs").mkdir()
        (cached / "refs" / "main").write_text("a1")

    monkeypatch.setattr(upload, "push_to_hf_hub", push)
    run = made(tmp_path / "run", which)
    status, out, err = call(capsys, "export", run, "--format", "hub", "--repo", "me/mine")
    assert status == 0, err
    assert "hf-hub:me/mine" in out
    place = {"HF_HUB_CACHE": str(tmp_path / "cache"), "HF_HUB_OFFLINE": "1"}
    found, expected = executed(printed(out), run, tmp_path / "elsewhere", **place)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_json_has_the_same_lines(capsys, tmp_path):
    run = made(tmp_path / "run", "plain")
    words = ["export", run, "--out", tmp_path / "out"]
    lines = printed(call(capsys, *words)[1])
    shutil.rmtree(tmp_path / "out")
    assert "\n".join(json.loads(call(capsys, *words, "--json")[1])["load"]) == lines
