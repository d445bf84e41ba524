"""Where `--compile auto` compiles: the rule over a table of cases, and the count that it decides by."""

import copy
import dataclasses
import json

import pytest
import torch
from conftest import SMALL
from tiny import tiny

import cosub
from cosub.attachment import layers_per_block
from cosub.cli import main
from cosub.data.sources import open_source
from cosub.recipes import get
from cosub.recipes.methods import Cotrain
from cosub.runs import distributed
from cosub.runs.folder import RunFolder
from cosub.runs.progress import Reporter
from cosub.train import compiling
from cosub.train.checkpoint import Checkpoint
from cosub.train.compile_choice import Choice, Work, choose, count_work, work_of
from cosub.train.machine import Machine
from cosub.train.planning import plan
from cosub.train.trainer import Trainer

MUCH, LITTLE = Work(10**9, 1), Work(10**6, 1)


def unasked() -> Work:
    raise AssertionError("nothing is counted where it does not decide")


@pytest.mark.parametrize(
    ("work", "steps", "compiled"),
    [
        (MUCH, 1000, True),  # 45 s for 15
        (MUCH, 334, True),
        (MUCH, 333, False),  # 14.99 s for 15
        (LITTLE, 1000, False),
        (LITTLE, 10**6, True),  # any network, if it trains for long
        (Work(10**9, 24), 1000, False),  # a rate that grows with depth: a graph for every block
        (Work(10**9, 24), 3000, True),
    ],
)
def test_it_compiles_where_the_steps_save_more_than_compiling_takes(work, steps, compiled):
    choice = choose("auto", "nearest", "cuda", steps, lambda: work)
    assert choice.compiled is compiled
    assert choice.why.startswith(f"auto: {'on' if compiled else 'off'}, because {steps:,} steps save about")


@pytest.mark.parametrize(
    ("wanted", "rounding", "device", "compiled"),
    [
        ("on", "nearest", "cpu", True),
        ("on", "nearest", "cuda", True),
        ("off", "nearest", "cuda", False),
        ("auto", "nearest", "cpu", False),
        ("auto", "bernoulli", "cuda", False),
        ("auto", "masked", "cuda", False),
    ],
)
def test_what_needs_no_count(wanted, rounding, device, compiled):
    assert choose(wanted, rounding, device, 10**9, unasked).compiled is compiled


@pytest.mark.parametrize("method", [get("digits").method, Cotrain()], ids=lambda method: method.kind)
def test_the_digits_are_never_compiled(method):
    recipe = dataclasses.replace(get("digits"), method=method)
    found = plan(recipe, Machine()).compiled
    assert not found.compiled
    assert "signatures: 2" in found.why if method.kind == "cotrain" else "signatures: 1" in found.why


def test_the_photographs_for_a_gpu_are_compiled():
    assert plan(get("cifar10-gpu"), Machine(), images=50_000).compiled.compiled


def test_the_count_by_hand():
    """Width 24, 16 patches and perhaps a class token, 8 layers of which each keeps 6 of 12 rows; two groups."""
    network = cosub.attach(SMALL["vit"](), drop_rate=0.5).train()
    assert count_work(network, 32, 12, 2) == Work(2 * 8 * 6 * 17 * 24, 1)
    assert count_work(network, 32, 12, 2, networks=2) == Work(2 * 2 * 8 * 6 * 17 * 24, 2)
    assert network.training
    assert not any(module._forward_pre_hooks for module in network.modules())


def test_a_rate_that_grows_with_depth_has_a_signature_for_each_block():
    network = cosub.attach(SMALL["vit"](), drop_rate=0.5, schedule="linear")
    assert count_work(network, 32, 12, 1).signatures == 4


@pytest.mark.parametrize("name", sorted(SMALL))
def test_every_family_is_counted_without_memory(name):
    real = cosub.attach(SMALL[name](), drop_rate=0.5)
    found = count_work(copy.deepcopy(real).to("meta"), 32, 12, 1)
    assert found == count_work(real, 32, 12, 1)
    assert found.values > 0
    assert 1 <= found.signatures <= len(layers_per_block(real))


@pytest.fixture
def on_a_card(tmp_path):
    """A trainer of a tiny run that believes to be on a card, and what it says."""
    recipe, said = tiny(tmp_path / "run"), []

    class Listening(Reporter):
        def say(self, message: str) -> None:
            said.append(message)

    world = distributed.join("cpu", 600)
    trainer = Trainer(recipe, open_source(recipe.data), world, RunFolder(tmp_path / "run"), Listening())
    trainer.compilation.world = dataclasses.replace(world, device=torch.device("cuda"))
    return trainer, said


def test_a_run_says_what_it_chose_and_goes_on_as_it_began(on_a_card):
    """Whatever the rule is by then. Checkpoints from before there was one are of runs that were compiled."""
    trainer, said = on_a_card
    compilation = trainer.compilation
    steps, work = trainer.total_steps, lambda: work_of(trainer.recipe, 10, trainer.method, trainer.networks)
    compilation.decide(steps, work, None)
    assert not compilation.on
    assert said.pop().startswith("compile: auto: off, because 22 steps save")
    for counters, compiled in (({"compiled": True}, True), ({"compiled": False}, False), ({}, True)):
        compilation.decide(steps, work, Checkpoint(1, {}, {}, counters))
        assert compilation.on is compiled
        assert said.pop() == f"compile: auto: {'on' if compiled else 'off'}, as the run was begun"


def test_a_run_that_cannot_be_compiled_is_not_compiled_later(on_a_card, monkeypatch):
    """A step that is not finite is looked at uncompiled, and blocks are compiled again after that."""
    trainer, _ = on_a_card
    compilation = trainer.compilation
    monkeypatch.setattr("cosub.train.compiling.rehearse", lambda *_: 1 / 0)
    trainer.prepare()
    compilation.on = True
    compilation.rehearse(trainer.networks, trainer.micro_step)
    assert not compilation.on


def test_memory_that_is_too_small_is_no_fault_of_the_compiler(on_a_card, monkeypatch):
    """Blocks that are not compiled store more."""
    trainer, _ = on_a_card
    trainer.prepare()
    trainer.compilation.on = True

    def overflow(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("cosub.train.compiling.sum_of_outputs", overflow)
    with pytest.raises(torch.OutOfMemoryError):
        trainer.compilation.rehearse(trainer.networks, trainer.micro_step)
    assert trainer.compilation.on


def test_a_rehearsal_that_fails_leaves_the_network_unchanged(tmp_path, monkeypatch):
    recipe = tiny(tmp_path / "run", model="test_resnet", model_args={})
    world, folder = distributed.join("cpu", 600), RunFolder(tmp_path / "run")
    trainer = Trainer(recipe, open_source(recipe.data), world, folder, Reporter())
    trainer.prepare()
    before = {key: value.clone() for key, value in trainer.network.state_dict().items()}
    monkeypatch.setattr("cosub.train.compiling.sum_of_outputs", lambda outputs: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        compiling.rehearse(trainer.network, trainer.networks, trainer.micro_step)
    assert all(torch.equal(before[key], value) for key, value in trainer.network.state_dict().items())


def test_the_dry_run_says_it(capsys):
    assert main(["train", "digits", "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "auto: off, because 660 steps save about 0.1 s, and compiling takes about 15 s" in out
    assert "compiler decides" not in out  # memory is what was counted
    assert main(["train", "digits", "--dry-run", "--json", "--device", "cpu"]) == 0
    found = json.loads(capsys.readouterr().out)["compiled"]
    assert found == dataclasses.asdict(Choice(False, "auto: off, because it compiles only on a GPU"))
