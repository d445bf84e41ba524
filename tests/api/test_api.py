"""Cosub in Python: the flags' names as arguments, the command line's words in errors, and what a run can do."""

import dataclasses
import importlib.resources
import inspect
import json
import random
import re
import shlex
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import timm
import torch
from pictures import make_folder, picture
from PIL import Image
from sklearn.datasets import load_digits
from tiny import TINY, recipe_flags

import cosub
from cosub.api.configuring import configure
from cosub.api.evaluate import Evaluate
from cosub.api.keywords import flag_of, words_of
from cosub.api.parsing import parse
from cosub.cli import main
from cosub.data.mixing import mix
from cosub.data.transforms import training
from cosub.errors import InputError
from cosub.recipes import get
from cosub.recipes.data import SOURCES
from cosub.recipes.files import dump
from cosub.recipes.methods import METHODS
from cosub.train.logs import read

SMALL = {"model_args": TINY, "epochs": 2, "group_size": 32, "drop_rate": 0.25, "evaluate_every": 1}


class Seen:
    """A callback that keeps what it is told."""

    def __init__(self):
        self.lines, self.evaluations = [], []

    def logged(self, values):
        self.lines.append(dict(values))

    def evaluated(self, values):
        self.evaluations.append(dict(values))


@pytest.fixture(scope="module")
def seen():
    return Seen()


@pytest.fixture(scope="module")
def run(seen, tmp_path_factory):
    return cosub.fit("digits", out=tmp_path_factory.mktemp("api") / "run", callbacks=[seen], **SMALL)


@pytest.fixture
def digit(tmp_path):
    """An image as file, as PIL opens it and as array."""
    pixels = (load_digits().images[3] * 15).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "3.png")
    with Image.open(tmp_path / "3.png") as image:  # not yet decoded
        yield tmp_path / "3.png", image, pixels


# --- arguments


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"drop_rate": 0.3, "epochs": 4, "seed": -1}, ["--drop-rate", "0.3", "--epochs", "4", "--seed", "-1"]),
        ({"optimizer_lr_rule": "constant"}, ["--optimizer.lr-rule", "constant"]),
        ({"method": "supervised", "augment_mixup": 0.2}, ["--method", "supervised", "--augment.mixup", "0.2"]),
        ({"source": "folder", "data": "a b"}, ["--source", "folder", "--data.path", "a b"]),
        ({"source": "folder", "data": "x", "data_val_share": 0.5, "data_orientation": True},
         ["--source", "folder", "--data.path=x", "--data.val-share=0.5", "--data.orientation", "True"]),
        ({"mean": (0.5, 0.4, 0.3)}, ["--mean", "0.5", "0.4", "0.3"]),
        ({"model": "convnext_tiny", "model_args": {"depths": (1, 1, 1, 1), "ls_init_value": 1e-6}},
         ["--model", "convnext_tiny", "--model-args", "depths=[1,1,1,1]", "ls_init_value=1e-6"]),
        ({"model_args": {"depth": np.int64(3)}}, ["--model-args", "depth=3"]),
        ({"evaluate_training": True, "weights": None}, ["--evaluate-training"]),
        ({"evaluate_training": False, "pretrained": False}, []),
    ],
)  # fmt: skip
def test_arguments_are_the_flags(options, words):
    assert configure(["digits", *words_of(options)]) == configure(["digits", *words])


def test_every_flag_has_an_argument_of_its_name():
    recipes = [configure(["--method", name]) for name in METHODS]
    recipes += [configure(["digits", "--source", name]) for name in SOURCES if name != "scenes"] + [get("camvid")]
    flags = {flag for recipe in recipes for flag in recipe_flags(recipe)} - {"--json", "--dry-run"}
    assert len(flags) > 60
    for flag in flags:
        assert flag_of(flag.removeprefix("--").replace("-", "_").replace(".", "_")) == flag


def test_what_a_recipe_switches_on_is_switched_off(tmp_path):
    recipe = get("digits")
    runtime = dataclasses.replace(recipe.runtime, evaluate_training=True)
    path = tmp_path / "recipe.json"
    path.write_text(dump(dataclasses.replace(recipe, runtime=runtime)))
    assert configure([str(path)]).runtime.evaluate_training
    assert not configure([str(path), *words_of({"evaluate_training": False})]).runtime.evaluate_training
    assert configure([str(path), *words_of({"evaluate_training": True})]).runtime.evaluate_training


