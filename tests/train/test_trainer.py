"""The determinism contract: a run is a function of its recipe and its seed."""

import copy
import dataclasses
import json
import math
import os
import random
import signal
import subprocess
import sys

import pytest
import timm
import torch
from tiny import before_steps, logged, run, run_and_kill, tiny, weights
from torch import nn

import cosub
from cosub.data.loading import permutation
from cosub.data.sources import open_source
from cosub.data.transforms import evaluation
from cosub.errors import InputError, RunError, Stopped
from cosub.evaluation.accuracy import evaluate
from cosub.recipes import get
from cosub.recipes.augmentation import Augment
from cosub.recipes.inputs import Inputs
from cosub.recipes.methods import Cosub, Supervised
from cosub.recipes.optimizer import Optimizer
from cosub.runs.distributed import World
from cosub.runs.folder import RunFolder
from cosub.runs.progress import Reporter
from cosub.submodel import keep_layers
from cosub.train import checkpoint as checkpoints
from cosub.train.cautions import cautions
from cosub.train.micro_step import MicroStep, choose_precision, precision_cautions
from cosub.train.networks import Average
from cosub.train.optim import build_optimizer, learning_rate
from cosub.train.process import settings_of_run
from cosub.train.tasks import classification
from cosub.train.trainer import Trainer

CPU = World(0, 1, torch.device("cpu"))


def equal(a, b) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def close(a, b, tolerance=1e-5) -> None:
    for name in a:
        torch.testing.assert_close(a[name], b[name], rtol=tolerance, atol=tolerance, msg=lambda m, n=name: f"{n}: {m}")


def descent(clip: float) -> Optimizer:
    """An optimizer whose steps are as long as the gradient: a factor on that is no rounding."""
    return Optimizer(name="sgd", warmup_epochs=0.0, weight_decay=0.0, clip=clip)


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """One uninterrupted run; others are compared with it."""
    out = tmp_path_factory.mktemp("reference") / "run"
    summary = run(tiny(out))
    return out, summary


def test_summary_and_files(reference):
    out, summary = reference
    assert summary == json.loads((out / "summary.json").read_text())
    assert {"method": "cosub", "seed": 0, "state": "done", "steps": 22, "num_images": 360}.items() <= summary.items()
    assert set(summary["top1_submodels"]) == {"0.75", "0.5"}
    names = {path.name for path in out.iterdir()}
    assert {"recipe.json", "summary.json", "metrics.jsonl", "model.safetensors", "curves.png", "checkpoints"} <= names
    steps = [line["step"] for line in map(json.loads, (out / "metrics.jsonl").read_text().splitlines())]
    assert steps == sorted(steps)
    assert steps[-1] == 22


def test_same_recipe_same_weights_and_another_seed_others(reference, tmp_path):
    out, _ = reference
    run(tiny(tmp_path / "again"))
    run(tiny(tmp_path / "other", seed=1))
    assert equal(weights(out), weights(tmp_path / "again"))
    assert not equal(weights(out), weights(tmp_path / "other"))


