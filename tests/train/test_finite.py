"""A loss or a gradient that is not finite: the run ends or the step is skipped, and the report says where it began."""

import dataclasses
import functools
import json
import math

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from tiny import before_steps, run, tiny, weights
from torch import nn

from cosub.errors import RunError
from cosub.recipes.files import differences, identity, read_run
from cosub.runs.folder import RunFolder
from cosub.train import checkpoint as checkpoints
from cosub.train.finite import MOST_IN_A_ROW, find_first_nonfinite
from cosub.train.micro_step import MicroStep
from cosub.train.trainer import Trainer


@pytest.fixture
def spoil(monkeypatch):
    """Make the input of the last norm not finite in some steps, as long as the test runs."""

    def spoil(steps) -> None:
        micro_step = MicroStep.run

        def spoiled(self, networks, runners, batch, step, part):
            if step not in steps:
                return micro_step(self, networks, runners, batch, step, part)
            norm = networks.student.get_submodule("norm")
            handle = norm.register_forward_pre_hook(lambda _module, inputs: (inputs[0] * math.nan,))
            try:
                return micro_step(self, networks, runners, batch, step, part)
            finally:
                handle.remove()

        monkeypatch.setattr(MicroStep, "run", spoiled)

    return spoil


@pytest.mark.parametrize("optimizer", ["adamw", "lamb"], ids=["flag-on-the-device", "flag-read"])
def test_stop_names_step_layer_rate_and_keeps_the_batch(tmp_path, spoil, optimizer):
    recipe = tiny(tmp_path / "run", checkpoint_every=4)
    recipe = dataclasses.replace(recipe, optimizer=dataclasses.replace(recipe.optimizer, name=optimizer))
    spoil(range(9, 99))
    with pytest.raises(
        RunError, match=r"step 10: loss nan.* first in the output of network\.norm \(learning rate 0\.00"
    ):
        run(recipe)
    kept = tmp_path / "run" / "non-finite-step-10-process-0.safetensors"
    tensors = load_file(kept)
    assert tensors["images"].shape == (64, 3, 8, 8)
    assert tensors["labels"].shape == (64,)
    with safe_open(kept, "pt") as file:
        assert json.loads(file.metadata()["facts"])["step"] == 10
    found = checkpoints.latest(tmp_path / "run" / "checkpoints")
    assert found.step == 8
    assert all(value.isfinite().all() for value in found.weights["network"].values())


def test_the_same_command_goes_on_with_skip(tmp_path, spoil):
    spoil({9})
    with pytest.raises(RunError, match="the same command with --non-finite skip goes on from the last checkpoint"):
        run(tiny(tmp_path / "run", checkpoint_every=4))
    assert read_run(tmp_path / "run").non_finite == "stop"
    summary = run(tiny(tmp_path / "run", checkpoint_every=4, non_finite="skip"))
    assert (summary["state"], summary["steps"], summary["skipped_steps"]) == ("done", 22, 1)
    assert read_run(tmp_path / "run").non_finite == "skip"
    run(tiny(tmp_path / "whole", non_finite="skip"))
    whole, continued = weights(tmp_path / "whole"), weights(tmp_path / "run")
    assert all(torch.equal(whole[name], continued[name]) for name in whole)


def test_what_ends_a_run_is_not_part_of_its_identity(tmp_path):
    stop, skip = tiny(tmp_path), tiny(tmp_path, non_finite="skip", bad_share=0.5)
    assert identity(stop) == identity(skip)
    assert differences(stop, skip) == []


@pytest.mark.slow
def test_skip_leaves_the_step_out_and_counts_it(tmp_path, spoil, capfd):
    run(tiny(tmp_path / "whole"))
    run(tiny(tmp_path / "whole-skip", non_finite="skip"))
    whole = weights(tmp_path / "whole")
    same = weights(tmp_path / "whole-skip")
    assert all(torch.equal(whole[name], same[name]) for name in whole)
    spoil({9, 12})
    summary = run(tiny(tmp_path / "run", non_finite="skip"))
    assert (summary["state"], summary["steps"], summary["skipped_steps"]) == ("done", 22, 2)
    assert all(value.isfinite().all() for value in weights(tmp_path / "run").values())
    said = capfd.readouterr().err
    assert "step 10: loss nan" in said
    assert "step 13: loss nan" in said


