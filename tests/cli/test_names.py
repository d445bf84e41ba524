"""Names as people have them: bytes that are no UTF-8, dollars, underscores; terminals that cannot show them."""

import contextlib
import dataclasses
import io
import os
from pathlib import Path

import pytest
from looking import capture, legend
from matplotlib.figure import Figure
from pictures import picture
from tiny import run, tiny

from cosub.cli import main
from cosub.errors import InputError
from cosub.evaluation.pictures import show_examples
from cosub.recipes import get
from cosub.recipes.augmentation import Augment
from cosub.recipes.data import Folder
from cosub.recipes.files import dump, read
from cosub.runs.folder import RunFolder, load_run, require_free
from cosub.runs.names import caption

CAFE = os.fsdecode(b"caf\xe9")
CLASSES = ("$\\foo$", "_x", CAFE)


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A run on images of such names, some of them damaged."""
    root = tmp_path_factory.mktemp("names")
    data = root / CAFE
    for split in ("train", "val"):
        for name in CLASSES:
            (data / split / name).mkdir(parents=True)
            for index in range(12):
                picture(index, (8, 8)).save(data / split / name / f"{index}{CAFE}.png")
        (data / split / CAFE / f"bad{CAFE}.png").write_bytes(b"x")
    recipe = tiny(root / "_run$\\foo$", data=Folder(path=str(data)), batch_size=16, group_size=16, bad_share=0.5)
    run(dataclasses.replace(recipe, augment=Augment(policy="")))
    return root / "_run$\\foo$"


def in_latin1(*words: object) -> tuple[int, bytes]:
    """Status of a verb, and what it says on a terminal in latin-1."""
    shown = io.BytesIO()
    stream = io.TextIOWrapper(shown, encoding="latin-1", write_through=True)
    with contextlib.redirect_stdout(stream), contextlib.redirect_stderr(stream):
        status = main([str(word) for word in words])
    return status, shown.getvalue()


def test_a_run_keeps_names_that_are_not_utf8(finished):
    told = (finished / "bad-images.txt").read_bytes().splitlines()
    assert len(told) == 2
    for split, line in zip((b"train", b"val"), told, strict=True):
        assert b"/caf\xe9/" + split + b"/caf\xe9/badcaf\xe9.png (" in line
    assert load_run(finished).classes == CLASSES
    assert read(finished / "recipe.json").data == Folder(path=str(finished.parent / CAFE))
    assert (finished / "curves.png").stat().st_size > 0


@pytest.mark.parametrize(
    ("words", "status"), [(["predict", "RUN", "DATA"], 0), (["check-data", "DATA", "--workers", "1"], 3)]
)
def test_verbs_that_print_names_come_to_their_end(words, status, finished):
    places = {"RUN": finished, "DATA": finished.parent / CAFE}
    ended, told = in_latin1(*(places.get(word, word) for word in words))
    assert ended == status
    assert rb"badcaf\udce9.png" in told


def test_the_same_command_knows_the_run_again(finished):
    status, told = in_latin1("train", finished / "recipe.json", "--out", finished)
    assert (status, b"finished already" in told) == (0, True)


def test_a_character_that_the_terminal_lacks_is_escaped(tmp_path):
    status, told = in_latin1("evaluate", tmp_path / "猫")
    assert (status, rb"\u732b: is neither a run" in told) == (2, True)


@pytest.mark.parametrize("refuses", [require_free, lambda path: RunFolder(path).check(get("digits"))])
def test_a_folder_of_results_has_a_name_in_utf8(tmp_path, refuses):
    with pytest.raises(InputError, match="its name is not UTF-8; name another with --out"):
        refuses(tmp_path / CAFE)


def test_recipes_keep_paths_that_are_not_utf8(tmp_path):
    recipe = dataclasses.replace(get("finetune"), weights=f"/{CAFE}/x.pth", data=Folder(path=f"/ü/{CAFE}"))
    (tmp_path / "recipe.json").write_text(dump(recipe))
    assert read(tmp_path / "recipe.json") == recipe


# --- pictures


@pytest.mark.parametrize("name", ["_x", "$", "a$b", "$\\foo$", "$1$", "\\$", CAFE, "plain"])
def test_captions_show_the_name_and_stay_in_the_legend(name):
    figure = Figure()
    axes = figure.subplots()
    axes.plot([1], [1], label=caption(name))
    axes.set_title(caption(name))
    (text,) = axes.legend().get_texts()
    figure.savefig(io.BytesIO())
    drawn, formula = text._preprocess_math(text.get_text())
    assert (drawn.strip(), formula) == (name.encode("utf-8", "backslashreplace").decode(), False)


def test_a_run_with_such_a_name_is_in_the_legend_of_its_plot(finished, monkeypatch, tmp_path):
    figures = capture(monkeypatch)
    monkeypatch.chdir(finished)
    assert main(["plot", ".", str(finished), "--out", str(tmp_path / "both.png")]) == 0
    assert legend(figures[0]) == [" _run\\$\\foo\\$ (co-training)"] * 2


def test_classes_with_such_names_are_drawn(finished, tmp_path):
    trained = load_run(finished)
    from cosub.data.sources import open_source

    source = open_source(trained.recipe.data)
    show_examples(trained.network, source.test, trained.classes, 8, trained.recipe.inputs, 9, tmp_path / "page.png")
    assert (tmp_path / "page.png").stat().st_size > 0
