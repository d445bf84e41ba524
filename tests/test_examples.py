"""The examples run on real images, are short and mark the lines that are cosub's; the notebook runs as a whole."""

import base64
import io
import json
import re
import runpy
import shutil
import tokenize
from pathlib import Path
from typing import Any

import pytest

import cosub.losses

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
LOOPS = sorted(path for path in EXAMPLES.glob("*.py") if path.name != "digits_folder.py")
OPTIONAL = {"hf_trainer": ["transformers", "accelerate"], "lightning_module": ["lightning"]}
NOTEBOOK = EXAMPLES / "digits.ipynb"
INSTALL = "pip install 'cosub[examples]'"

loops = pytest.mark.parametrize("path", LOOPS, ids=lambda path: path.stem)


@pytest.fixture(scope="module")
def digits(tmp_path_factory) -> Path:
    """Of each digit, 20 images to train and 10 to test."""
    folder = tmp_path_factory.mktemp("examples") / "digits"
    write = runpy.run_path(str(EXAMPLES / "digits_folder.py"))["digits_folder"]
    assert write(folder) == str(folder)
    counts = {split: len(list(folder.glob(f"{split}/*/*.png"))) for split in ("train", "val")}
    assert counts == {"train": 1437, "val": 360}
    for split, number in (("train", 20), ("val", 10)):
        for place in (folder / split).iterdir():
            for path in sorted(place.iterdir())[number:]:
                path.unlink()
    return folder


@pytest.fixture
def updates(monkeypatch) -> list[tuple[int, int]]:
    """Rows of logits, and images, of every call of the loss."""
    calls, loss = [], cosub.losses.cosub_loss

    def seen(logits: Any, targets: Any, *rest: Any, **more: Any) -> Any:
        calls.append((len(logits), len(targets)))
        return loss(logits, targets, *rest, **more)

    monkeypatch.setattr(cosub.losses, "cosub_loss", seen)
    return calls


def run(path: Path, monkeypatch, capsys, *words: str) -> tuple[list[float], float]:
    """The losses that an example prints, and the accuracy at its end."""
    for module in OPTIONAL.get(path.stem, []):
        pytest.importorskip(module, reason=f"{module} is not installed: {INSTALL}")
    monkeypatch.syspath_prepend(EXAMPLES)
    monkeypatch.setattr("sys.argv", [str(path), *words])
    runpy.run_path(str(path), run_name="__main__")
    told = capsys.readouterr().out
    found = re.search(r"^accuracy ([01]\.\d{4})$", told, re.M)
    assert found, told
    return [float(value) for value in re.findall(r"(?<!_)loss\W+([\d.]+)", told)], float(found[1])


@loops
@pytest.mark.filterwarnings("ignore", "error:::cosub")  # what other libraries warn of is theirs
def test_an_example_trains_two_submodels_per_image(path, digits, updates, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    losses, accuracy = run(path, monkeypatch, capsys, str(digits), "--epochs", "2")
    assert len(losses) == 2
    assert losses[1] < losses[0]
    assert 0 <= accuracy <= 1
    steps = 2 * (6 if path.stem in ("deit_engine", "timm_train") else 7)  # those drop an incomplete batch
    assert len(updates) == steps
    assert all(rows == 2 * images for rows, images in updates)


@pytest.mark.slow
def test_an_example_without_a_folder_takes_the_digits(tmp_path, updates, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    losses, _ = run(EXAMPLES / "plain.py", monkeypatch, capsys, "--epochs", "1")
    assert len(losses) == 1
    assert sum(images for _, images in updates) == 1437


def test_an_example_trains_on_photographs(data, tmp_path, updates, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    if not (data / "cifar10-mini").is_dir():
        pytest.skip(f"no real images at {data / 'cifar10-mini'}: set COSUB_DATA to the folder that holds it")
    losses, _ = run(EXAMPLES / "plain.py", monkeypatch, capsys, str(data / "cifar10-mini"), "--epochs", "2")
    assert losses[1] < losses[0]
    assert not (tmp_path / "out").exists()


def test_an_image_folder_that_is_there_is_taken_as_it_is(tmp_path):
    write = runpy.run_path(str(EXAMPLES / "digits_folder.py"))["digits_folder"]
    (tmp_path / "mine").mkdir()
    assert write(tmp_path / "mine") == str(tmp_path / "mine")
    assert not list((tmp_path / "mine").iterdir())


@loops
def test_an_example_is_short(path):
    assert len(path.read_text().splitlines()) < 60


@loops
def test_the_two_lines_that_are_cosubs_are_marked(path):
    tokens = list(tokenize.generate_tokens(io.StringIO(path.read_text()).readline))
    naming = {token.start[0] for token in tokens if (token.type, token.string) == (tokenize.NAME, "cosub")}
    marked = {token.start[0] for token in tokens if (token.type, token.string) == (tokenize.COMMENT, "# cosub")}
    imported = {number for number, line in enumerate(path.read_text().splitlines(), 1) if line == "import cosub"}
    assert len(marked) == 2
    assert len(imported) == 1
    assert naming == marked | imported


def test_every_example_has_its_place_on_the_page():
    page = (ROOT / "docs" / "examples.md").read_text()
    for path in [*LOOPS, NOTEBOOK]:
        assert f"examples/{path.name}" in page


def test_the_notebook_was_run_from_top_to_bottom_and_is_small():
    cells = [cell for cell in json.loads(NOTEBOOK.read_text())["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    kinds = {output["output_type"] for cell in cells for output in cell["outputs"]}
    assert kinds <= {"stream", "display_data", "execute_result"}
    pictures = [output["data"]["image/png"] for cell in cells for output in cell["outputs"] if "data" in output]
    assert len(pictures) == 3
    assert sum(len(base64.b64decode(picture)) for picture in pictures) < 150_000


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_notebook_runs(tmp_path):
    nbformat = pytest.importorskip("nbformat", reason=f"nbformat is not installed: {INSTALL}")
    nbclient = pytest.importorskip("nbclient", reason=f"nbclient is not installed: {INSTALL}")
    pytest.importorskip("ipykernel", reason=f"ipykernel is not installed: {INSTALL}")
    shutil.copy(NOTEBOOK, tmp_path)
    notebook = nbformat.read(tmp_path / NOTEBOOK.name, as_version=4)
    client = nbclient.NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}})
    client.execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 3  # of this run
