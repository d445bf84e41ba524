"""The verbs, in this process; wrong input is one line on standard error and status 2, and touches nothing."""

import errno
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from pictures import make_folder, parquet, picture
from PIL import Image
from safetensors import SafetensorError
from sklearn.datasets import load_digits
from tiny import call, recipe_flags, tiny

import cosub
from cosub.api.configuring import configure
from cosub.cli import VERBS, _at_home, main
from cosub.cli.analyse import ANALYSES
from cosub.cli.dry_run import FLAGS
from cosub.errors import InputError, Stopped
from cosub.recipes import get, recipes
from cosub.recipes.data import SOURCES
from cosub.recipes.files import dump, read_run
from cosub.recipes.methods import METHODS, Supervised
from cosub.runs.folder import load


def is_drawn(path):
    """Whether a picture has more than its background."""
    with Image.open(path) as picture:
        low, high = picture.convert("L").getextrema()
    return low < high


# --- what is right


def test_help_lists_the_verbs(capsys):
    status, out, _ = call(capsys, "--help")
    assert status == 0
    assert all(verb in out for verb in VERBS)


@pytest.mark.parametrize("arguments", [["--help"], ["train", "digits", "--help"], ["recipes"], ["train", "--no-such"]])
def test_nothing_heavy_is_imported_before_it_is_used(arguments):
    code = (
        "import sys\nfrom cosub.cli import main\n"
        f"try:\n    main({arguments!r})\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'timm', 'numpy', 'datasets', 'matplotlib', 'sklearn', 'PIL', 'rich'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_import_cosub_is_lazy():
    subprocess.run([sys.executable, "-c", "import cosub, sys; assert 'torch' not in sys.modules"], check=True)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(verb, capsys):
    with pytest.raises(SystemExit) as ended:
        main([verb, "--help"])
    assert ended.value.code == 0
    assert f"cosub {verb}" in capsys.readouterr().out


def test_train_prints_one_json_object_and_all_else_on_standard_error(tmp_path, capsys):
    (tmp_path / "r.json").write_text(dump(tiny(tmp_path / "unused")))
    status, out, err = call(capsys, "train", tmp_path / "r.json", "--out", tmp_path / "run", "--seed", 5, "--json")
    assert status == 0
    summary = json.loads(out)
    assert {"method": "cosub", "seed": 5, "run": str(tmp_path / "run")}.items() <= summary.items()
    for word in (
        "residual layers  4",
        "0.5 (uniform)",
        "16 of 32",
        "22 (1 epoch of 22)",
        "images/s",
        "data wait",
        "left",
    ):
        assert word in err
    assert "top-1 with 75% of the blocks" in err


def test_evaluate_gives_the_summarys_top1(finished, capsys):
    summary = json.loads((finished / "summary.json").read_text())
    status, out, _ = call(capsys, "evaluate", finished, "--json")
    assert status == 0
    assert json.loads(out)["top1"] == summary["top1"]
    assert json.loads(out)["num_images"] == 360
    _, out, _ = call(capsys, "evaluate", finished, "--keep", 0.5, "--json")
    assert json.loads(out)["top1"] == summary["top1_submodels"]["0.5"]
    assert call(capsys, "evaluate", finished)[1].startswith(f"top-1 {summary['top1']:.2%}")


def test_evaluate_shows_pictures(finished, capsys):
    assert call(capsys, "evaluate", finished, "--show", 10)[0] == 0
    assert is_drawn(finished / "examples.png")


def test_what_was_evaluated_is_printed_before_a_picture_fails(finished, capsys, monkeypatch):
    def unreadable(*_):
        raise InputError("show: none of the images can be read")

    monkeypatch.setattr("cosub.evaluation.pictures.show_examples", unreadable)
    status, out, _ = call(capsys, "evaluate", finished, "--show", 10)
    assert status != 0
    assert out.startswith("top-1 ")
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert "show: " in (said := call(capsys, "evaluate", finished, "--show", 10)[2])
    assert "cannot be written to; leave it out" in said


def test_predict_takes_files_and_folders(finished, capsys, tmp_path):
    for index in range(3):
        pixels = (load_digits().images[index] * 15).astype("uint8")
        Image.fromarray(pixels).save(tmp_path / f"{index}.png")
    (tmp_path / "broken.png").write_bytes(b"no image")
    status, out, err = call(capsys, "predict", finished, tmp_path, "--top", 3)
    assert status == 0
    assert len(out.splitlines()) == 3
    assert "broken.png" in err
    _, out, _ = call(capsys, "predict", finished, tmp_path / "0.png", "--json", "--keep", 0.5)
    (prediction,) = json.loads(out)["predictions"]
    assert len(prediction["classes"]) == 5
    assert sum(item["probability"] for item in prediction["classes"]) <= 1 + 1e-6


def test_predict_says_what_of_a_folder_is_not_read(finished, capsys, tmp_path):
    (tmp_path / ".ipynb_checkpoints").mkdir()
    for name in ("0.png", "._0.png", ".ipynb_checkpoints/0-checkpoint.png"):
        picture(0, (8, 8)).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("x")
    status, out, err = call(capsys, "predict", finished, tmp_path)
    assert (status, len(out.splitlines())) == (0, 1)
    left = f"1 extension .txt ({tmp_path}/notes.txt); 2 hidden, or of the system ({tmp_path}/._0.png)"
    assert err == f"not read: {left}\n"
    _, out, _ = call(capsys, "predict", finished, tmp_path, "--json")
    assert [(item["why"], item["number"]) for item in json.loads(out)["skipped"]] == [
        ("extension .txt", 1),
        ("hidden, or of the system", 2),
    ]
    (tmp_path / "0.png").unlink()
    status, _, err = call(capsys, "predict", finished, tmp_path)
    assert (status, err.count("\n")) == (2, 1)
    assert f"has no images (.jpg .jpeg .png .bmp .webp .tif .tiff .ppm .pgm), but {left}" in err


def test_plot_of_one_run_and_of_several(finished, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert call(capsys, "plot", finished, "--json")[0] == 0
    status, out, _ = call(capsys, "plot", finished, finished)
    assert (status, out.strip()) == (0, "curves.png")
    assert is_drawn(tmp_path / "curves.png")
    for words in ([finished, finished], [finished, "--out", "curves.png"]):
        status, _, err = call(capsys, "plot", *words)
        assert (status, "exists; remove it, or name another file" in err) == (2, True)


def test_recipes_lists_and_prints(capsys):
    assert "digits" in call(capsys, "recipes")[1]
    assert json.loads(call(capsys, "recipes", "digits", "--json")[1])["model"] == get("digits").model


def test_method_source_and_model_bring_their_own_options():
    recipe = configure(["--method", "supervised", "--loss", "ce", "--drop-rate=0.3"])
    assert (recipe.method, recipe.drop_rate) == (Supervised(loss="ce"), 0.3)
    assert configure(["cifar10", "--source=folder", "--data.path", "x"]).data.path == "x"
    assert configure(["--model", "deit3_small_patch16_224"]).model_args == {}
    changed = configure(["--model-args", "depth=3", "--epochs", "2", "--model-args=qkv_bias=false"])
    assert changed.model_args == {**get("digits").model_args, "depth": 3, "qkv_bias": False}
    assert changed.epochs == 2


# --- what is wrong


@pytest.mark.parametrize(
    ("words", "field"),
    [
        ("train --epochs ten", "--epochs"),
        ("train --epochs", "--epochs"),
        ("train --epochs 0", "epochs"),
        ("train --drop-rate 1", "drop_rate"),
        ("train --drop-rate nan", "drop_rate"),
        ("train --weight 1.1", "weight"),
        ("train --method supervised --weight 0.5", "--weight"),
        ("train --method cosubb", "--method"),
        ("train --data.path x", "recipe"),
        ("train --rounding up", "--rounding"),
        ("train --model hf_hub:somebody/model", "model"),
        ("train --model ../model", "model"),
        ("train --model vgg11", "model"),
        ("train --model edgenext_xx_small", "model"),
        ("train --model-args drop_path_rate=0.1", "model_args: drop_path_rate"),
        ("train --model-args dept=3", "model"),
        ("train --model-args depth", "--model-args"),
        ("train --model-args patch_size=3", "resolution"),
        ("train --model-args img_size=16", "model_args: img_size"),
        ("train --model-args checkpoint_path=/nope", "model_args: checkpoint_path"),
        ("train --model-args pretrained=true", "model_args: pretrained"),
        ("train --model-args act_layer=nope", "model"),
        ("train --model-args global_pool=", "model"),
        ("train --model-args norm_layer=batchnorm2d", "model"),
        ("train --optimizer.warmup-epochs inf", "optimizer.warmup_epochs"),
        ("train --data.test-share 0.001", "data.test_share"),
        ("train --data.split-seed -1", "data.test_share"),
        ("train --data.kind hub", "--data.kind"),
        (f"train --out {'x' * 300}", f"{'x' * 300}/recipe.json"),
        ("train --resolution 9", "resolution"),
        ("train --augment.policy nonsense", "augment.policy"),
        ("train --batch-size 100", "batch_size"),
        ("train --micro-steps 3", "micro_steps"),
        ("train --device tpu", "device"),
        ("train --device cuda:99", "device"),
        ("train --precision fp16 --device cpu", "precision"),
        ("train cifar10", "data.path"),
        ("train cifar10 --data.path ./nowhere", "data.path"),
        ("train extra words", "recipe"),
        ("train --devices 8", "--devices"),
        ("train --plot=x.png", "--plot"),
        ("train --dry-run --devices 0", "devices"),
        ("train --dry-run --devices -8", "devices"),
        ("train --dry-run --devices 2.5", "--devices"),
        ("train --dry-run --devices", "--devices"),
        ("train --dry-run --devices 3", "micro_steps"),
        ("train --dry-run --device-memory-gb 0", "device_memory_gb"),
        ("train --dry-run --device-memory-gb nan", "device_memory_gb"),
        ("train --dry-run --device-tflops -1", "device_tflops"),
        ("train --dry-run --utilisation 1.5", "utilisation"),
        ("train --dry-run --images 0", "images"),
        ("train --dry-run --images 63", "batch_size"),
        ("train --dry-run --classes 1", "classes"),
        ("train --classes -2", "classes"),
        ("train --dry-run --plot x.gif", "plot"),
        ("train --dry-run --plot no/x.png", "plot"),
        ("train --dry-run --model vgg11", "model"),
        ("train --dry-run --resolution 9", "resolution"),
        ("train --dry-run --augment.policy nonsense", "augment.policy"),
        ("train digits words", "'words'"),
        ("evaluate", "RUN"),
        ("evaluate nowhere", "run"),
        ("predict nowhere", "IMAGES"),
        ("plot", "RUNS"),
        ("plot nowhere", "run"),
        ("bench", "bench"),
        ("bench stop", "bench"),
        ("bench table7 now", "'now'"),
        ("bench step --drop-rate 1", "drop_rate"),
        ("bench step --model nope", "model"),
        ("bench step --meta --model edgenext_xx_small", "model"),
        ("bench step --meta --resolution 17", "resolution"),
        ("bench step --repeats 0", "repeats"),
        ("bench step --methods magic", "--methods"),
        ("bench step --methods", "methods"),
        ("bench step --meta --model vit_tiny_patch16_224.nonsense", "model"),
    ],
    ids=lambda text: text[:60],
)
def test_wrong_words_name_the_field(words, field, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, out, err = call(capsys, *words.split())
    last = err.rstrip("\n").splitlines()[-1]
    assert status == 2, err
    assert last.startswith(f"cosub: {field}: ")
    assert out == ""
    assert "Traceback" not in err
    assert "─" not in err  # tyro's own boxes
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ("trian", "train"),
        ("train digit", "digits"),
        ("train --drop-rat 0.1", "--drop-rate"),
        ("train --model vit_tiny_patch16_22", "vit_tiny_patch16_224"),
        ("train --dry-run --deviices 8", "--devices"),
        ("train --dry-run --model vit_tiny_patch16_22", "vit_tiny_patch16_224"),
        ("recipes digit", "digits"),
        ("train --method cosubb", "cosub"),
        ("bench stop", "step"),
        ("analyse populations", "population"),
        ("study tabel5", "table5"),
    ],
)
def test_an_unknown_name_has_the_nearest(words, name, capsys):
    status, _, err = call(capsys, *words.split())
    assert (status, f"did you mean {name}?" in err) == (2, True), err


@pytest.mark.parametrize(
    ("words", "remedy"),
    [
        (
            "train --data.path mine",
            "recipe: is not named; cosub train finetune --pretrained --data.path mine fine-tunes on it, "
            "cosub train scratch --data.path mine starts from scratch",
        ),
        (
            "train --source table --data.path a.csv",
            "cosub train finetune --pretrained --source table --data.path a.csv",
        ),
        ("train --weights w.pth --data.path mine", "recipe: is not named; cosub train finetune --data.path mine"),
        ("train --evaluate-training cifar10", "cifar10: a recipe comes before its options"),
        ("train --data.path scenes", "cosub train camvid --data.path scenes"),
        ("train --out x finetune --pretrained", "finetune: a recipe comes before its options: cosub train finetune"),
        ("train --pretrained finetune", "finetune: a recipe comes before its options"),
        ("train --lr=1e-3 old.json", "old.json: a recipe comes before its options"),
        ("train mine", "recipe: mine: is a folder; cosub train finetune --pretrained --data.path mine fine-tunes"),
        ("train finished", "recipe: finished: is a run; cosub train finished/recipe.json --out finished continues it"),
        ("train scratch mine", "'mine': unexpected argument; name images with --data.path mine"),
        ("train scratch other", "'other': unexpected argument; leave it out"),
        ("train digits --data.path mine", "leave it out, or name a recipe such as finetune or scratch"),
        ("finetune mine", "verb: 'finetune': is a recipe: cosub train finetune ..."),
        ("train --source foldr", "--source: 'foldr': must be one of"),
    ],
)
def test_a_forgotten_or_misplaced_recipe_or_folder_has_a_remedy(words, remedy, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name in ("mine", "finished"):
        (tmp_path / name).mkdir()
    (tmp_path / "finished" / "recipe.json").touch()
    (tmp_path / "scenes" / "annotations" / "training").mkdir(parents=True)
    status, _, err = call(capsys, *words.split())
    assert (status, remedy in err) == (2, True), err
    assert not (tmp_path / "out").exists()


def test_wrong_run_folders(finished, capsys, tmp_path):
    assert "holds a run of another recipe (it differs in " in call(capsys, "train", "--out", finished)[2]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("")
    assert "is not empty and holds no run" in call(capsys, "train", "--out", tmp_path / "mine")[2]
    assert "is a file" in call(capsys, "train", "--out", tmp_path / "mine" / "thesis.txt")[2]
    (tmp_path / "half").mkdir()
    shutil.copy(finished / "recipe.json", tmp_path / "half")
    assert "has no model.safetensors yet" in call(capsys, "evaluate", tmp_path / "half")[2]
    (tmp_path / "half" / "model.safetensors").write_bytes(b"\x00" * 100)
    status, _, err = call(capsys, "evaluate", tmp_path / "half")
    assert (status, "cannot be read" in err) == (2, True)


def test_weights_that_do_not_fit(finished, capsys, tmp_path):
    shutil.copytree(finished, tmp_path / "run")
    values = json.loads((finished / "recipe.json").read_text())
    values["model_args"]["embed_dim"] = 32
    (tmp_path / "run" / "recipe.json").write_text(json.dumps(values))
    status, _, err = call(capsys, "evaluate", tmp_path / "run")
    assert (status, "does not fit" in err, len(err.splitlines())) == (2, True, 1)


def test_wrong_options_of_other_verbs(finished, capsys, tmp_path):
    assert "keep: 1.5: must be in (0, 1]" in call(capsys, "evaluate", finished, "--keep", 1.5)[2]
    assert "which have no path" in call(capsys, "evaluate", finished, "--data.path", tmp_path)[2]
    assert "neither a file nor a folder" in call(capsys, "predict", finished, tmp_path / "nothing.png")[2]
    assert "the folder has no images" in call(capsys, "predict", finished, tmp_path)[2]
    (tmp_path / "text.png").write_text("hello")
    assert "cannot be read as an image" in call(capsys, "predict", finished, tmp_path / "text.png")[2]
    assert "must end in .png" in call(capsys, "plot", finished, "--out", tmp_path / "x.gif")[2]


def folder_words(path, *more):
    tiny_args = ["--model-args", "patch_size=8", "embed_dim=16", "depth=2", "num_heads=2"]
    words = ["train", "digits", "--source", "folder", "--data.path", path, "--resolution", "16", *tiny_args]
    return [*words, "--epochs", "1", "--batch-size", "4", "--group-size", "4", *more]


def test_bad_images_below_the_share_are_counted_and_above_it_status_3(capsys, tmp_path):
    make_folder(tmp_path / "images")
    (tmp_path / "images" / "cat" / "3.png").write_bytes(b"no image")
    words = folder_words(tmp_path / "images", "--json")
    status, out, err = call(capsys, *words, "--out", tmp_path / "a", "--bad-share", 0.5)
    assert (status, json.loads(out)["bad_images"]) == (0, 1)
    assert "cat/3.png" in (tmp_path / "a" / "bad-images.txt").read_text()
    assert re.search(r"images? could not be read: .*bad-images\.txt", err)
    status, _, err = call(capsys, *words, "--out", tmp_path / "b", "--bad-share", 0.0)
    assert status == 3
    assert "cat/3.png" in err.splitlines()[-1]
    assert json.loads((tmp_path / "b" / "summary.json").read_text())["state"] == "failed"
    assert "goes on with a higher --bad-share" in err.splitlines()[-1]
    status, out, _ = call(capsys, *words, "--out", tmp_path / "b", "--bad-share", 0.5)
    assert (status, json.loads(out)["bad_images"]) == (0, 1)
    assert read_run(tmp_path / "b").bad_share == 0.5  # for verbs that read these images later


def test_wrong_data_through_the_command_line(capsys, tmp_path):
    make_folder(tmp_path / "single" / "only", 3)
    for path, message in (
        (tmp_path / "nowhere", "is not a folder"),
        (tmp_path / "single" / "only" / "cat", "has no class folders"),
        (tmp_path / "single", "holds only only, which holds cat, dog: give --data.path"),
    ):
        status, _, err = call(capsys, *folder_words(path, "--out", tmp_path / "run"))
        assert (status, message in err) == (2, True)
    parquet(tmp_path / "train-0.parquet", [0, 5])
    parquet(tmp_path / "test-0.parquet", [0, 1])
    status, _, err = call(capsys, "train", "cifar10", "--data.path", tmp_path, "--out", tmp_path / "run")
    assert (status, "label 5, and there are classes 0 to 1" in err) == (2, True)
    assert not (tmp_path / "run").exists()


def test_a_recipe_file_of_another_format(capsys, tmp_path):
    (tmp_path / "r.json").write_text('{"format": 7}')
    status, _, err = call(capsys, "train", tmp_path / "r.json")
    assert (status, "is not of format 1" in err) == (2, True)


def test_rounding_that_turns_co_training_off_cannot_be_missed(capsys, tmp_path):
    def stop(_trainer):
        raise Stopped("enough")

    words = ["--drop-rate", "0.05", "--batch-size", "4", "--group-size", "4", "--epochs", "1"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cosub.train.trainer.Trainer.fit", stop)
        status, _, err = call(capsys, "train", "digits", *words, "--out", tmp_path / "run")
    assert status == 75
    assert "WARNING: submodel co-training is OFF" in err


# --- what is promised to others


def flags_of_help(capsys, *words):
    with pytest.raises(SystemExit):
        main([*words, "--help"])
    return sorted(set(re.findall(r"--[a-z][a-z._-]*[a-z]", capsys.readouterr().out)) - {"--help"})


def of_data(flags, wanted):
    return [flag for flag in flags if flag.startswith("--data.") == wanted]


def without_common(verb, flags):
    """What all of them have once, under the verb, and for each what it has besides."""
    common = set.intersection(*map(set, flags.values()))
    return {verb: sorted(common), **{f"{verb} {name}": sorted(set(found) - common) for name, found in flags.items()}}


def keys_of_analysis(capsys, name, run, out):
    quick = {"counts": [], "quantisation": [], "population": ["--limit", 10, "--submodels", 1]}
    quick["tradeoff"] = ["--limit", 10, "--repeats", 1, "--batch-size", 2]
    words = quick.get(name, ["--limit", 10])
    return sorted(json.loads(call(capsys, "analyse", name, run, "--out", out, *words, "--json")[1]))


def test_public_names_flags_and_json_keys_are_a_decision(finished, capsys, tmp_path):
    promised = json.loads((finished / "summary.json").read_text())
    segmentation = recipe_flags(get("camvid"))
    methods = {name: of_data(recipe_flags(configure(["--method", name])), False) for name in METHODS}
    sources = {
        name: of_data(recipe_flags(configure(["digits", "--source", name])), True)
        for name in SOURCES
        if name != "scenes"
    }
    sources["scenes"] = of_data(segmentation, True)
    evaluated = json.loads(call(capsys, "evaluate", finished, "--json")[1])
    planned = json.loads(call(capsys, "train", "--dry-run", "--json")[1])
    now = {
        "names": cosub.__all__,
        "verbs": sorted(VERBS),
        "flags": {
            **without_common("train --method", methods),
            **without_common("train --source", sources),
            "train camvid": [flag for flag in segmentation if flag.startswith("--task.")],
            "dry run": sorted(FLAGS),
            **without_common("analyse", {name: flags_of_help(capsys, "analyse", name) for name in ANALYSES}),
        },
        "summary": sorted(promised),
        "evaluate": sorted(evaluated),
        "plan": sorted(planned),
        "analyse": {name: keys_of_analysis(capsys, name, finished, tmp_path / name) for name in ANALYSES},
    }
    path = Path(__file__).with_name("promised.json")
    if "COSUB_WRITE_PROMISED" in os.environ:
        path.write_text(json.dumps(now, indent=1) + "\n")
    assert now == json.loads(path.read_text()), "a public name, flag or key changed: if that is meant, see CONTRIBUTING"


@pytest.mark.parametrize("words", [["digits"], ["cifar10", "--method", "supervised"], ["digits", "--source", "folder"]])
def test_the_promised_flags_are_those_of_the_help(words, capsys):
    with pytest.raises(SystemExit):
        main(["train", *words, "--help-all"])
    shown = set(re.findall(r"--[a-z][a-z._-]*[a-z]", capsys.readouterr().out))
    assert shown - {"--help", "--help-all"} == set(recipe_flags(configure(words))) | {"--model"}


@pytest.mark.parametrize("words", [["--out=~/r"], ["--out", "~/r"]])
def test_home_is_expanded_wherever_a_path_begins(words, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert call(capsys, "train", "--epochs", "1", "--model-args", "depth=1", "embed_dim=16", *words)[0] == 0
    assert [path.name for path in tmp_path.iterdir()] == ["r"]
    assert not load("~/r").training
    assert _at_home("--set=val=~/x") == f"--set=val={tmp_path}/x"
    assert _at_home("a~b=c~/d") == "a~b=c~/d"


def test_classes_belong_to_the_recipe_and_the_dry_run_reads_them(capsys):
    name = next(name for name, recipe in recipes().items() if recipe().classes == 1000)
    assert configure([name, "--source", "folder", "--classes", "3"]).classes == 3
    status, out, _ = call(capsys, "train", "digits", "--dry-run", "--source", "folder", "--classes", "7", "--json")
    assert (status, json.loads(out)["size"]["classes"]) == (0, 7)
    status, _, err = call(capsys, "train", "--dry-run", "--classes", "7")  # the digits, as in training
    assert (status, "classes: 7" in err) == (2, True)


def test_the_promised_flags_of_a_dry_run_are_those_of_its_help(capsys):
    with pytest.raises(SystemExit):
        main(["train", "--dry-run", "--help"])
    shown = set(re.findall(r"--[a-z][a-z-]*[a-z]", capsys.readouterr().out))
    assert shown - {"--help", "--key"} == set(FLAGS)


def test_the_recipe_of_an_earlier_run_goes_to_another_folder(finished):
    recipe = configure([str(finished / "recipe.json"), "--seed", "1"])
    assert (recipe.seed, recipe.runtime.out) == (1, "")


def test_evaluate_a_folder_without_splits_counts_all_its_images(capsys, tmp_path):
    make_folder(tmp_path / "images")
    assert call(capsys, *folder_words(tmp_path / "images", "--out", tmp_path / "run"))[0] == 0
    _, out, _ = call(capsys, "evaluate", tmp_path / "run", "--json")
    assert json.loads(out)["num_images"] == 4
    shown = call(capsys, "evaluate", tmp_path / "run")[1]
    assert "top-1" in shown
    assert "top-5" not in shown  # of two classes
    make_folder(tmp_path / "others", 3)
    _, out, _ = call(capsys, "evaluate", tmp_path / "run", "--data.path", tmp_path / "others", "--json")
    assert (json.loads(out)["num_images"], json.loads(out)["set"]) == (6, "images")


def test_a_runs_data_that_have_moved_are_the_runs_own_and_a_folder_may_be_named_test(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_folder(tmp_path / "images")
    assert call(capsys, *folder_words("images", "--out", "run"))[0] == 0
    (tmp_path / "images").rename(tmp_path / "test")
    _, out, _ = call(capsys, "evaluate", "run", "--data.path", "test", "--json")
    found = json.loads(out)
    assert (found["num_images"], found["set"], found["path"]) == (4, "test", "test")


@pytest.mark.parametrize("verb", ["predict", "export", "slim", "compare"])
def test_what_runs_in_one_process_refuses_several(verb, finished, capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("WORLD_SIZE", "2")
    words = {"predict": [finished, tmp_path / "a.png"], "slim": [finished, "--keep", 1], "compare": [tmp_path]}
    picture().save(tmp_path / "a.png")
    status, _, err = call(capsys, verb, *words.get(verb, [finished]))
    assert (status, f"{verb}: runs in one process; leave torchrun out" in err) == (2, True)


def test_a_full_disk_under_standard_output_is_one_line():
    words = [sys.executable, "-m", "cosub", "completion", "bash"]
    with open("/dev/full", "w") as full:
        ended = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, text=True)
    assert (ended.returncode, ended.stderr) == (3, "cosub: No space left on device; name another path, or make room\n")


def test_weights_that_cannot_be_written_are_one_line(finished, capsys, tmp_path, monkeypatch):
    def full(*_, **__):
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("cosub.slimming.slim.save_weights", full)
    status, _, err = call(capsys, "slim", finished, "--keep", 1, "--images", 20, "--out", tmp_path / "small")
    assert (status, err.splitlines()[-1].startswith("cosub: a file of weights cannot be written")) == (3, True)
    assert not list(tmp_path.iterdir())


def test_what_was_found_is_printed_before_a_file_is_written(finished, capsys, tmp_path, monkeypatch):
    picture(size=(8, 8)).save(tmp_path / "a.png")

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device", "x.csv")

    monkeypatch.setattr("cosub.runs.names.write_rows", full)
    for more in ([], ["--json"]):
        status, out, err = call(capsys, "predict", finished, tmp_path / "a.png", "--csv", tmp_path / "x.csv", *more)
        assert (status, "a.png" in out, len(err.splitlines())) == (3, True, 1)


def test_check_data_finds_its_path_among_the_values_of_options(capsys, tmp_path):
    make_folder(tmp_path / "images", 3)
    assert call(capsys, "check-data", "--table", tmp_path / "t.csv", "--workers", 1, tmp_path / "images")[0] == 0
    assert (tmp_path / "t.csv").read_text().startswith("path,")


@pytest.mark.slow
def test_bench_counts_without_a_model_in_memory(capsys):
    status, out, _ = call(capsys, "bench", "step", "--meta", "--model", "deit3_huge_patch14_224", "--drop-rate", 0.6,
                          "--batch-size", 32, "--methods", "masked", "cosub", "--json")  # fmt: skip
    ratio = json.loads(out)["ratio"]
    assert status == 0
    assert ratio["saved_bytes"]["cosub"] <= 0.82
    assert ratio["flops"]["cosub"] <= 0.82


def test_bench_measures(capsys):
    words = ["--model", "vit_tiny_patch16_224", "--resolution", 32, "--batch-size", 4, "--repeats", 1]
    status, out, _ = call(capsys, "bench", "step", *words, "--json")
    assert status == 0
    result = json.loads(out)
    assert set(result["seconds"]) == {"masked", "plain", "efficient", "cosub"}
    assert all(seconds > 0 for seconds in result["seconds"].values())
    assert call(capsys, "bench", "step", *words)[1].count("of masked") == 4


@pytest.mark.slow
def test_table7_puts_the_paper_beside_ours(capsys):
    status, out, _ = call(capsys, "bench", "table7", "--json")
    rows = {(row["model"], row["method"]): row for row in json.loads(out)["rows"]}
    assert status == 0
    assert rows["ViT-H", "cosub"]["paper_peak_memory"] == 0.91
    assert rows["ViT-L", "cosub"]["paper_time"] == 2.0
    assert rows["ViT-H", "cosub"]["saved_bytes"] < rows["ViT-H", "cosub"]["paper_peak_memory"]
