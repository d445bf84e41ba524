"""Fine-tuning small folders: what follows from the number of images, what is said of it, and what it takes."""

import contextlib
import dataclasses
import io
import json
import re
from unittest.mock import Mock

import pytest
import timm
import torch
from test_finetuning import _folder
from tiny import TINY, call, run, run_and_kill, tiny, weights

from cosub.cli import main
from cosub.cli.train import understand
from cosub.data.overview import overview
from cosub.data.sources import open_source
from cosub.recipes import get
from cosub.recipes.data import Digits, Folder
from cosub.recipes.files import dump, identity, read
from cosub.submodel import count
from cosub.train import launch
from cosub.train.few_images import batch_for, epochs_for, warmup_for
from cosub.train.finetuning import BEGUN, training_images


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """Weights to start from: those of a run that nobody trained."""
    out = tmp_path_factory.mktemp("start") / "run"
    run(tiny(out, epochs=1))
    return out


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return _folder(tmp_path_factory.mktemp("images"), {"": 50})  # 90 to train, 10 held out


def words(start, folder, *more):
    return ["finetune", "--weights", str(start), "--data.path", str(folder), *map(str, more)]


# --- the rule


@pytest.mark.parametrize(
    ("images", "epochs"), [(1, 3), (180, 3), (300, 3), (301, 4), (1000, 10), (2901, 30), (10**6, 30)]
)
def test_an_epoch_for_each_hundred_images(images, epochs):
    assert epochs_for(images) == epochs


def test_the_warm_up_is_a_fifth_at_most_two_epochs():
    assert [warmup_for(epochs) for epochs in (3, 8, 10, 30)] == [0.6, 1.6, 2.0, 2.0]


