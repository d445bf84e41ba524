"""Files and names of strangers, given to the command line: nothing runs, nothing is read or written outside."""

import http.server
import io
import json
import os
import subprocess
import sys
import tarfile
import threading
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
from cosub.recipes.data import Hub
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


class Redirect(http.server.BaseHTTPRequestHandler):
    """Answers whatever is asked with a file of this machine, and with names that lead out of a cache."""

    secret: Path
    asked: int = 0

    def do_GET(self) -> None:
        type(self).asked += 1
        self.send_response(302)
        self.send_header("Location", f"file://{self.secret}")
        self.send_header("X-Repo-Commit", "../" * 20)
        self.send_header("ETag", '"../../touched"')
        self.end_headers()

    do_HEAD = do_GET  # noqa: N815

    def log_message(self, format: str, *args: object) -> None: ...


@pytest.mark.slow
def test_a_name_on_the_hub_that_is_redirected_to_a_file(tmp_path):
    Redirect.secret = tmp_path / "model.safetensors"
    Redirect.secret.write_text("secret")
    words = ["train", "digits", "--weights", "hf-hub:a/b", "--out", str(tmp_path / "run")]
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Redirect) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        place = {"HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}", "HF_HOME": str(tmp_path / "cache")}
        others = {key: value for key, value in os.environ.items() if "proxy" not in key.lower()}
        done = subprocess.run(
            [sys.executable, "-m", "cosub", *words],
            capture_output=True,
            text=True,
            env={**others, **place, "HF_HUB_OFFLINE": "0"},
            timeout=300,
        )
        server.shutdown()
    assert Redirect.asked
    assert (done.returncode, done.stderr.count("cosub: ")) == (2, 1)
    assert "model.safetensors cannot be downloaded" in done.stderr
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file() and b"secret" in path.read_bytes()]
    assert not (tmp_path / "run").exists()
    assert not list(tmp_path.rglob("touched"))


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
