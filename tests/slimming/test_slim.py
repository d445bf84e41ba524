"""Slimmed networks: what is taken out is gone, what stays gives the same logits, and is well chosen."""

import csv
import dataclasses
import json
import shutil

import pytest
import timm
import torch
from conftest import SMALL, frozen
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tiny import call, run, tiny

import cosub
from cosub.attachment import layers_per_block, state
from cosub.cli import main
from cosub.data.sources import open_source, with_validation
from cosub.errors import InputError
from cosub.evaluation.images import Images
from cosub.losses import label_loss
from cosub.recipes import get
from cosub.recipes.data import Digits
from cosub.recipes.inputs import Inputs
from cosub.runs.folder import Trained, load_run
from cosub.runs.network import build_network
from cosub.slimming.calibration_set import calibration_images
from cosub.slimming.making import make, recalibrate
from cosub.slimming.scorer import Scorer
from cosub.slimming.strategies import choose, cost, ends, every_other
from cosub.train.teachers import load_teacher
from cosub.twins import TWINS
from cosub.twins.removal import blocks_of, remove_layers
from cosub.twins.vit import ViTBlock


def num_layers(model):
    return sum(TWINS[type(block)].layers_of(block) for block in blocks_of(model))


def some(total, pattern):
    """Ways of choosing layers: half-blocks; the first block and the end of the last gone; a single layer."""
    choices = {
        "alternate": range(0, total, 2),
        "middle": range(min(2, total - 2), total - 1),
        "one": [total // 2],
    }
    return list(choices[pattern])


PATTERNS = {"alternate": 1.5, "middle": 1.0, "one": 1.5}


@pytest.mark.parametrize(("pattern", "scale"), PATTERNS.items())
def test_a_slimmed_network_equals_the_full_one_with_the_same_layers_off(build, images, pattern, scale):
    total = num_layers(build())
    kept = some(total, pattern)
    full = cosub.attach(build().eval(), drop_rate=0.2)
    slim = cosub.attach(remove_layers(build().eval(), kept), drop_rate=0.2)
    state(slim).scale = scale
    with torch.no_grad():
        with cosub.active(full, cosub.keep_layers(kept, total, len(images), scale)):
            expected = full(images)
        torch.testing.assert_close(slim(images), expected, atol=1e-5, rtol=1e-5)
    assert sum(layers_per_block(slim)) == len(kept)
    names = dict(slim.named_parameters())
    assert names.keys() <= dict(full.named_parameters()).keys()
    assert all(names[name].shape == value.shape for name, value in full.named_parameters() if name in names)
    assert sum(value.numel() for value in names.values()) < sum(value.numel() for value in full.parameters())


def test_each_parameter_of_a_block_is_of_one_branch_or_of_what_lies_around_it(build):
    for block in blocks_of(build()):
        twin = TWINS[type(block)]
        named = [name for branch in twin.branches_of(block) for name in branch]
        assert len(named) == len(set(named))
        around = [
            name for name, _ in block.named_parameters() if not f"{name}.".startswith(tuple(f"{n}." for n in named))
        ]
        others = {name.split(".")[0] for name in around}
        pooled = {"norm1", "proj"} if getattr(block, "do_expand", False) else set()  # Hiera's shortcut
        assert others <= {"downsample", "shortcut"} | pooled
        assert len(twin.branches_of(block)) == twin.layers_of(block)


def test_a_slimmed_network_trains(build, images):
    slim = frozen(cosub.attach(remove_layers(build(), some(num_layers(build()), "alternate")), 0.3, copies=2).train())
    state(slim).scale = 1.2
    logits = slim(images)
    assert logits.shape == (2 * len(images), 5)
    logits.sum().backward()
    assert all(parameter.grad is not None for parameter in slim.parameters())


# --- what submodels are worth


def scorer_of(model, number=7, batch_size=4, loss="ce", size=32):
    generator = torch.Generator().manual_seed(3)
    pixels = torch.randint(0, 256, (number, 3, size, size), dtype=torch.uint8, generator=generator)
    labels = torch.randint(0, 5, (number,), generator=generator)
    images = Images(pixels, labels, Inputs())
    return Scorer(cosub.attach(model.eval(), drop_rate=0.2), images, loss, batch_size)


@torch.no_grad()
def plain_loss(scorer, kept):
    total = 0.0
    for images, labels in scorer.images.batches(scorer.batch_size, torch.device("cpu")):
        with cosub.active(scorer.network, cosub.keep_layers(kept, scorer.num_layers, len(images))):
            total += label_loss(scorer.network(images), labels, scorer.loss).double() * len(labels)
    return float(total / len(scorer.images))


def test_features_before_the_first_change_are_computed_once_and_losses_are_equal_to_the_bit(build):
    scorer = scorer_of(build())
    full = scorer.everything
    base = tuple(layer for layer in full if layer != full[len(full) // 2])
    candidates = [tuple(layer for layer in base if layer != one) for one in base[:: max(len(base) // 4, 1)]]
    candidates += [base, full, base[-1:]]
    assert scorer.losses(base, candidates) == [plain_loss(scorer, candidate) for candidate in candidates]
    assert scorer.evaluations == len(candidates)


def test_blocks_before_the_first_change_do_not_run_again(monkeypatch):
    scorer = scorer_of(SMALL["vit"](), number=4)
    ran, run = [], ViTBlock.run
    monkeypatch.setattr(ViTBlock, "run", lambda self, *args, **kwargs: ran.append(self) or run(self, *args, **kwargs))
    scorer.losses(scorer.everything, [scorer.everything[:-1], scorer.everything[1:]])
    assert len(ran) == 4 + 1 + 4


# --- which layers


PLANTED = (1, 2, 6)  # layers of the small ViT that do nothing


def planted():
    torch.manual_seed(0)
    model = SMALL["vit"]()
    for layer in PLANTED:
        block = model.blocks[layer // 2]
        torch.nn.init.zeros_((block.ls1 if layer % 2 == 0 else block.ls2).gamma)
    return scorer_of(model)


@pytest.mark.parametrize("strategy", ["layerscale", "cosine"])
def test_layers_that_do_nothing_go_first(strategy):
    expected = tuple(layer for layer in range(8) if layer not in PLANTED)
    assert choose(strategy, planted(), [5])[5] == expected


def test_greedy_takes_the_lowest_loss_at_each_step():
    scorer = planted()
    chosen = choose("greedy", scorer, [6, 7])
    best = scorer.everything
    for depth in (7, 6):
        options = [tuple(layer for layer in best if layer != one) for one in best]
        best = min(options, key=lambda option: (plain_loss(scorer, option), option))
        assert chosen[depth] == best
    assert scorer.evaluations == 8 + 7 == cost("greedy", 8, 6)


def test_with_many_batches_the_worse_half_of_a_quarter_goes_no_further():
    scorer = scorer_of(SMALL["vit"](), number=8, batch_size=1)
    candidates = [tuple(x for x in range(8) if x != one) for one in range(8)]
    found = scorer.halve_candidates(scorer.everything, candidates)
    few = dataclasses.replace(scorer, images=dataclasses.replace(
        scorer.images, pixels=scorer.images.pixels[:2], labels=scorer.images.labels[:2]))  # fmt: skip
    assert set(found) == set(sorted(candidates, key=lambda candidate: plain_loss(few, candidate))[:4])
    assert all(loss == pytest.approx(plain_loss(scorer, candidate)) for candidate, loss in found.items())


def test_leave_one_out_keeps_what_is_missed_most():
    scorer = planted()
    without = {layer: plain_loss(scorer, tuple(x for x in range(8) if x != layer)) for layer in range(8)}
    expected = sorted(without, key=lambda layer: -without[layer])[:3]
    assert choose("leave-one-out", scorer, [3])[3] == tuple(sorted(expected))


def test_a_search_stays_within_its_evaluations_and_finds_no_worse_than_greedy():
    scorer = planted()
    greedy = choose("greedy", scorer, [4])[4]
    scorer.evaluations = 0
    found = choose("search", scorer, [4], evaluations=80)[4]
    assert 26 < scorer.evaluations <= 80
    assert plain_loss(scorer, found) <= plain_loss(scorer, greedy)
    with pytest.raises(InputError, match="evaluations: 25: greedy alone takes 26 from 8 to 4"):
        choose("search", scorer, [4], evaluations=25)


def test_layerscale_needs_one():
    with pytest.raises(InputError, match="layerscale"):
        choose("layerscale", scorer_of(SMALL["swin"]()), [3])


def test_every_other_and_ends():
    assert every_other([2] * 4, 4) == (0, 1, 6, 7)
    assert every_other([2] * 4, 5) == (0, 1, 4, 6, 7)
    assert all(len(every_other([2, 1, 3, 2], depth)) == depth for depth in range(1, 9))
    assert every_other([2] * 4, 8) == tuple(range(8))
    assert ends(8, 3) == (0, 1, 7)
    assert ends(8, 8) == tuple(range(8))


# --- the network


def test_the_factor_with_the_lowest_loss_is_taken(tmp_path):
    recipe = tiny(tmp_path)
    before = Trained(recipe, tuple("abcde"), build_network(recipe, 5, 1).eval())
    images = scorer_of(SMALL["vit"](), size=8).images
    slimmed = make(before, (0, 2), images, "ce", 4)
    assert list(slimmed.losses) == [1.0, 1.1892, 1.4142, 1.6818, 2.0]
    assert slimmed.loss == min(slimmed.losses.values()) == slimmed.losses[slimmed.factor]
    assert (slimmed.recipe.kept_layers, slimmed.recipe.kept_scale) == ((0, 2), slimmed.factor)
    twice = make(Trained(slimmed.recipe, before.classes, slimmed.network), (1,), images, "ce", 4)
    assert twice.recipe.kept_layers == (2,)
    assert twice.recipe.kept_scale == pytest.approx(slimmed.factor * twice.factor)


def test_weights_are_shared_with_the_run_and_statistics_are_not(tmp_path):
    recipe = dataclasses.replace(tiny(tmp_path), model="resnet10t", model_args={}, resolution=32)
    before = Trained(recipe, tuple("abcde"), build_network(recipe, 5, 1).eval())
    mean = before.network.get_submodule("bn1").running_mean.clone()
    slimmed = make(before, (1, 2), scorer_of(SMALL["vit"]()).images, "ce", 4)
    assert slimmed.network.fc.weight.data_ptr() == before.network.fc.weight.data_ptr()
    assert torch.equal(before.network.get_submodule("bn1").running_mean, mean)
    assert not torch.equal(slimmed.network.get_submodule("bn1").running_mean, mean)


def test_a_network_that_keeps_all_layers_is_that_of_the_run(tmp_path):
    recipe = dataclasses.replace(tiny(tmp_path), model="resnet10t", model_args={}, resolution=32, kept_scale=1.3)
    before = Trained(recipe, tuple("abcde"), build_network(recipe, 5, 1).eval())
    scorer = scorer_of(SMALL["vit"]())
    slimmed = make(before, tuple(range(4)), scorer.images, "ce", 4)
    assert (slimmed.losses, slimmed.recipe.kept_scale) == ({1.0: slimmed.loss}, 1.3)
    after = slimmed.network.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.network.state_dict().items())
    batch, _ = next(scorer.images.batches(4, torch.device("cpu")))
    with torch.no_grad():
        assert torch.equal(slimmed.network(batch), before.network(batch))


def test_batch_norm_gets_the_statistics_of_the_images():
    network = cosub.attach(SMALL["resnet18"](), 0.2, copies=1).eval()
    images = scorer_of(SMALL["vit"](), number=9).images
    recalibrate(network, images, 4)  # the ninth image is no whole batch
    pixels = torch.cat([batch for batch, _ in list(images.batches(4, torch.device("cpu")))[:2]])
    expected = network.conv1(pixels).mean((0, 2, 3))
    torch.testing.assert_close(network.bn1.running_mean, expected, atol=1e-5, rtol=1e-4)
    assert not network.bn1.training
    assert network.bn1.momentum == 0.1


@pytest.mark.parametrize("layers", [(1, 0), (0, 0), (-1,)])
def test_a_recipe_names_layers_in_order(layers):
    with pytest.raises(InputError, match="kept_layers"):
        dataclasses.replace(get("digits"), kept_layers=layers)


# --- the verb


@pytest.fixture(scope="module")
def slimmed(finished):
    assert main(["slim", str(finished), "--keep", "2", "--unit", "layer", "--images", "40"]) == 0
    return finished.with_name("run-slim-2")


def test_a_slimmed_run_is_a_run(slimmed, finished, capsys, tmp_path):
    summary = json.loads((slimmed / "summary.json").read_text())
    full = json.loads((finished / "summary.json").read_text())
    about = summary["slim"]
    assert (about["layers"], about["layers_full"], about["top1_full"]) == (2, 4, full["top1"])
    assert about["params"] < about["params_full"]
    assert set(full) - set(summary) == {"data", "effective_drop_rate", "processes", "threads", "skipped_steps"}
    recipe = json.loads((slimmed / "recipe.json").read_text())
    assert recipe["kept_layers"] == about["kept_layers"]
    assert json.loads(call(capsys, "evaluate", slimmed, "--json")[1])["top1"] == summary["top1"]
    Image.fromarray(open_source(Digits()).test.pixels[0]).save(tmp_path / "digit.png")
    assert call(capsys, "predict", slimmed, tmp_path / "digit.png")[0] == 0
    words = ["slim", slimmed, "--keep", 1, "--unit", "layer", "--images", 40, "--out", tmp_path / "one"]
    status, out, _ = call(capsys, *words, "--json")
    assert status == 0
    (last,) = json.loads(out)["slim"]["kept_layers"]
    assert last in recipe["kept_layers"]


def test_a_slimmed_run_is_exported_as_timms_own_smaller_model(finished, capsys, tmp_path):
    slim = ["slim", finished, "--keep", 1, "--strategy", "every-other", "--images", 40, "--out", tmp_path / "slim"]
    assert call(capsys, *slim)[0] == 0
    status, out, _ = call(capsys, "export", tmp_path / "slim", "--out", tmp_path / "timm", "--json")
    assert (status, json.loads(out)["module"]) == (0, False)
    plain = timm.create_model(f"local-dir:{tmp_path / 'timm'}", pretrained=True).eval()
    assert len(plain.blocks) == 1
    images = torch.randn(5, 3, 8, 8)
    torch.testing.assert_close(plain(images), cosub.load(tmp_path / "slim")(images), rtol=1e-5, atol=1e-5)


def test_the_same_request_is_computed_once_and_another_does_not_overwrite(slimmed, finished, capsys):
    before = (slimmed / "summary.json").stat().st_mtime_ns
    assert call(capsys, "slim", finished, "--keep", 2, "--images", 40)[0] == 0
    assert (slimmed / "summary.json").stat().st_mtime_ns == before
    assert call(capsys, "slim", finished, "--keep", 2, "--unit", "layer", "--images", 40)[0] == 0
    assert call(capsys, "slim", finished, "--keep", 2, "--unit", "block", "--images", 40)[0] == 2
    status, _, err = call(capsys, "slim", finished, "--keep", 2, "--images", 41)
    assert (status, "exists and holds something else" in err) == (2, True)


def test_a_run_that_was_trained_again_is_another(finished, capsys, tmp_path):
    shutil.copytree(finished, tmp_path / "run")
    words = ("slim", tmp_path / "run", "--keep", 1, "--images", 40)
    assert call(capsys, *words)[0] == 0
    status, _, err = call(capsys, *words, "--latency-batch", 2)
    assert (status, "by other options" in err) == (2, True)
    weights = load_file(tmp_path / "run" / "model.safetensors")
    with safe_open(tmp_path / "run" / "model.safetensors", "pt") as file:
        about = file.metadata()
    weights["head.bias"] += 1
    save_file(weights, tmp_path / "run" / "model.safetensors", about)
    status, _, err = call(capsys, *words)
    assert (status, "of another run" in err) == (2, True)


def test_a_slimmed_run_is_found_from_elsewhere(finished, capsys, tmp_path, monkeypatch):
    shutil.copytree(finished, tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    assert call(capsys, "slim", "run/", "--keep", 1, "--images", 40)[0] == 0
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    again = cosub.Run(tmp_path / "run").slim(keep=1, images=40)
    assert again.folder == tmp_path / "run-slim-1"
    monkeypatch.chdir(tmp_path / "run")
    _, out, _ = call(capsys, "slim", ".", "--keep", 1, "--images", 40, "--json")
    assert json.loads(out)["run"] == str(tmp_path / "run-slim-1")


def test_healing_trains_the_slimmed_network_with_the_full_one_as_teacher(slimmed, finished, capsys):
    status, out, _ = call(capsys, "slim", finished, "--keep", 2, "--images", 40, "--heal", 1, "--json")
    assert status == 0
    assert json.loads(out)["healed"]["steps"] == 22
    healed = load_run(slimmed.with_name("run-slim-2-healed"))
    assert healed.recipe.kept_layers == load_run(slimmed).recipe.kept_layers
    assert (healed.recipe.method.kind, healed.recipe.method.teacher) == ("distill", str(finished))
    keys = healed.network.state_dict().keys()
    assert keys == load_run(slimmed).network.state_dict().keys()


@pytest.mark.parametrize("model", ["", "test_resnet"])
def test_healing_starts_from_the_slimmed_network(tmp_path, monkeypatch, capsys, model):
    run(tiny(tmp_path / "run", **({"model": model, "model_args": {}, "resolution": 32} if model else {})))
    monkeypatch.setattr("cosub.slimming.slim._HEALING_RATE", 1e-20)
    words = ["--keep", 2, "--unit", "layer", "--images", 40, "--heal", 1]
    assert call(capsys, "slim", tmp_path / "run", *words)[0] == 0
    slimmed, healed = (load_run(tmp_path / f"run-slim-2{ending}").network for ending in ("", "-healed"))
    for name, value in slimmed.named_parameters():
        torch.testing.assert_close(healed.get_parameter(name), value, rtol=0, atol=1e-6)


def test_a_run_that_chose_its_epoch_is_slimmed_on_images_that_it_was_trained_on(tmp_path, monkeypatch, capsys):
    run(tiny(tmp_path / "run", choose="best"))
    seen = []

    def note(source, *arguments):
        seen.append(source)
        return calibration_images(source, *arguments)

    monkeypatch.setattr("cosub.slimming.slim.calibration_images", note)
    assert call(capsys, "slim", tmp_path / "run", "--keep", 2, "--unit", "layer", "--images", 40)[0] == 0
    trained = with_validation(open_source(Digits()))
    assert list(seen[0].train.labels) == list(trained.train.labels)
    assert len(seen[0].train.labels) < 1437


def test_a_slimmed_run_is_a_teacher(slimmed, tmp_path):
    trained = load_run(slimmed)
    teacher, _ = load_teacher(str(slimmed), trained.classes, 8, tmp_path)
    image = torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(teacher(image), trained.network(image))


def test_a_frontier_has_every_depth_and_strategy_and_the_one_to_beat(finished, capsys, tmp_path):
    words = ["--depths", 3, 1, "--unit", "layer", "--strategies", "greedy", "ends", "--images", 20, "--test-images", 30]
    status, out, _ = call(capsys, "slim", finished, "--frontier", *words, "--out", tmp_path / "f", "--json")
    assert status == 0
    points = json.loads(out)["points"]
    made = [(point["strategy"], point["layers"]) for point in points]
    names = ("every-other", "ends", "greedy")
    assert made == [("full network", 4), *[(name, depth) for name in names for depth in (3, 1)]]
    with (tmp_path / "f" / "frontier.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["top1"]) for row in rows] == [point["top1"] for point in points]
    assert all(float(row["milliseconds"]) > 0 for row in rows)
    assert points[0]["params"] > points[1]["params"] > points[2]["params"]
    with Image.open(tmp_path / "f" / "frontier.png") as picture:
        assert picture.width > 800
    assert "exists and is not an empty" in call(capsys, "slim", finished, "--frontier", "--out", tmp_path / "f")[2]


@pytest.mark.parametrize("model", ["", "test_resnet"])
def test_a_frontier_measures_what_the_other_verbs_measure(tmp_path, capsys, model):
    out = tmp_path / "run"
    summary = run(tiny(out, **({"model": model, "model_args": {}, "resolution": 32} if model else {})))
    words = ["--depths", 2, "--unit", "layer", "--strategies", "ends", "--images", 40, "--test-images", 360]
    _, found, _ = call(capsys, "slim", out, "--frontier", *words, "--out", tmp_path / "f", "--json")
    points = {point["strategy"]: point["top1"] for point in json.loads(found)["points"]}
    assert points["full network"] == pytest.approx(summary["top1"], abs=1e-6)
    words = ["--keep", 2, "--unit", "layer", "--strategy", "every-other", "--images", 40]
    _, found, _ = call(capsys, "slim", out, *words, "--json")
    assert points["every-other"] == pytest.approx(json.loads(found)["top1"], abs=1e-6)


@pytest.mark.parametrize("summary", ['{"slim": null}', '{"slim": {"asked": {}}}', "[]"])
def test_a_folder_with_another_summary_is_not_taken_for_the_result(finished, capsys, tmp_path, summary):
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "summary.json").write_text(summary)
    status, _, said = call(capsys, "slim", finished, "--keep", 2, "--out", tmp_path / "there")
    assert status == 2
    assert said.count("\n") == 1
    assert "holds something else" in said or "is not a summary" in said


def test_a_search_within_too_few_evaluations_is_refused_before_any_work(finished, capsys, tmp_path):
    status, _, said = call(capsys, "slim", finished, "--frontier", "--evaluations", 1, "--out", tmp_path / "f")
    assert status == 2
    assert "evaluations: 1: greedy alone takes" in said
    assert list(tmp_path.iterdir()) == []


def test_calibration_images_that_are_the_test_images_are_refused(finished, capsys, tmp_path):
    source = open_source(Digits())
    for name, part in (("test", source.test), ("train", source.train)):
        for index in range(60):
            folder = tmp_path / name / str(part.labels[index])
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(part.pixels[index]).save(folder / f"{index}.bmp")
    words = ["slim", finished, "--keep", 3, "--unit", "layer", "--strategy", "ends", "--out", tmp_path / "out"]
    status, _, err = call(capsys, *words, "--calibration", tmp_path / "test")
    assert (status, "60 of 360 test images are among its 60 images" in err) == (2, True)
    assert not (tmp_path / "out").exists()
    assert call(capsys, *words, "--calibration", tmp_path / "train")[0] == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--keep", "5", "--unit", "layer"], "keep: 5: the network has 4 residual layers; keep 1 to 4"),
        (["--keep", "0", "--unit", "layer"], "keep: 0: the network has 4 residual layers"),
        (["--keep", "3"], "has 2 blocks; keep 1 to 2 of them, or count its 4 residual layers with --unit layer"),
        ([], "keep: is missing"),
        (["--frontier", "--depths", "9"], "depths: 9: the network has 2 blocks"),
        (["--keep", "2", "--unit", "half"], "--unit: 'half': must be one of block, layer"),
        (["--frontier", "--keep", "2"], "leave --keep and --heal out"),
        (["--keep", "2", "--strategy", "best"], "--strategy: 'best': must be one of"),
        (["--keep", "2", "--strategies", "search"], "strategies: belongs to --frontier; name one with --strategy"),
        (["--keep", "2", "--test-images", "9"], "test_images: belongs to --frontier"),
        (["--frontier", "--strategy", "cosine"], "strategy: is of one network; name those of the frontier"),
        (["--keep", "2", "--images", "0"], "images: 0: must be 1 or more"),
        (["--keep", "2", "--calibration", "nowhere"], "calibration: nowhere: is not a folder"),
        (["--keep", "2", "--data.path", "x"], "data.path: x: the run was trained on the embedded digits"),
    ],
)
def test_wrong_input_is_one_line_and_touches_nothing(finished, capsys, words, said, tmp_path):
    status, out, err = call(capsys, "slim", finished, *words, "--out", tmp_path / "new")
    assert (status, out, len(err.splitlines())) == (2, "", 1)
    assert said in err
    assert not (tmp_path / "new").exists()


def test_an_unfinished_run_is_refused(finished, capsys, tmp_path):
    (tmp_path / "recipe.json").write_text((finished / "recipe.json").read_text())
    status, _, err = call(capsys, "slim", tmp_path, "--keep", 2)
    assert (status, "finish it with the same train command" in err) == (2, True)


def test_a_run_that_never_dropped_layers_is_warned_about(finished, tmp_path, capsys):
    shutil.copytree(finished, tmp_path / "run")
    summary = json.loads((finished / "summary.json").read_text())
    (tmp_path / "run" / "summary.json").write_text(json.dumps({**summary, "effective_drop_rate": 0.0}))
    words = ["--keep", 3, "--unit", "layer", "--strategy", "ends", "--images", 20]
    _, _, err = call(capsys, "slim", tmp_path / "run", *words)
    assert "never dropped layers" in err