@pytest.mark.parametrize("images", [8, 20, 90, 180, 255, 256, 10_000])
@pytest.mark.parametrize("copies", [1, 2])
@pytest.mark.parametrize("rate", [0.05, 0.2, 0.45])
def test_a_batch_of_any_set_drops_rows(images, copies, rate):
    batch = batch_for(images, copies, rate, "nearest")
    dropped = 1 - count(batch * copies, [rate])[0] / (batch * copies)
    assert 0 < dropped < 2 * rate
    assert batch <= max(images // 4, 16)


def test_batches_of_large_sets_are_as_before():
    assert [batch_for(images, 2, 0.05, "nearest") for images in (256, 255, 127, 63, 31)] == [64, 32, 16, 8, 8]
    assert batch_for(31, 1, 0.05, "nearest") == 16  # of eight rows none would be dropped
    assert batch_for(31, 2, 0.0, "nearest") == 64  # no size drops any, so there is nothing to choose by


# --- the recipe of a command


def test_the_recipe_is_made_for_the_images_that_are_there(start, folder, capsys):
    recipe, _ = understand(words(start, folder))
    assert (recipe.epochs, recipe.batch_size, recipe.group_size) == (3, 16, 16)
    assert (recipe.head, recipe.optimizer.warmup_epochs) == ("probe", 0.6)
    said = capsys.readouterr().err
    assert "inferred: batch_size 16 and group_size 16, for 90 training images\n" in said
    assert "inferred: epochs 3 and optimizer.warmup_epochs 0.6, for 90 training images" in said
    recipe, _ = understand(words(start, "nowhere"))
    assert (recipe.epochs, recipe.batch_size) == (30, 64)  # training then says that there is no such folder


def test_what_is_given_goes_first_and_the_rest_follows_it(start, folder, capsys):
    recipe, _ = understand(words(start, folder, "--epochs", 8, "--batch-size", 64, "--resolution", 12))
    assert (recipe.epochs, recipe.batch_size, recipe.group_size) == (8, 64, 64)
    assert recipe.optimizer.warmup_epochs == 1.6
    said = capsys.readouterr().err
    assert f"inferred: model vit_tiny_patch16_224 at resolution 12, from {start}, but for resolution as given" in said
    assert "epochs 8 and optimizer.warmup_epochs 1.6" in said
    assert "but for epochs as given" in said
    assert "inferred: batch_size" not in said


def test_no_line_says_other_than_what_runs(start, folder, capsys):
    given = {"--drop-rate": 0.3, "--optimizer.layer-decay": 0.9, "--crop-ratio": 0.7, "--epochs": 5, "--head": "zero"}
    recipe, _ = understand(words(start, folder, *(word for pair in given.items() for word in pair)))
    said = capsys.readouterr().err
    assert "table A.1" not in said  # both of its values are given
    assert "crop_ratio 0.7 (bicubic), from" in said
    assert "but for crop_ratio as given" in said
    assert (recipe.head, recipe.runtime.inferred.count("drop_rate")) == ("zero", 0)
    assert {"resolution", "batch_size", "inputs.mean"} <= set(recipe.runtime.inferred)


@pytest.mark.parametrize(("more", "epochs", "batch"), [(["--images", "1000"], 10, 64), ([], 3, 16)])
def test_a_dry_run_plans_for_the_images_that_are_stated_or_lie_there(more, epochs, batch, start, folder, capsys):
    status, out, _ = call(capsys, "train", *words(start, folder), "--dry-run", "--classes", 2, *more, "--json")
    planned = json.loads(out)
    assert (status, planned["recipe"]["epochs"], planned["recipe"]["batch_size"]) == (0, epochs, batch)
    assert planned["steps"] == epochs * planned["steps_per_epoch"]


@pytest.mark.parametrize(("more", "batch", "group"), [
    (["--batch-size", 12], 12, 12), (["--batch-size=12"], 12, 12), (["--group-size", 4], 16, 4),
    (["--group-size", 24], 24, 24), (["--batch-size", 24, "--group-size", 8], 24, 8), (["--batch-size", 128], 128, 64),
])  # fmt: skip
def test_of_batch_and_group_one_follows_from_the_other(more, batch, group, start, folder, tmp_path, capsys):
    recipe, _ = understand(words(start, folder, *more, "--out", tmp_path / "run"))
    assert (recipe.batch_size, recipe.group_size) == (batch, group)
    said = capsys.readouterr().err
    lines = {"--batch-size": f"inferred: group_size {group}, for batches of {batch}",
             "--group-size": f"inferred: batch_size {batch}, for 90 training images in groups of {group}"}  # fmt: skip
    for flag, line in lines.items():
        assert (line in said) == (len(more) < 3 and more[0].startswith(flag))


def test_a_batch_that_is_no_number_is_one_line(start, folder, capsys):
    status, _, err = call(capsys, "train", *words(start, folder, "--batch-size", "many"))
    assert (status, err.count("\n")) == (2, 1)
    assert "batch-size" in err


def test_embedded_images_are_counted_without_a_path():
    assert training_images(get("digits"), local=True) == 1437
    assert training_images(dataclasses.replace(get("digits"), data=Folder(path="nowhere")), local=True) is None


def test_a_large_set_is_not_probed(start, folder, capsys):
    dry = ["--dry-run", "--classes", 2, "--json", "--images"]
    heads = [json.loads(call(capsys, "train", *words(start, folder), *dry, images)[1])["recipe"]["head"]
             for images in (20_000, 20_001)]  # fmt: skip
    assert heads == ["probe", "zero"]


def test_a_run_from_before_the_rule_goes_on_as_it_began(start, folder, tmp_path, capsys):
    """Its recipe.json has no word of what was inferred, and other values."""
    recipe, _ = understand(words(start, folder, "--out", tmp_path / "run"))
    optimizer = dataclasses.replace(recipe.optimizer, warmup_epochs=2.0)
    before = dataclasses.replace(
        recipe, head="zero", lr=1e-3, epochs=20, batch_size=32, group_size=32, optimizer=optimizer
    )
    written = json.loads(dump(before))
    del written["runtime"]["inferred"]
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "recipe.json").write_text(json.dumps(written))
    assert identity(read(tmp_path / "run" / "recipe.json")) == identity(before)
    capsys.readouterr()
    again, _ = understand(words(start, folder, "--out", tmp_path / "run"))
    assert identity(again) == identity(before)
    said = capsys.readouterr().err
    assert "inferred: head, lr, epochs, batch_size, group_size as in" in said  # its warm-up is the recipe's
    assert "for 90 training images" not in said
    assert set(BEGUN) >= {"inputs", "head", "lr", "epochs", "batch_size", "group_size"}


# --- the run


@pytest.fixture(scope="module")
def tuned(start, folder, tmp_path_factory):
    out, said = tmp_path_factory.mktemp("tuned") / "run", io.StringIO()
    with contextlib.redirect_stderr(said):
        assert main(["train", *words(start, folder, "--resolution", 12, "--out", out)]) == 0
    return out, said.getvalue()


def test_an_inferred_rate_is_no_surprise_and_a_given_one_is(start, folder, tuned, tmp_path, capsys):
    assert re.findall("WARNING: (.*)", tuned[1]) == ["4 residual layers are few for dropping layers: accuracy may drop"]
    more = ["--resolution", 12, "--epochs", 1, "--drop-rate", 0.08, "--out", tmp_path / "run"]
    assert "below 0.1 saves memory" in call(capsys, "train", *words(start, folder, *more))[2]


def test_the_time_is_reported_before_the_first_step(tuned):
    (line,) = [line for line in tuned[1].splitlines() if line.startswith("time:")]
    assert re.fullmatch(
        r"time: about [\d.]+ s on this machine, as busy as it is now: 15 steps of [\d.]+ s, and [\d.]+ s for .*", line
    )
    assert tuned[1].index("time:") < tuned[1].index("result")