def test_options_that_stand_alone_or_are_given_several_times():
    assert words_of({"report": True, "set": ["val=a", "v2=b"]}) == ["--report=auto", "--set=val=a", "--set=v2=b"]
    assert parse(Evaluate, ["run", *words_of({"set": ("val=a", "v2=b")})], "cosub evaluate").set == ("val=a", "v2=b")


@pytest.mark.parametrize("name", ["json", "help", "dry_run"])
def test_what_belongs_to_the_command_line_is_refused(name):
    with pytest.raises(ValueError, match=f"{name}: belongs to the command line"):
        cosub.fit("digits", **{name: True})


@pytest.mark.parametrize("value", [None, object(), np.zeros(2)])
def test_a_model_argument_that_is_no_value_is_refused(value):
    with pytest.raises(ValueError, match="model_args: "):
        cosub.fit("digits", model_args={"depth": value})


def test_the_flags_on_the_page_of_fine_tuning_leave_colours_sides_and_parts():
    page = (Path(__file__).parents[2] / "docs" / "finetune.md").read_text()
    words = [word for code in re.findall(r"`(--augment[^`]*)`", page) for word in shlex.split(code)]
    assert words[::2] == [f"--augment.{name}" for name in ("policy", "jitter", "flip", "min-area", "cutmix")]

    def augment_with(given):
        return configure(["finetune", "--model", "convnext_tiny", "--pretrained", *given]).augment

    halves = np.zeros((40, 40, 3), np.uint8)
    halves[:, :20], halves[:, 20:] = (200, 40, 0), (0, 90, 250)  # the left half red, the right one blue

    def is_left_alone(augment):
        """Whether each of the crops is still red at its left or blue at its right."""
        crop = training(40, augment)
        crops = [crop(Image.fromarray(halves)) for _ in range(40)]
        red, blue = (torch.tensor(colour, dtype=torch.uint8)[:, None] for colour in ((200, 40, 0), (0, 90, 250)))
        return all((crop[:, :, 0] == red).all() or (crop[:, :, -1] == blue).all() for crop in crops)

    torch.manual_seed(0)
    random.seed(0)
    usual, mild = augment_with([]), augment_with(words)
    assert is_left_alone(mild)
    for name in ("policy", "jitter", "flip"):
        assert not is_left_alone(dataclasses.replace(mild, **{name: getattr(usual, name)})), name
    images, labels = torch.rand(2, 3, 4, 4), torch.tensor([0, 1])
    for augment, alone in ((mild, {20}), (usual, set(range(6, 15)))):
        mixed = [mix(images, labels, augment, 2, "ce", (0, step, 0))[0] for step in range(20)]
        assert sum(one is images for one in mixed) in alone
    assert (mild.min_area, usual.min_area) == (0.5, 0.08)


# --- errors


