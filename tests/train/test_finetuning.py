"""Fine-tuning: what is inferred from the weights, what is held out, which epoch is kept."""

import dataclasses
import json

import pytest
import torch
from PIL import Image
from tiny import TINY, run, run_and_kill, tiny, weights

from cosub.cli import main
from cosub.cli.train import understand
from cosub.data.sources import fingerprint, open_source, with_validation
from cosub.errors import InputError
from cosub.recipes import get
from cosub.recipes.data import Digits, Folder
from cosub.recipes.files import dump
from cosub.recipes.finetune import like
from cosub.recipes.inputs import Inputs
from cosub.train.finetuning import infer, pretrained_name


def test_timms_weights_decide_resolution_normalisation_and_crop():
    recipe, _ = understand(
        ["finetune", "--model", "vit_base_patch16_224", "--weights", "vit_base_patch16_224.augreg_in1k"]
    )
    assert (recipe.resolution, recipe.inputs) == (224, Inputs(0.9, "bicubic", (0.5,) * 3, (0.5,) * 3))
    assert (recipe.drop_rate, recipe.optimizer.layer_decay) == (0.2, 0.75)  # table A.1, ViT-B
    recipe, _ = understand(["finetune", "--model", "deit3_base_patch16_384", "--pretrained", "--resolution", "192"])
    assert recipe.weights == "deit3_base_patch16_384.fb_in1k"
    assert recipe.resolution == 192  # what is given overrides what is inferred


def test_the_model_may_be_named_by_the_weights_alone():
    recipe, _ = understand(["finetune", "--weights", "timm:regnety_160.deit_in1k"])
    assert (recipe.model, recipe.weights) == ("regnety_160", "timm:regnety_160.deit_in1k")


def test_what_is_given_of_the_model_stays_and_another_model_is_refused():
    words = ["finetune", "--weights", "timm:regnety_160.deit_in1k"]
    recipe, _ = understand([*words, "--model-args", "drop_rate=0.1"])
    assert recipe.model_args == {"drop_rate": 0.1}
    assert understand([*words, "--model", "regnety_160"])[0].model == "regnety_160"
    with pytest.raises(InputError, match="model: resnet50: the weights timm:regnety_160"):
        understand([*words, "--model", "resnet50"])


@pytest.mark.parametrize(
    ("millions", "size"), [(5, "ViT-S"), (28.6, "ViT-S"), (30, "ViT-M"), (86, "ViT-B"), (197, "ViT-L"), (950, "ViT-H")]
)
def test_the_nearest_size_of_table_a1(millions, size):
    assert like(int(millions * 1e6)).title == size


def test_a_run_decides_model_resolution_and_inputs(tmp_path, capsys):
    inputs = Inputs(crop_ratio=0.9, mean=(0.5, 0.5, 0.5))
    run(tiny(tmp_path / "run", inputs=inputs))
    recipe, _ = understand(["finetune", "--weights", str(tmp_path / "run")])
    assert (recipe.model, recipe.model_args, recipe.resolution) == ("vit_tiny_patch16_224", TINY, 8)
    assert recipe.inputs == inputs
    said = capsys.readouterr().err.splitlines()
    assert any(line.startswith("inferred: drop_rate 0.05 and optimizer.layer_decay 0.7, as of ViT-S") for line in said)


def test_a_run_of_another_network_is_told(tmp_path, capsys):
    """Its weights need not fit, and the error that follows names parameters alone."""
    recipe = tiny(tmp_path / "run")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "recipe.json").write_text(dump(recipe))
    start = ["digits", "--weights", str(tmp_path / "run")]
    understand([*start, "--model-args", *(f"{key}={value}" for key, value in recipe.model_args.items())])
    assert "is a run of" not in capsys.readouterr().err
    understand([*start, "--model", "resnet18"])
    assert f"is a run of {recipe.network}, and this one is of resnet18\n" in capsys.readouterr().err