@pytest.mark.parametrize("workers", [0, *(pytest.param(number, marks=pytest.mark.slow) for number in (1, 2))])
def test_killed_at_five_random_steps_and_continued_to_the_bit(reference, tmp_path, workers):
    out, _ = reference
    recipe = tiny(tmp_path / "run", workers=workers, checkpoint_every=2)
    steps = sorted(random.Random(workers).sample(range(1, 22), 5))
    for step in steps:
        run_and_kill(recipe, step, random.Random(step).choice(["step", "micro-step", "checkpoint"]))
    summary = run(recipe)
    assert summary["steps"] == 22
    assert equal(weights(out), weights(tmp_path / "run"))
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert sorted({line["step"] for line in lines}) == [line["step"] for line in lines]


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"ema": 0.9, "model": "test_resnet", "model_args": {}, "drop_rate": 0.2}, id="ema of batchnorm"),
        pytest.param({"optimizer": descent(clip=0.05), "micro_steps": 2}, id="sgd"),
        pytest.param({"precision": "bf16", "checkpointing": "blocks"}, id="bf16", marks=pytest.mark.slow),
        pytest.param({"method": Supervised()}, id="supervised", marks=pytest.mark.slow),
        pytest.param({"optimizer_name": "lamb"}, id="lamb", marks=pytest.mark.slow),
    ],
)
def test_continued_to_the_bit_whatever_the_state(tmp_path, changes):
    def recipe(name):
        import dataclasses

        made = tiny(tmp_path / name, checkpoint_every=4, **{k: v for k, v in changes.items() if k != "optimizer_name"})
        if "optimizer_name" in changes:
            made = dataclasses.replace(made, optimizer=dataclasses.replace(made.optimizer, name="lamb"))
        return made

    run(recipe("whole"))
    run_and_kill(recipe("killed"), 9)
    run(recipe("killed"))
    assert equal(weights(tmp_path / "whole"), weights(tmp_path / "killed"))