def test_a_step_that_is_left_out_moves_no_running_statistics(tmp_path, monkeypatch):
    seen, micro_step = {}, MicroStep.run

    def spoiled(self, networks, runners, batch, step, part):
        if step != 9:
            return micro_step(self, networks, runners, batch, step, part)
        first = next(module for module in networks.student.modules() if isinstance(module, nn.BatchNorm2d))
        handle = first.register_forward_pre_hook(lambda _module, inputs: (inputs[0] * math.nan,))
        try:
            return micro_step(self, networks, runners, batch, step, part)
        finally:
            handle.remove()

    def note(trainer):
        seen[trainer.state.step] = {name: value.clone() for name, value in trainer.network.state_dict().items()}

    monkeypatch.setattr(MicroStep, "run", spoiled)
    convnet = {"model": "test_resnet", "model_args": {}, "drop_rate": 0.2}
    with before_steps(note):
        summary = run(tiny(tmp_path / "run", non_finite="skip", **convnet))
    assert summary["skipped_steps"] == 1
    assert all(torch.equal(value, seen[10][name]) for name, value in seen[9].items())
    assert not all(torch.equal(value, seen[9][name]) for name, value in seen[8].items())


def test_too_many_in_a_row_end_the_run(tmp_path, spoil):
    spoil(range(5, 22))
    with pytest.raises(
        RunError,
        match=f"step {5 + MOST_IN_A_ROW}: loss nan.*, after 9 such steps in a row: begin again, in another --out",
    ):
        run(tiny(tmp_path / "run", non_finite="skip"))


def test_find_first_nonfinite_names_output_loss_and_gradient():
    network = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 1))
    images = torch.ones(1, 2)

    def loss(scale: float = 1.0) -> float:
        value = network(images).sum() * scale
        value.backward()
        return value.item()

    assert find_first_nonfinite({"network": network}, loss) == ""
    assert find_first_nonfinite({"network": network}, lambda: loss(math.inf)) == "in the loss"
    network.zero_grad()
    handle = network[1].bias.register_hook(lambda gradient: gradient * math.nan)
    assert find_first_nonfinite({"network": network}, loss) == "in the gradient of network.1.bias"
    handle.remove()
    network[1].weight.data.fill_(math.inf)
    assert find_first_nonfinite({"network": network}, loss) == "in the output of network.1"


@pytest.fixture
def scales(monkeypatch):
    """fp16 with its loss scaler, on the CPU too, from a scale that overflows; the scale after each step."""
    seen: list[float] = []
    train_step = Trainer.train_step

    def watched(self, *args):
        before = {name: value.clone() for name, value in self.network.state_dict().items()}
        scale = self.scaler.get_scale()
        values = train_step(self, *args)
        same = all(torch.equal(before[name], value) for name, value in self.network.state_dict().items())
        assert same == (self.scaler.get_scale() < scale), "an update that overflowed, and no other, leaves the weights"
        seen.append(self.scaler.get_scale())
        return values

    monkeypatch.setattr("cosub.train.trainer.choose_precision", lambda *_: torch.float16)
    monkeypatch.setattr(torch, "GradScaler", functools.partial(torch.GradScaler, init_scale=2.0**30))
    monkeypatch.setattr(Trainer, "train_step", watched)
    return seen


def test_overflow_in_fp16_is_the_scalers(tmp_path, scales):
    summary = run(tiny(tmp_path / "whole"))
    assert (summary["state"], summary["steps"], summary["skipped_steps"]) == ("done", 22, 0)
    assert scales[0] == 2.0**29
    assert scales[-1] == scales[-2] < scales[0]
    assert all(value.isfinite().all() for value in weights(tmp_path / "whole").values())


def test_a_gradient_that_is_never_finite_is_no_overflow(tmp_path, scales):
    """From 2^30 the scale is halved to a half in 31 steps, which one overflow after another would take too."""

    def spoil(trainer):
        if trainer.state.step == 0:
            trainer.network.head.bias.register_hook(lambda gradient: gradient * math.nan)

    with before_steps(spoil), pytest.raises(RunError, match=r"step 31: .* in the gradient of network\.head\.bias"):
        run(tiny(tmp_path / "run", epochs=2))
    assert RunFolder(tmp_path / "run").state() == "failed"


def test_a_loss_that_is_not_finite_is_reported_in_fp16_too(tmp_path, scales, spoil):
    spoil(range(16, 99))
    with pytest.raises(RunError, match=r"step 17: loss nan.* first in the output of network\.norm"):
        run(tiny(tmp_path / "run"))
