"""Files and names of strangers, given to the command line: nothing runs, nothing is read or written outside."""

import io
import json
import os
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from tiny import tiny

from cosub.cli import main
from cosub.data.decoding import BadImage
from cosub.data.sources import open_source
from cosub.recipes.config import Hub
from cosub.recipes.files import dump


class Evil:
    """Unpickled, it would make a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return os.system, (f"touch {self.mark}",)


@pytest.fixture
def refused(tmp_path, monkeypatch, capsys):
    """A command that must end with one line, status 2 and no new file outside the words that it was given."""
    monkeypatch.chdir(tmp_path)

    def refused(*words: str) -> str:
        before = sorted(tmp_path.rglob("*"))
        status = main(list(words))
        said = capsys.readouterr().err
        assert status == 2, said
        assert [line.startswith("cosub: ") for line in said.splitlines()].count(True) == 1
        assert sorted(tmp_path.rglob("*")) == before
        return said

    return refused


@pytest.mark.parametrize("name", ["evil.pth", "evil.pt", "evil.safetensors", "evil.bin"])
def test_a_pickle_as_weights_runs_nothing(tmp_path, refused, name):
    for content in (Evil(tmp_path / "touched"), {"model": {"head.bias": Evil(tmp_path / "touched")}}):
        torch.save(content, tmp_path / name)
        refused("evaluate", name, "--model", "vit_tiny_patch16_224", "--resolution", "32", "--set", "val=.")
        refused("train", "digits", "--weights", name, "--out", "run")


@pytest.mark.parametrize("name", ["../x", "/x", "a/../../x", "a b", "a\n"])
def test_a_recipes_name_stays_below_out(tmp_path, refused, name):
    recipe = json.loads(dump(tiny(tmp_path / "run"))) | {"name": name}
    (tmp_path / "recipe.json").write_text(json.dumps(recipe))
    assert "name" in refused("train", "recipe.json")


@pytest.mark.parametrize("name", ["../secret.tar", "/secret.tar", "a/../../secret.tar"])
def test_a_list_of_shards_names_none_outside(tmp_path, refused, name):
    (tmp_path / "shards").mkdir()
    split = {"filenames": [name], "shard_lengths": [1]}
    (tmp_path / "shards" / "_info.json").write_text(json.dumps({"splits": {"train": split, "validation": split}}))
    for path in (tmp_path / "secret.tar", tmp_path / "shards" / "own.tar"):
        tarfile.open(path, "w").close()
    assert "lies outside" in refused("train", "digits", "--source", "shards", "--data.path", "shards")


def test_a_path_in_parquet_is_a_name_and_nothing_that_is_opened(tmp_path, monkeypatch):
    folder, secret = tmp_path / "set", tmp_path / "secret.png"
    folder.mkdir()
    Image.new("RGB", (8, 8)).save(secret)
    own = io.BytesIO()
    Image.new("RGB", (8, 8), (9, 9, 9)).save(own, "PNG")
    images = [
        {"bytes": own.getvalue(), "path": "../secret.png"},
        *({"bytes": None, "path": path} for path in (str(secret), "../secret.png")),
    ]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    for split in ("train", "test"):
        table = pa.table({"image": pa.array(images, kind), "label": pa.array([0, 1, 0])})
        pq.write_table(table, folder / f"{split}-0.parquet")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(folder)
    source = open_source(Hub(path=str(folder)))
    assert source.train.image(0).getpixel((0, 0)) == (9, 9, 9)
    for index in (1, 2):
        with pytest.raises(BadImage, match="no bytes"):
            source.train.image(index)


@pytest.mark.parametrize(
    "model",
    [
        "__import__('os').system('touch touched')",
        "os.system",
        "import os; os.system('touch touched')",
        "timm.models.vit:evil",
        "hf-hub:a/b",
        "hf_hub:a/b",
        "local-dir:.",
        "../vit_tiny_patch16_224",
        "torch.hub/evil",
    ],
)
def test_a_models_name_imports_nothing(refused, model):
    for more in ([], ["--dry-run"]):
        assert "timm does not know it" in refused("train", "digits", "--model", model, *more)


@pytest.mark.parametrize("value", ["os.system", "__import__('os')", "../x"])
@pytest.mark.parametrize("key", ["norm_layer", "act_layer", "block_fn", "pretrained_cfg", "checkpoint_path"])
def test_a_models_argument_imports_nothing(refused, key, value):
    refused("train", "digits", "--model-args", f"{key}={value}", "--dry-run")


@pytest.mark.parametrize("name", ["../x", "a/..", "file:///etc/passwd", "a/b@../../x", "a/b/../../c", "//host/x"])
def test_a_name_on_the_hub_is_nothing_but_one(refused, name):
    assert "must be hf-hub:OWNER/NAME" in refused("train", "digits", "--weights", f"hf-hub:{name}")


@pytest.mark.parametrize("path", ["../x", "a/../../x", "/nowhere", "~nobody-here/x"])
def test_a_data_sets_name_is_no_path(refused, path):
    for source in ("hub", "folder", "shards"):
        assert "data.path" in refused("train", "digits", "--source", source, "--data.path", path)


def test_a_link_in_a_tar_file_is_not_followed(tmp_path, refused):
    (tmp_path / "secret.png").write_bytes(b"secret")
    (tmp_path / "shards").mkdir()
    for split in ("train", "validation"):
        with tarfile.open(tmp_path / "shards" / f"{split}-0.tar", "w") as file:
            link = tarfile.TarInfo("0.png")
            link.type, link.linkname = tarfile.SYMTYPE, str(tmp_path / "secret.png")
            file.addfile(link)
    said = refused("train", "digits", "--source", "shards", "--data.path", "shards", "--data.length", "1")
    assert "data.path" in said or "length" in said