@pytest.mark.parametrize(
    "optimizer", [Optimizer(), descent(clip=0.0), descent(clip=0.05)], ids=["adamw", "sgd", "clip"]
)
@pytest.mark.parametrize("micro_steps", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_micro_steps_change_rounding_only(tmp_path, micro_steps, optimizer):
    # Dropout inside the network is drawn for a micro-step as a whole, so it is off here.
    plain = {"model_args": {"patch_size": 4, "embed_dim": 16, "depth": 2, "num_heads": 2}, "optimizer": optimizer}
    run(tiny(tmp_path / "one", **plain))
    run(tiny(tmp_path / "parts", micro_steps=micro_steps, **plain))
    close(weights(tmp_path / "one"), weights(tmp_path / "parts"))
    for ours, theirs in zip(*(logged(tmp_path / name) for name in ("one", "parts")), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-3)


def test_a_gradient_is_cut_to_its_largest_norm(tmp_path):
    recipe, seen = tiny(tmp_path / "run", lr=1.0, optimizer=descent(clip=1e-4)), []
    with before_steps(
        lambda trainer: seen.append(nn.utils.parameters_to_vector(trainer.network.parameters()).detach())
    ):
        run(recipe)
    assert min(line["grad_norm"] for line in logged(tmp_path / "run")) > 1e-2  # before it is cut
    assert 0 < (seen[1] - seen[0]).norm() < 2.1 * recipe.peak_lr * 1e-4  # SGD's step, with its momentum


def test_the_optimizer_has_the_rate_of_each_step_and_depth(tmp_path):
    recipe = tiny(tmp_path / "run", epochs=2, optimizer=Optimizer(warmup_epochs=0.5, layer_decay=0.5))
    found = {}

    def note(trainer):  # after the step before
        if step := trainer.state.step:
            found[step - 1] = [(group["lr"], group["lr_scale"]) for group in trainer.state.optimizer.param_groups]

    def stop(trainer):
        if trainer.state.step == 9:
            os.kill(os.getpid(), signal.SIGTERM)

    with before_steps(note), before_steps(stop), pytest.raises(Stopped):
        run(recipe)
    with before_steps(note):
        run(recipe)
    assert sorted(found) == list(range(43))
    for step, groups in found.items():
        assert len({scale for _, scale in groups}) > 2
        for rate, scale in groups:
            assert rate == pytest.approx(learning_rate(recipe, step, 22) * scale, rel=1e-6)


@pytest.mark.slow
def test_two_processes_equal_one(tmp_path):
    plain = {"model_args": {"patch_size": 4, "embed_dim": 16, "depth": 2, "num_heads": 2}}
    run(tiny(tmp_path / "one", **plain))
    recipe = tmp_path / "one" / "recipe.json"
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "cosub", "train"]
    done = subprocess.run(
        [sys.executable, *command, str(recipe), "--out", str(tmp_path / "two"), "--json"],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    one, two = json.loads((tmp_path / "one" / "summary.json").read_text()), json.loads(done.stdout)
    assert (one["processes"], two["processes"]) == (1, 2)
    assert (two["steps"], two["num_images"]) == (22, 360)
    close(weights(tmp_path / "one"), weights(tmp_path / "two"))


def test_evaluation_equals_the_summary_and_counts_each_image_once(reference):
    out, summary = reference
    network, source = cosub.load(out), open_source(get("digits").data)
    for batch_size in (7, 360):
        result = evaluate(network, source.test, 10, 8, CPU, batch_size=batch_size)
        assert result.num_images == 360
        assert result.top1 == pytest.approx(summary["top1"], abs=1e-6)


def test_a_finished_run_is_not_run_again(reference):
    out, summary = reference
    before = (out / "model.safetensors").stat().st_mtime_ns
    assert run(tiny(out)) == summary
    assert (out / "model.safetensors").stat().st_mtime_ns == before


def test_stopped_by_a_signal_and_continued(reference, tmp_path):
    out, _ = reference

    def signalled(trainer):
        if trainer.state.step == 5:
            os.kill(os.getpid(), signal.SIGTERM)

    with before_steps(signalled), pytest.raises(Stopped, match="stopped at step 6 of 22"):
        run(tiny(tmp_path / "run"))
    assert RunFolder(tmp_path / "run").state() == "stopped"
    run(tiny(tmp_path / "run"))
    assert equal(weights(out), weights(tmp_path / "run"))


def test_damaged_last_checkpoint_is_one_warning_and_the_one_before(reference, tmp_path, capfd):
    out, _ = reference
    recipe = tiny(tmp_path / "run", checkpoint_every=4)
    run_and_kill(recipe, 13)
    newest = sorted((tmp_path / "run" / "checkpoints").glob("step-*"))[-1]
    content = bytearray((newest / "network.safetensors").read_bytes())
    content[len(content) // 2] ^= 1
    (newest / "network.safetensors").write_bytes(content)
    capfd.readouterr()
    run(recipe)
    said = capfd.readouterr().err
    assert said.count("is damaged (checksum") == 1
    assert "at step 8 of 22" in said
    assert equal(weights(out), weights(tmp_path / "run"))


def test_non_finite_loss_ends_the_run_with_the_last_checkpoint_whole(tmp_path, monkeypatch):
    micro_step = MicroStep.run

    def spoiled(self, networks, runners, batch, step, part):
        value = micro_step(self, networks, runners, batch, step, part)
        return value * math.nan if step == 9 else value

    monkeypatch.setattr(MicroStep, "run", spoiled)
    with pytest.raises(
        RunError, match=r"step 10: loss nan.*not finite first in the loss \(learning rate .*step-10-process-0"
    ):
        run(tiny(tmp_path / "run", checkpoint_every=4))
    assert RunFolder(tmp_path / "run").state() == "failed"
    assert checkpoints.latest(tmp_path / "run" / "checkpoints").step == 8


def test_weight_decay_spares_biases_norms_and_embeddings(tmp_path):
    recipe = tiny(tmp_path)
    trainer = Trainer(recipe, open_source(recipe.data), CPU, RunFolder(tmp_path), Reporter())
    names = {id(p): name for name, p in trainer.network.named_parameters()}
    spared = {
        names[id(p)]
        for group in build_optimizer(recipe, trainer.network).param_groups
        if group["weight_decay"] == 0
        for p in group["params"]
    }
    assert {"pos_embed", "cls_token", "norm.bias", "blocks.0.attn.qkv.bias"} <= spared
    assert not any(name.endswith("qkv.weight") for name in spared)


def cautions_of(tmp_path, **changes):
    recipe = tiny(tmp_path, **changes)
    trainer = Trainer(recipe, open_source(recipe.data), CPU, RunFolder(tmp_path), Reporter())
    return cautions(recipe, trainer.network)


def test_rounding_that_turns_co_training_off_is_reported(tmp_path):
    said = cautions_of(tmp_path, drop_rate=0.05, group_size=4)
    assert any("submodel co-training is OFF" in line and "--rounding bernoulli" in line for line in said)
    assert not any("OFF" in line for line in cautions_of(tmp_path, drop_rate=0.05, group_size=4, rounding="bernoulli"))
    assert any("drop_rate is 0" in line for line in cautions_of(tmp_path, drop_rate=0.0))
    off = cautions_of(tmp_path, drop_rate=0.05, group_size=4, method=Supervised())
    assert any("stochastic depth is OFF" in line for line in off)


def test_a_rate_too_low_to_save_time_is_reported(tmp_path):
    assert any("saves memory but hardly any time" in line for line in cautions_of(tmp_path, drop_rate=0.09))
    assert not any("hardly any time" in line for line in cautions_of(tmp_path, drop_rate=0.1))


def test_a_warm_up_that_takes_all_epochs_is_reported(tmp_path):
    said = cautions_of(tmp_path, epochs=2, optimizer=Optimizer(warmup_epochs=5))
    assert any("warm-up takes the whole training, 2 epochs" in line and "warmup-epochs 0.2" in line for line in said)
    assert not any("warm-up" in line for line in cautions_of(tmp_path, epochs=2, optimizer=Optimizer(warmup_epochs=1)))


def test_few_rows_for_batch_norm_are_reported(tmp_path):
    convnet = {"model": "resnet10t", "model_args": {}, "batch_size": 64, "resolution": 32}
    said = cautions_of(tmp_path, group_size=8, drop_rate=0.5, **convnet)
    assert any("BatchNorm in a branch" in line and "8 per group" in line for line in said)
    assert not any("BatchNorm" in line for line in cautions_of(tmp_path, group_size=16, drop_rate=0.5, **convnet))
    assert not any("BatchNorm" in line for line in cautions_of(tmp_path, group_size=8, drop_rate=0.5))


def test_groups_must_divide(tmp_path):
    with pytest.raises(InputError, match="do not divide the 4 groups"):
        run(tiny(tmp_path / "run", micro_steps=3))
    with pytest.raises(InputError, match="more than the 1437 training images"):
        run(tiny(tmp_path / "run", batch_size=1600))
    assert not (tmp_path / "run").exists()


def test_every_parameter_moves(tmp_path):
    recipe = tiny(tmp_path / "run", method=Cosub(weight=0.3))
    trainer = Trainer(recipe, open_source(recipe.data), CPU, RunFolder(tmp_path / "run"), Reporter())
    before = {name: value.clone() for name, value in trainer.network.state_dict().items()}
    RunFolder(tmp_path / "run").claim(recipe)
    trainer.prepare()
    trainer.fit()
    assert [name for name, value in trainer.network.state_dict().items() if torch.equal(value, before[name])] == []


def test_loaded_network_runs_submodels(reference):
    before = torch.get_rng_state()
    network = cosub.load(reference[0])
    assert torch.equal(torch.get_rng_state(), before)
    assert not network.training
    with cosub.active(network, keep_layers([0, 1], 4, 2)):
        assert network(torch.zeros(2, 3, 8, 8)).shape == (2, 10)


def test_training_images_are_prepared_as_evaluation_prepares_them(tmp_path):
    """By the recipe's resolution, interpolation, mean and deviation, and whole where nothing is drawn."""
    inputs = Inputs(1.0, "bilinear", (0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    plain = Augment(crop="center", policy="", flip=0.0, jitter=0.0, mixup=0.0, cutmix=0.0)
    recipe = tiny(tmp_path / "run", inputs=inputs, augment=plain, resolution=12)
    source = open_source(recipe.data)
    trainer = Trainer(recipe, source, CPU, RunFolder(tmp_path / "run"), Reporter())
    trainer.prepare()
    batch = next(trainer.batches(workers=0))
    images, _ = trainer.task.prepare(batch.images, batch.labels, 0, range(recipe.num_groups))
    order = permutation(len(source.train.labels), recipe.seed, 0)[: len(images)].tolist()
    for image, index in zip(images, order, strict=True):
        seen = torch.as_tensor(evaluation(12, inputs)(source.train.image(index)))
        expected = (seen / 255 - torch.tensor(inputs.mean).view(3, 1, 1)) / torch.tensor(inputs.std).view(3, 1, 1)
        torch.testing.assert_close(image, expected, rtol=0, atol=1e-5)


def test_a_run_learns_the_digits(tmp_path):
    plain = Augment(crop="center", policy="", flip=0.0, jitter=0.0, mixup=0.0, cutmix=0.0)
    schedule = {"epochs": 16, "lr": 0.06, "drop_rate": 0.2, "optimizer": Optimizer(warmup_epochs=0.5)}
    assert run(tiny(tmp_path / "run", augment=plain, **schedule))["top1"] > 0.7


def test_accuracy_on_training_images_is_theirs(tmp_path):
    summary = run(tiny(tmp_path / "run", evaluate_training=True, drop_rate=0.2))
    source = open_source(get("digits").data)
    network = cosub.load(tmp_path / "run")
    found = {name: evaluate(network, getattr(source, name), 10, 8, CPU).top1 for name in ("train", "test")}
    assert (summary["train_top1"], summary["top1"]) == (found["train"], found["test"])


def test_averaged_weights_are_the_result(tmp_path):
    """x_n = m^n x_0 + (1 - m) sum_k m^(n-k) x_k over the steps' weights and running statistics."""
    convnet = {"model": "test_resnet", "model_args": {}, "drop_rate": 0.2}
    history: list[dict[str, torch.Tensor]] = []
    with before_steps(lambda trainer: history.append(copy.deepcopy(trainer.network.state_dict()))):
        run(tiny(tmp_path / "plain", **convnet))
    history.append(weights(tmp_path / "plain"))
    run(tiny(tmp_path / "averaged", ema=0.9, **convnet))
    for name, value in weights(tmp_path / "averaged").items():
        expected = 0.9**22 * history[0][name]
        expected = expected + sum(0.1 * 0.9 ** (22 - step) * history[step][name] for step in range(1, 23))
        expected = expected if value.is_floating_point() else history[-1][name]
        torch.testing.assert_close(value, expected, rtol=1e-3, atol=1e-5, msg=lambda m, n=name: f"{n}: {m}")


def test_averaged_weights_are_those_of_the_checkpoint(tmp_path):
    run(tiny(tmp_path / "plain"))
    run(tiny(tmp_path / "averaged", ema=0.9))
    found = checkpoints.latest(tmp_path / "averaged" / "checkpoints")
    assert equal(found.weights["network"], weights(tmp_path / "plain"))
    averaged = {name.removeprefix("module."): value for name, value in found.weights["averaged"].items()}
    del averaged["n_averaged"]
    assert equal(averaged, weights(tmp_path / "averaged"))


@pytest.mark.parametrize("decay", [0.9, 0.9995, 0.9999])
def test_an_average_copies_integers(decay):
    """Of single precision 11 * 0.9999 + 11 * 0.0001 is less than 11."""
    network = timm.create_model("swin_tiny_patch4_window7_224", depths=(1, 1), embed_dim=16, num_heads=(1, 2))
    found = Average(network, decay)
    for _ in range(3):
        found.update_parameters(network)
    buffers = dict(found.module.named_buffers())
    assert any(not buffer.is_floating_point() for buffer in buffers.values())
    for name, buffer in network.named_buffers():
        torch.testing.assert_close(buffers[name], buffer, rtol=1e-6, atol=0)


def test_other_images_in_the_same_folder_are_refused(tmp_path):
    import dataclasses

    recipe = tiny(tmp_path / "run", checkpoint_every=4)
    run_and_kill(recipe, 9)
    source = open_source(recipe.data)
    other = dataclasses.replace(source, classes=(*source.classes[:-1], "nine"))
    trainer = Trainer(recipe, other, CPU, RunFolder(tmp_path / "run"), Reporter())
    with pytest.raises(InputError, match="begun with other images or classes"):
        trainer.prepare()


def test_batch_norm_with_one_row_is_one_line(tmp_path):
    recipe = tiny(tmp_path / "run", model="resnet18", model_args={}, resolution=32, group_size=1, batch_size=2,
                  micro_steps=2, method=Supervised(), drop_rate=0.0)  # fmt: skip
    with pytest.raises(InputError, match=r"group_size: BatchNorm gets one row .* set a larger --group-size"):
        run(recipe)


def test_a_single_row_by_chance_ends_a_run_with_what_helps(tmp_path):
    """Rounding bernoulli may keep one of 8 rows, and in ResNet-18 at 32 pixels the last blocks have one pixel."""
    recipe = tiny(tmp_path / "run", model="resnet18", model_args={}, resolution=32, group_size=8, batch_size=8,
                  method=Supervised(), drop_rate=0.5, rounding="bernoulli")  # fmt: skip
    with pytest.raises(RunError, match=r"step \d+: BatchNorm gets one row .* --rounding nearest"):
        run(recipe)


@pytest.mark.parametrize(("tensor_cores", "precision"), [(True, torch.bfloat16), (False, torch.float32)])
def test_auto_takes_bf16_where_a_gpu_has_it_and_does_not_emulate_it(tmp_path, monkeypatch, tensor_cores, precision):
    def supported(including_emulation=True):
        return tensor_cores or including_emulation

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", supported)
    recipe, card = dataclasses.replace(tiny(tmp_path), precision="auto"), torch.device("cuda")
    assert choose_precision(recipe, card) == precision
    said = precision_cautions(recipe, card)
    assert [line for line in said if "--precision fp16" in line] == said
    assert bool(said) is not tensor_cores
    for changed in ({"precision": "fp32"}, {"runtime": dataclasses.replace(recipe.runtime, parallel="fsdp")}):
        assert precision_cautions(dataclasses.replace(recipe, **changed), card) == []
    assert precision_cautions(recipe, CPU.device) == []


def test_a_run_says_what_its_precision_leaves_unused(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr("cosub.train.launch.precision_cautions", lambda *_: ["of precision"])
    monkeypatch.setattr(Trainer, "prepare", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run(tiny(tmp_path / "run"))
    assert "of precision" in capfd.readouterr().err


def test_epochs_are_evaluated_in_the_precision_of_training_and_the_result_in_float32(tmp_path, monkeypatch):
    """In batches that training has shown to fit."""
    seen, evaluate_images = [], classification.evaluate

    def evaluate(*arguments, batch_size, **more):
        seen.append((torch.is_autocast_enabled("cpu"), batch_size))
        return evaluate_images(*arguments, batch_size=batch_size, **more)

    monkeypatch.setattr(classification, "evaluate", evaluate)
    run(
        tiny(
            tmp_path / "run",
            precision="bf16",
            batch_size=64,
            group_size=32,
            epochs=2,
            evaluate_every=1,
            evaluate_training=True,
        )
    )
    assert seen == [(True, 128)] * 2 + [(False, 128)] * 2  # test and training images
    seen.clear()
    run(tiny(tmp_path / "parts", micro_steps=4))
    assert seen == [(False, 64)]  # no fewer, however small the parts


def test_cublas_that_cannot_be_made_deterministic_any_more_is_one_line(monkeypatch):
    """As in a notebook that has used a GPU: cuBLAS looks once."""

    def refuse(*_):
        raise RuntimeError("this operation is not deterministic ...: CUBLAS_WORKSPACE_CONFIG=:4096:8 or :16:8")

    monkeypatch.setattr(torch.Tensor, "mm", refuse)
    with settings_of_run(False, CPU.device):
        assert not torch.are_deterministic_algorithms_enabled()
    with (
        pytest.raises(InputError, match=r"deterministic: .*set CUBLAS_WORKSPACE_CONFIG"),
        settings_of_run(True, CPU.device),
    ):
        raise AssertionError
    assert not torch.are_deterministic_algorithms_enabled()