def test_images_that_choose_the_epoch_are_called_validation(tuned, folder):
    said = tuned[1]
    assert "90 to train, 10 to validate, 2 classes" in said
    assert re.search(r"validation +10 images held out of", said)
    assert re.search(r"top-1 +\d+\.\d\d% \(full network, 10 validation images\)", said)
    assert not re.search(r"\btest\b", said)
    summary = json.loads((tuned[0] / "summary.json").read_text())
    assert (summary["chosen_on"], summary["reported_on"]) == ("validation", "validation")
    assert "validation" in overview(open_source(Folder(path=str(folder))))
    of_before = {**summary, "chosen_on": "test", "chosen_epoch": 2}  # in its words
    del of_before["reported_on"]
    rows = launch.result_table(get("finetune"), of_before)
    assert rows["chosen"] == "epoch 2, by these images, so it is optimistic"


def test_the_fitted_network_is_the_first_that_may_be_the_best(tmp_path, start, folder, monkeypatch):
    """Where training makes it worse, the run gives the network from before the first step."""
    from cosub.train.trainer import Trainer

    evaluate, seen = Trainer.evaluate, []

    def scripted(self, *args, **settings):
        result = evaluate(self, *args, **settings)
        if settings.get("network") is not None:
            seen.append({name: value.clone() for name, value in self.networks.latest.state_dict().items()})
            result = dataclasses.replace(result, top1=[0.8, 0.7, 0.8, 0.3][len(seen) - 1])
        return result

    monkeypatch.setattr(Trainer, "evaluate", scripted)
    recipe, _ = understand(words(start, folder, "--resolution", 12, "--out", tmp_path / "run"))
    told = Mock(spec=["logged", "evaluated"])
    summary = launch.train(recipe, [told])
    assert (summary["chosen_epoch"], len(seen)) == (0, 4)
    *during, last = [call.args[0] for call in told.evaluated.call_args_list]
    assert {line["epoch"]: line["validation_top1"] for line in during} == {0: 0.8, 1: 0.7, 2: 0.8, 3: 0.3}
    steps = summary["steps"]  # the accuracy of a chosen epoch is not that of the last
    assert last == {"step": steps, "epoch": 0, "validation_top1": summary["validation_top1"]}
    kept = weights(tmp_path / "run")
    assert all(torch.equal(value, seen[0][name]) for name, value in kept.items())
    assert any(not torch.equal(value, seen[3][name]) for name, value in kept.items())
    assert "before the first step" in launch.result_table(recipe, summary)["chosen"]
    first = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[0])
    assert first == {"step": 0, "epoch": 0, "top1": 0.8}


def test_a_run_whose_classifier_is_not_fitted_chooses_among_its_epochs(tmp_path):
    summary = run(tiny(tmp_path / "run", epochs=2, choose="best", data=Digits(train_images=256)))
    assert summary["chosen_epoch"] >= 1
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert min(line["step"] for line in lines) > 0


@pytest.mark.parametrize("model", ["vit", pytest.param("resnet", marks=pytest.mark.slow)])
def test_timing_a_step_leaves_the_run_as_it_was(model, tmp_path, monkeypatch):
    """To the bit, with dropout, running statistics and averaged weights."""
    settings = {"vit": ("vit_tiny_patch16_224", TINY), "resnet": ("resnet10t", {})}
    name, arguments = settings[model]
    network = timm.create_model(name, num_classes=3, **arguments, **({"img_size": 8} if model == "vit" else {}))
    torch.save(network.state_dict(), tmp_path / "three.pth")
    changes = {"model": name, "model_args": arguments, "weights": str(tmp_path / "three.pth"), "ema": 0.9}
    changes |= {"resolution": 8 if model == "vit" else 32, "data": Digits(train_images=128), "epochs": 2}
    with_it = run(tiny(tmp_path / "with", **changes))
    monkeypatch.setattr(launch, "forecast", lambda trainer: "")
    without = run(tiny(tmp_path / "without", **changes))
    assert with_it["top1"] == without["top1"]
    first, second = weights(tmp_path / "with"), weights(tmp_path / "without")
    assert all(torch.equal(value, second[key]) for key, value in first.items())


@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_bit(start, folder, tmp_path, tuned):
    recipe, _ = understand(words(start, folder, "--resolution", 12, "--out", tmp_path / "run", "--checkpoint-every", 1))
    run_and_kill(recipe, 7)
    run(recipe)
    first, second = weights(tuned[0]), weights(tmp_path / "run")
    assert all(torch.equal(value, second[key]) for key, value in first.items())


def test_twenty_images_train_with_rows_dropped(tmp_path, start, capsys):
    """By the command as it is documented: no option is needed because they are few."""
    folder = _folder(tmp_path / "data", {"train": 10, "val": 4})
    status, _, said = call(capsys, "train", *words(start, folder, "--resolution", 12, "--out", tmp_path / "run"))
    assert status == 0
    assert re.search(r"rows kept +15 of 16 per layer and group", said)
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["effective_drop_rate"] == 1 / 16