@pytest.mark.parametrize(
    ("named", "options", "words"),
    [
        ("nonsense", {}, ["nonsense"]),
        ("digits", {"learning_rate": 1}, ["digits", "--learning-rate=1"]),
        ("digits", {"epochs": 0}, ["digits", "--epochs", "0"]),
        ("digits", {"lr": "fast"}, ["digits", "--lr", "fast"]),
        ("digits", {"lr": float("nan")}, ["digits", "--lr", "nan"]),
        ("digits", {"method": "cosup"}, ["digits", "--method", "cosup"]),
        ("digits", {"teacher": "x"}, ["digits", "--teacher", "x"]),
        ("digits", {"device": "toaster"}, ["digits", "--device", "toaster"]),
        ("digits", {"optimizer_lr_rule": "cubic"}, ["digits", "--optimizer.lr-rule", "cubic"]),
        ("digits", {"mean": (1, 2)}, ["digits", "--mean", "1", "2"]),
        ("digits", {"weights": "no/such.pth"}, ["digits", "--weights", "no/such.pth"]),
        ("digits", {"source": "folder", "data": "nowhere"}, ["digits", "--source", "folder", "--data.path", "nowhere"]),
        ("finetune", {"data": "nowhere"}, ["finetune", "--data.path", "nowhere"]),
    ],
)
def test_a_wrong_argument_is_a_value_error_in_the_command_lines_words(
    named, options, words, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    assert main(["train", *words]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    with pytest.raises(InputError) as wrong:
        cosub.fit(named, **options)
    assert f"cosub: {' '.join(str(wrong.value).split())}" == said
    assert isinstance(wrong.value, ValueError)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("verb", "options", "words"),
    [
        ("slim", {}, []),
        ("slim", {"keep": 40}, ["--keep", 40]),
        ("slim", {"keep": 2, "strategy": "best"}, ["--keep", 2, "--strategy", "best"]),
        ("evaluate", {"keep": 2.0}, ["--keep", 2.0]),
        ("evaluate", {"data": "x"}, ["--data.path", "x"]),
        ("evaluate", {"set": {"val": "nowhere"}}, ["--set", "val=nowhere"]),
        ("export", {"format": "pickle"}, ["--format", "pickle"]),
        ("export", {"repo": "me/mine"}, ["--repo", "me/mine"]),
    ],
)
def test_wrong_arguments_of_a_runs_methods_likewise(run, verb, options, words, capsys):
    assert main([verb, str(run.folder), *map(str, words)]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    with pytest.raises(InputError) as wrong:
        getattr(run, verb)(**options)
    assert f"cosub: {' '.join(str(wrong.value).split())}" == said


def test_a_folder_that_holds_no_run_is_refused(tmp_path):
    with pytest.raises(ValueError, match="holds no run"):
        cosub.Run(tmp_path)


def test_a_frontier_is_no_run(run):
    with pytest.raises(ValueError, match="gives a table and no network; `cosub slim"):
        run.slim(frontier=True)


# --- a run


def test_fit_gives_what_the_command_line_leaves(run, tmp_path, capsys):
    words = [f"--{name.replace('_', '-')}={value}" for name, value in SMALL.items() if name != "model_args"]
    arguments = [f"{key}={value}" for key, value in TINY.items()]
    words += ["--model-args", *arguments, "--out", str(tmp_path / "run"), "--json"]
    assert main(["train", "digits", *words]) == 0
    theirs, ours = json.loads(capsys.readouterr().out), run.summary
    different = {key for key in theirs if theirs[key] != ours[key]}
    assert different <= {"run", "seconds", "started"}
    assert cosub.Run(tmp_path / "run").recipe.drop_rate == 0.25


def test_callbacks_get_what_the_run_writes_down(run, seen):
    lines = read(run.folder)
    assert seen.lines == [line for line in lines if "loss" in line]
    assert len(seen.lines) > 20
    *before, last = seen.evaluations
    assert [found["epoch"] for found in before] == [1]
    assert before[0]["test_top1"] == next(line["top1"] for line in lines if "top1" in line)
    assert (last["epoch"], last["test_top1"]) == (2, run.summary["top1"])


@pytest.mark.parametrize(
    ("callbacks", "words"),
    [
        (Seen(), "Seen: must be in a list; write [Seen()]"),
        (Seen, "Seen: must be in a list; write [Seen()]"),
        (None, "None: must be a list of callbacks; leave it out where there are none"),
        ([Seen], "the class Seen: give an object of it; see cosub.Callback"),
        ([print], "builtin_function_or_method: has no method logged or evaluated; see cosub.Callback"),
        ([Seen(), Mock(spec=["logged"])], "Mock: has no method evaluated; see cosub.Callback"),
    ],
)
def test_what_is_no_callback_is_refused_before_the_start(callbacks, words, tmp_path):
    with pytest.raises(ValueError, match=f"^{re.escape('callbacks: ' + words)}$"):
        cosub.fit("digits", out=tmp_path / "run", callbacks=callbacks, **SMALL)
    assert not (tmp_path / "run").exists()


def test_a_callback_that_raises_ends_the_run_and_the_same_call_continues_it(run, tmp_path):
    class Once(Seen):
        def evaluated(self, values):
            super().evaluated(values)
            if len(self.evaluations) == 1:
                raise ZeroDivisionError

    once, out = Once(), tmp_path / "run"
    options = {"out": out, "callbacks": [once], "checkpoint_every": 10, **SMALL}
    with pytest.raises(ZeroDivisionError):
        cosub.fit("digits", **options)
    assert cosub.Run(out).summary["state"] == "failed"
    again = cosub.fit("digits", **options)
    assert again.summary["top1"] == run.summary["top1"]


def test_a_run_predicts_files_pil_images_and_arrays_alike(run, digit):
    path, image, pixels = digit
    predictions = run.predict([path, str(path), image, pixels, np.stack([pixels] * 3, 2)])
    assert len({prediction.label for prediction in predictions}) == 1
    assert [prediction.image for prediction in predictions] == [str(path), str(path), "", "", ""]
    assert len({tuple(prediction.probabilities.items()) for prediction in predictions}) == 1
    (alone,) = run.predict(path)
    assert (alone.label, alone.image) == (predictions[0].label, str(path))
    assert alone.probabilities == pytest.approx(predictions[0].probabilities, abs=1e-6)
    values = list(alone.probabilities.values())
    assert values == sorted(values, reverse=True)
    assert sum(values) == pytest.approx(1, abs=1e-5)
    assert alone.probability == values[0]
    assert alone.label in run.classes
    assert len(run.predict(np.stack([np.stack([pixels] * 3, 2)] * 2))) == 2


def test_a_run_predicts_in_batches_and_its_warnings_name_the_callers_line(run, tmp_path, monkeypatch):
    for index in range(5):
        picture(index, (8, 8)).save(tmp_path / f"{index}.png")
    (tmp_path / "2b.png").write_bytes(b"no image")
    alone = [run.predict(tmp_path / f"{index}.png")[0] for index in range(5)]
    monkeypatch.setattr("cosub.api.run._BATCH", 3)
    sizes = []
    with (
        pytest.warns(UserWarning, match=r"2b\.png .*: cannot be read") as warned,
        run.network.register_forward_pre_hook(lambda _, given: sizes.append(len(given[0]))),
    ):
        together = run.predict(tmp_path)
    assert sizes == [3, 2]
    assert [one.filename for one in warned] == [__file__]
    assert [one.image for one in together] == [one.image for one in alone]
    for one, other in zip(together, alone, strict=True):
        assert one.probabilities == pytest.approx(other.probabilities, abs=1e-6)


def test_a_run_predicts_as_the_command_line(run, digit, capsys):
    path, _, _ = digit
    assert main(["predict", str(run.folder), str(path), "--top", "10", "--json"]) == 0
    (theirs,) = json.loads(capsys.readouterr().out)["predictions"]
    (ours,) = run.predict(path)
    assert {item["class"]: item["probability"] for item in theirs["classes"]} == pytest.approx(ours.probabilities)


@pytest.mark.parametrize(
    ("image", "said"),
    [
        ("nowhere.png", "images: nowhere.png: is neither a file nor a folder"),
        (__file__, "images: .*test_api.py .*: cannot be read"),
        (np.zeros((3, 8, 8), np.uint8), r"shape \(3, 8, 8\): must be of uint8"),
        (np.zeros((8, 8), np.float32), "array of float32"),
        (np.zeros((0, 8, 3), np.uint8), r"shape \(0, 8, 3\)"),
        (7, "images: int: must be a file's name"),
        (torch.zeros(1, 8, 8), "images: Tensor: must be a file's name"),
    ],
)
def test_what_is_no_image_is_a_value_error(run, image, said):
    with pytest.raises(ValueError, match=said):
        run.predict(image)


def test_a_run_predicts_folders_and_patterns_and_by_submodels(run, tmp_path, capsys):
    (tmp_path / "in").mkdir()
    for index in range(3):
        Image.fromarray((load_digits().images[index] * 15).astype(np.uint8)).save(tmp_path / "in" / f"{index}.png")
    (tmp_path / "in" / "3.png").write_bytes(b"no image")
    with pytest.warns(UserWarning, match=r"3\.png .*: cannot be read as an image, and is left out"):
        found = run.predict(tmp_path / "in", keep=0.5)
    assert [prediction.image for prediction in found] == [str(tmp_path / "in" / f"{index}.png") for index in range(3)]
    assert run.predict(str(tmp_path / "in" / "[0-2].png"), keep=0.5) == found
    (tmp_path / "more").mkdir()
    for name in ("0.png", "notes.txt"):
        shutil.copy(tmp_path / "in" / "0.png", tmp_path / "more" / name)
    with pytest.warns(UserWarning, match=r"images: not read: 1 extension \.txt"):
        assert len(run.predict(tmp_path / "more")) == 1
    assert run.predict(tmp_path / "in" / "0.png")[0].probabilities != found[0].probabilities
    main(["predict", str(run.folder), str(tmp_path / "in" / "0.png"), "--keep", "0.5", "--top", "1", "--json"])
    (theirs,) = json.loads(capsys.readouterr().out)["predictions"][0]["classes"]
    assert (theirs["class"], theirs["probability"]) == (found[0].label, pytest.approx(found[0].probability))
    with pytest.raises(ValueError, match=r"keep: 2: must be a share of the blocks"):
        run.predict(tmp_path / "in", keep=2)


def test_a_run_evaluates_slims_and_exports(run, tmp_path):
    assert run.evaluate()["top1"] == run.summary["top1"]
    assert run.evaluate(keep=0.5)["top1"] == run.summary["top1_submodels"]["0.5"]
    slim = run.slim(keep=1, strategy="ends", out=tmp_path / "slim", images=50)
    assert len(slim.recipe.kept_layers) == 2  # of one block
    assert slim.summary["slim"]["layers"] == 2
    assert slim.evaluate()["top1"] == slim.summary["top1"]
    written = run.export(out=tmp_path / "timm")
    assert written["difference"] < 1e-5
    network = timm.create_model(f"local-dir:{written['to']}", pretrained=True).eval()
    images = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        torch.testing.assert_close(network(images), run.network(images), atol=1e-5, rtol=0)


def test_healing_gives_the_healed_run(run, tmp_path):
    healed = run.slim(keep=2, strategy="ends", out=tmp_path / "slim", images=50, heal=1)
    assert healed.folder == tmp_path / "slim-healed"
    assert healed.summary["state"] == "done"


def test_a_finished_run_is_given_as_it_is(run, capsys):
    again = cosub.fit("digits", out=run.folder, **SMALL)
    assert "finished already" in capsys.readouterr().err
    assert again.summary == run.summary
    assert repr(again) == f"Run({str(run.folder)!r})"


def test_a_folder_of_images_is_fitted_by_one_call(tmp_path):
    make_folder(tmp_path / "images")
    found = cosub.fit("digits", source="folder", data=tmp_path / "images", out=tmp_path / "run", epochs=1, batch_size=8,
                      group_size=8, model_args=TINY, drop_rate=0.25, seed=3)  # fmt: skip
    assert found.recipe.data.path == str(tmp_path / "images")
    image = next((tmp_path / "images").rglob("*.png"))
    assert found.predict(image)[0].label in found.classes


# --- the process that it runs in


def test_the_callers_random_state_and_kernels_stay(tmp_path):
    torch.manual_seed(1)
    np.random.seed(1)
    random.seed(1)
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        before = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
        cosub.fit("digits", out=tmp_path / "run", **{**SMALL, "epochs": 1})
        assert torch.are_deterministic_algorithms_enabled()
        assert torch.is_deterministic_algorithms_warn_only_enabled()
        assert torch.equal(torch.get_rng_state(), before[0])
        assert (np.random.get_state()[1].tolist(), random.getstate()) == before[1:]
    finally:
        torch.use_deterministic_algorithms(False)


def test_a_run_goes_in_a_thread_where_no_signal_comes(run, tmp_path):
    found = []
    options = {"out": tmp_path / "run", **SMALL}
    thread = threading.Thread(target=lambda: found.append(cosub.fit("digits", **options)))
    thread.start()
    thread.join()
    assert found[0].summary["top1"] == run.summary["top1"]


def test_the_names_are_there_before_anything_heavy():
    code = "import cosub, sys; cosub.fit, cosub.Run; assert not {'torch', 'timm', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_types_are_promised_to_checkers():
    assert importlib.resources.files("cosub").joinpath("py.typed").is_file()
    for name in cosub.__all__:
        public = getattr(cosub, name)
        if inspect.isfunction(public):
            assert "return" in public.__annotations__, name


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of Jupyter's own
def test_a_notebook_shows_progress_and_its_stop_button_stops(tmp_path):
    nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed: pip install 'cosub[examples]'")
    nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed: pip install 'cosub[examples]'")
    pytest.importorskip("ipykernel", reason="ipykernel is not installed: pip install 'cosub[examples]'")
    call = f"cosub.fit('digits', out='run', callbacks=callbacks, **{SMALL!r})"
    cells = [
        "import os, signal, cosub\n"
        "class Pressed:  # as the stop button does\n"
        "    def logged(self, values): os.kill(os.getpid(), signal.SIGINT)\n"
        "    def evaluated(self, values): pass\n"
        f"callbacks = [Pressed()]\ntry:\n    {call}\nexcept cosub.Stopped as stopped:\n    print(stopped)",
        f"callbacks = []\nrun = {call}\nprint(run.summary['state'])",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    nbclient.NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = [cell.outputs for cell in notebook.cells]
    assert {output["output_type"] for found in outputs for output in found} == {"stream"}
    stopped, gone_on = ("".join(output["text"] for output in found) for found in outputs)
    assert "stopping after this step" in stopped
    assert "stopped at step 1 of 44; the same command continues the run" in stopped
    for said in ("continuing run at step 1 of 44", "epoch 1: top-1 ", "train 100%", "images/s"):
        assert said in gone_on
    assert re.search(r"test \d+\.\d\d%", gone_on)  # in the bar's line
    assert gone_on.endswith("done\n")