def test_a_folder_in_the_hubs_layout_is_read_as_timm_writes_it(tmp_path):
    described = {"architecture": "vit_tiny_patch16_224", "pretrained_cfg": {"input_size": [3, 96, 96], "crop_pct": 0.8,
                 "interpolation": "bilinear", "mean": [0.1, 0.2, 0.3], "std": [1, 1, 1], "unknown": 1}}  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(described))
    recipe = infer(dataclasses.replace(get("finetune"), model="vit_tiny_patch16_224", weights=str(tmp_path))).recipe
    assert (recipe.resolution, recipe.inputs) == (96, Inputs(0.8, "bilinear", (0.1, 0.2, 0.3), (1.0, 1.0, 1.0)))
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(InputError, match="is not timm's description of a model"):
        infer(dataclasses.replace(get("finetune"), weights=str(tmp_path)))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "weights: fine-tuning starts from weights: --pretrained"),
        (["--model", "cait_m12_224", "--pretrained"], "--pretrained: timm has no published weights of cait_m12_224"),
        (["--model", "convnext_tni", "--pretrained"], "timm does not know it (did you mean convnext_tiny?)"),
        (["--pretrained", "--weights", "x.pth"], "--weights, which names other weights"),
    ],
)
def test_a_start_that_there_is_not(words, message, capsys):
    assert main(["train", "finetune", *words]) == 2
    assert message in capsys.readouterr().err


def test_weights_that_cannot_be_had_offline_say_where_a_file_may_lie(tmp_path, capsys, monkeypatch):
    def no_network(*_args, **_settings):
        raise OSError("offline")

    monkeypatch.setattr("cosub.weights.opening.load_state_dict_from_hf", no_network)
    folder = _folder(tmp_path / "data", {"train": 4, "val": 2})
    words = [
        "--model",
        "resnet18",
        "--pretrained",
        "--data.path",
        str(folder),
        "--batch-size",
        "8",
        "--group-size",
        "8",
    ]
    assert main(["train", "finetune", *words, "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert "or name a copy of that file, --weights FOLDER/model.safetensors" in said
    assert not (tmp_path / "out" / "checkpoints").exists()


def test_pretrained_takes_the_tag_that_is_named():
    assert pretrained_name("convnext_tiny.fb_in1k") == "convnext_tiny.fb_in1k"


# --- validation images


def _folder(root, splits, classes=("cat", "dog")):
    for split, number in splits.items():
        for label, name in enumerate(classes):
            (root / split / name).mkdir(parents=True)
            for item in range(number):
                pixels = Image.new("RGB", (12, 12), (40 * item % 255, 90 * label, len(split) * 9))
                pixels.save(root / split / name / f"{item}.png")
    return root


def test_a_folders_own_validation_images_are_evaluated(tmp_path):
    three = open_source(Folder(path=str(_folder(tmp_path / "three", {"train": 5, "val": 2, "test": 3}))))
    assert three.validation_or_test is three.validation is not three.test
    assert [len(part.labels) for part in (three.train, three.validation_or_test, three.test)] == [10, 4, 6]
    two = open_source(Folder(path=str(_folder(tmp_path / "two", {"train": 5, "validation": 2}))))
    assert two.validation_or_test is two.test is two.validation
    one = open_source(Folder(path=str(_folder(tmp_path / "one", {"": 20}))))
    assert (len(one.train.labels), len(one.test.labels), one.validation_or_test is one.test) == (36, 4, True)


def test_the_test_set_is_not_used_for_model_selection(tmp_path):
    source = open_source(Folder(path=str(_folder(tmp_path, {"train": 20, "test": 3}))))
    assert source.validation is None
    chosen = with_validation(source)
    assert [len(part.labels) for part in (chosen.train, chosen.validation_or_test, chosen.test)] == [36, 4, 6]
    assert sorted(chosen.validation_or_test.labels) == [0, 0, 1, 1]  # a tenth of each class
    names = [
        {part.name(index) for index in range(len(part.labels))} for part in (chosen.train, chosen.validation_or_test)
    ]
    assert not names[0] & names[1]
    assert names[0] | names[1] == {source.train.name(index) for index in range(40)}
    assert fingerprint(chosen) == fingerprint(with_validation(source)) != fingerprint(source)
    few = open_source(Folder(path=str(_folder(tmp_path / "few", {"train": 1, "test": 1}))))
    with pytest.raises(InputError, match="no class has two training images"):
        with_validation(few)


# --- the best epoch


def best(out, **changes):
    return tiny(out, epochs=4, choose="best", data=Digits(train_images=256), **changes)


@pytest.fixture(scope="module")
def chosen(tmp_path_factory):
    out = tmp_path_factory.mktemp("chosen") / "run"
    return out, run(best(out, evaluate_every=3))


def test_the_best_epoch_on_validation_images_is_what_the_run_gives(chosen):
    out, summary = chosen
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    seen = {line["epoch"]: line["top1"] for line in lines if "top1" in line}
    assert sorted(seen) == [1, 2, 3, 4]
    top = max(seen.values())
    assert summary["chosen_epoch"] == next(epoch for epoch, top1 in seen.items() if top1 == top)
    assert summary["validation_top1"] == pytest.approx(top)
    assert summary["chosen_on"] == "validation"


def test_an_early_best_epoch_is_kept_while_training_goes_on(tmp_path, monkeypatch):
    """Its weights are those of a run that ended there on the same schedule."""
    from cosub.train.trainer import Trainer

    evaluate, seen = Trainer.evaluate, []

    def scripted(self, *args, **settings):
        result = evaluate(self, *args, **settings)
        if settings.get("network") is not None:
            seen.append({name: value.clone() for name, value in self.networks.latest.state_dict().items()})
            result = dataclasses.replace(result, top1=[0.1, 0.8, 0.8, 0.3][len(seen) - 1])
        return result

    monkeypatch.setattr(Trainer, "evaluate", scripted)
    summary = run(best(tmp_path / "run", ema=0.9))
    assert summary["chosen_epoch"] == 2  # the first of equal ones
    kept = weights(tmp_path / "run")
    assert all(torch.equal(value, seen[1][name]) for name, value in kept.items())
    assert any(not torch.equal(value, seen[3][name]) for name, value in kept.items())


@pytest.mark.slow
def test_the_choice_survives_a_kill(chosen, tmp_path):
    out, summary = chosen
    recipe = best(tmp_path / "run", checkpoint_every=1)
    run_and_kill(recipe, 7)  # after the last epoch has begun
    again = run(recipe)
    assert again["chosen_epoch"] == summary["chosen_epoch"]
    assert all(torch.equal(value, weights(out)[name]) for name, value in weights(tmp_path / "run").items())


def test_from_weights_to_prediction(chosen, tmp_path, capsys):
    """The whole way: fine-tune a run's network on a folder of images of another size, then ask it."""
    out, _ = chosen
    folder = _folder(tmp_path / "data", {"train": 20, "val": 4})
    words = ["train", "finetune", "--weights", str(out), "--data.path", str(folder), "--resolution", "12"]
    words += ["--epochs", "2", "--batch-size", "16", "--group-size", "16", "--out", str(tmp_path / "tuned")]
    assert main([*words, "--optimizer.warmup-epochs", "0"]) == 0
    said = capsys.readouterr().err
    assert "position" in said  # the embedding was resampled, and that is told
    assert "block 2" in said  # the table of rates
    assert main(["predict", str(tmp_path / "tuned"), str(folder / "val"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["predictions"]
    assert len(found) == 8
    assert {item["class"] for item in found[0]["classes"]} == {"cat", "dog"}


def test_official_files_decide_by_the_models_own_values(tmp_path):
    file = tmp_path / "official.pth"
    recipe = dataclasses.replace(get("finetune"), model="swin_tiny_patch4_window7_224", weights=str(file))
    found = infer(recipe)  # the file itself is read when the run begins
    assert (found.recipe.resolution, found.recipe.inputs.crop_ratio) == (224, 0.9)
    assert found.lines()[0].endswith("from timm's swin_tiny_patch4_window7_224.ms_in1k")
