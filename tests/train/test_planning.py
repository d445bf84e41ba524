"""What a run will take: arithmetic by hand on small networks, counts against real steps, remedies that hold."""

import dataclasses
import json
import math
import time
from typing import get_args

import pytest
import torch
from PIL import Image
from tiny import tiny
from torch.utils.flop_counter import FlopCounterMode

from cosub.attachment import active, state
from cosub.choices import Checkpointing, OptimizerName
from cosub.cli import main
from cosub.cli.dry_run import _duration, _pointless
from cosub.errors import InputError
from cosub.paper.recipes.catalogue import PAPER
from cosub.recipes import get, recipes
from cosub.recipes.data import Digits, Folder
from cosub.recipes.methods import Cotrain, MeanTeacher, Supervised
from cosub.recipes.optimizer import Optimizer
from cosub.recipes.recipe import Recipe
from cosub.runs.counting import cost, saved_bytes
from cosub.runs.network import build_network
from cosub.submodel import draw
from cosub.train.estimate import Estimate
from cosub.train.machine import Machine
from cosub.train.methods import build
from cosub.train.optim import STATE_TENSORS, build_optimizer, learning_rate
from cosub.train.planning import Setting, plan

# Width 16, depth 2, patches of 4 on 8x8 pixels: 5 tokens with the class token, 10 classes.
PATCHES, TOKENS = 16 * 48 + 16, 16 + 5 * 16  # projection with bias; class token and positions
BLOCK = 2 * 32 + (48 * 16 + 48) + (16 * 16 + 16) + (64 * 16 + 64) + (16 * 64 + 16)
PARAMETERS = PATCHES + TOKENS + 2 * BLOCK + 32 + (10 * 16 + 10)


def small(**changes) -> Recipe:
    """Four groups of 16 images; runtime fields may be given beside the recipe's."""
    return tiny("", **changes)


def huge(model: str, **changes) -> Recipe:
    recipe = get("digits")
    return dataclasses.replace(
        recipe, model=model, model_args={}, resolution=224, batch_size=2048, group_size=32, drop_rate=0.6, **changes
    )


def real_step(recipe: Recipe, groups: int, dtype: torch.dtype):
    """The recipe's network with memory, and a loss of a micro-step of it."""
    method = build(recipe.method)
    network = build_network(recipe, 10, method.copies).train()
    state(network).checkpointing = recipe.runtime.checkpointing
    rows = method.copies * recipe.group_size

    def loss():
        images = torch.randn(groups * recipe.group_size, 3, recipe.resolution, recipe.resolution)
        targets = torch.rand(len(images), 10)
        kept = [groups * count for count in state(network).kept(rows)]
        submodel = draw(groups * rows, kept, torch.Generator())
        with active(network, submodel), torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
            return method({"network": network}, images, targets)[0]

    return network, loss


# --- memory, by hand


def test_memory_by_hand():
    one = plan(small(), Machine())
    assert one.parameters == PARAMETERS
    memory = one.replicated
    assert (memory.weights, memory.gradients, memory.optimizer) == (4 * PARAMETERS, 4 * PARAMETERS, 8 * PARAMETERS)
    assert memory.averaged == 0
    assert memory.total == 16 * PARAMETERS + memory.activations + memory.working
    assert one.sharded == memory
    two = plan(small(ema=0.9, optimizer=Optimizer(name="sgd")), Machine(devices=2)).replicated
    assert (two.averaged, two.optimizer) == (4 * PARAMETERS,) * 2


def test_shards_by_hand():
    """Dimension 0 is cut in 4; what does not divide leaves the first device the larger part."""
    memory = plan(small(ema=0.9), Machine(devices=4)).sharded
    parts = (16 * 48 + 16) / 4 + 16 + 5 * 16 + (2 * BLOCK + 32) / 4 + 3 * 16 + 3  # tokens have a first dimension of 1
    assert memory.weights == memory.gradients == memory.averaged == 4 * parts
    assert memory.optimizer == 8 * parts


@pytest.mark.parametrize("name", get_args(OptimizerName))
def test_optimizer_state_is_that_of_a_real_step(name):
    recipe = small(optimizer=Optimizer(name=name))
    network, loss = real_step(recipe, 1, torch.float32)
    optimizer = build_optimizer(recipe, network)
    loss().backward()
    optimizer.step()
    tensors = [v for values in optimizer.state.values() for v in values.values() if torch.is_tensor(v) and v.dim()]
    assert sum(tensor.nbytes for tensor in tensors) == STATE_TENSORS[name] * 4 * PARAMETERS


# --- activations and FLOPs, against real steps


@pytest.mark.parametrize(("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_activations_and_flops_are_those_of_a_real_step(precision, dtype):
    recipe = small(precision=precision)
    planned = plan(recipe, Machine(devices=2))
    network, loss = real_step(recipe, 2, dtype)
    with FlopCounterMode(display=False) as flops:
        with saved_bytes(network) as saved:
            value = loss()
        value.backward()
    assert planned.replicated.activations == saved[0] + value.nbytes
    assert planned.flops == 2 * flops.get_total_flops()


@pytest.mark.parametrize("checkpointing", get_args(Checkpointing))
@pytest.mark.parametrize("method", [Supervised(), get("digits").method], ids=lambda method: method.kind)
def test_the_count_without_memory_is_that_with_memory(checkpointing, method):
    recipe = small(checkpointing=checkpointing, precision="fp32", method=method)
    counted = Estimate(recipe, Machine(), 10).count(checkpointing, 2)
    with_memory = cost(*real_step(recipe, 2, torch.float32))
    assert (counted.flops, counted.saved) == (with_memory.flops, with_memory.saved)
    assert counted.peak > counted.saved > 0


@pytest.mark.slow
def test_checkpointing_and_precision_are_respected():
    needs = {
        (kind, precision): plan(small(checkpointing=kind, precision=precision), Machine())
        for kind in get_args(Checkpointing)
        for precision in ("fp32", "bf16")
    }
    activations = {key: value.replicated.activations for key, value in needs.items()}
    for precision in ("fp32", "bf16"):
        kinds = [activations[kind, precision] for kind in ("none", "selective", "blocks")]
        assert kinds == sorted(kinds, reverse=True)
    assert activations["none", "bf16"] < activations["none", "fp32"]
    assert needs["blocks", "bf16"].flops > needs["none", "bf16"].flops == needs["selective", "bf16"].flops


def test_precision_auto_is_that_of_a_card():
    assert plan(small(), Machine()).precision == "bf16"
    assert plan(small(device="cpu"), Machine()).precision == "fp32"


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_cost_is_linear_in_groups(precision):
    """float16 keeps copies of the weights, so the line does not pass through the origin."""
    estimate = Estimate(small(batch_size=128, precision=precision), Machine(), 10)
    costs = [estimate.count("none", groups) for groups in (1, 2, 4, 8)]
    for name in ("flops", "saved"):
        one, two, four, eight = (getattr(value, name) for value in costs)
        assert two - one > 0
        assert (four - one, eight - one) == (3 * (two - one), 7 * (two - one))
    between = estimate.cost("none", 2)  # four groups per micro-step, between one and eight
    assert (between.flops, between.saved) == (costs[2].flops, costs[2].saved)


def test_micro_steps_and_devices_part_the_activations():
    whole = plan(small(), Machine())
    parted = plan(small(micro_steps=2), Machine())
    devices = plan(small(), Machine(devices=2))
    assert whole.flops == pytest.approx(parted.flops, rel=1e-3)
    assert parted.replicated.activations == devices.replicated.activations < 0.52 * whole.replicated.activations
    assert (whole.groups_per_device, parted.groups_per_device, devices.groups_per_device) == (4, 4, 2)


def test_other_networks_of_a_method_are_counted():
    """Figure 2: a teacher costs a forward more and its weights, a second network all twice."""
    methods = (Supervised(), MeanTeacher(), Cotrain())
    alone, distilled, both = (plan(small(method=method, drop_rate=0.0), Machine()) for method in methods)
    assert distilled.flops / alone.flops == pytest.approx(4 / 3, abs=0.06)
    assert both.flops / alone.flops == pytest.approx(2, rel=1e-6)
    assert alone.replicated.others == 0
    assert distilled.replicated.others == both.replicated.others == 4 * PARAMETERS
    assert distilled.replicated.gradients == alone.replicated.gradients
    assert both.replicated.gradients == 2 * alone.replicated.gradients
    assert both.replicated.optimizer == 2 * alone.replicated.optimizer
    assert both.replicated.activations > 1.9 * alone.replicated.activations


# --- steps, sizes, rates, time


def test_steps_rows_and_rates():
    recipe = small(epochs=10, schedule="linear", drop_rate=0.3, optimizer=Optimizer(warmup_epochs=2))
    planned = plan(recipe, Machine(devices=2), images=1000)
    assert (planned.steps_per_epoch, planned.steps) == (15, 150)
    assert (planned.rows, planned.kept) == (32, (32, 32, 22, 22))
    assert planned.effective_drop_rate == pytest.approx(1 - 108 / 128)
    assert planned.to_json()["kept_per_device"] == [64, 64, 44, 44]
    assert planned.to_json()["rows_per_device"] == 64
    rates = {rate.place: rate for rate in planned.learning_rates}
    assert [rate.step for rate in planned.learning_rates] == [0, 30, 37, 74, 112, 149]
    assert rates["warm-up ends"].rate == learning_rate(recipe, 30, planned.steps_per_epoch)
    assert all(rate.rate == learning_rate(recipe, rate.step, 15) for rate in planned.learning_rates)


@pytest.mark.parametrize(
    ("data", "images"),
    [(Digits(), 1437), (Digits(test_share=0.33), 1203), (Digits(train_images=200), 200),
     (Digits(validation_images=100), 1337)],
)  # fmt: skip
def test_the_images_of_the_digits_are_counted(data, images):
    size = plan(small(data=data), Machine()).size
    assert (size.images, size.classes, size.known) == (images, 10, "source")
    given = plan(small(data=data), Machine(), images=640).size
    assert (given.images, given.classes, given.known) == (640, 10, "given")


def test_a_folder_that_is_there_is_counted(tmp_path):
    for name, number in (("cat", 40), ("dog", 60)):
        (tmp_path / name).mkdir()
        for index in range(number):
            (tmp_path / name / f"{index}.png").write_bytes(b"not opened")
    size = plan(small(data=Folder(path=str(tmp_path), val_share=0.2)), Machine()).size
    assert (size.images, size.classes, size.known) == (80, 2, "source")
    size = plan(small(data=Folder(path=str(tmp_path)), choose="best"), Machine()).size
    assert size.images == 90
    given = plan(small(data=Folder(path=str(tmp_path))), Machine(), images=640).size
    assert (given.images, given.known) == (640, "given")
    with pytest.raises(InputError, match=r"classes: 3: the recipe is for 3 classes, and .* has 2 classes"):
        plan(small(data=Folder(path=str(tmp_path)), classes=3), Machine())


def test_sources_that_are_not_there_are_assumed():
    recipe = small(data=Folder(path="/nowhere"))
    size = plan(recipe, Machine()).size
    assert (size.images, size.classes, size.known) == (1_281_167, 1000, "assumed")
    given = plan(dataclasses.replace(recipe, classes=7), Machine(), images=640)
    assert (given.size.images, given.size.classes, given.size.known) == (640, 7, "given")
    assert given.parameters == PARAMETERS - 3 * 17


def test_time_follows_from_flops():
    planned = plan(small(), Machine(devices=2, device_tflops=2.0, utilisation=0.25))
    assert planned.seconds_per_step == pytest.approx(planned.flops / 1e12)
    assert planned.hours == pytest.approx(22 * planned.flops / 1e12 / 3600)
    assert Machine().peak("bf16") == 989
    assert Machine().peak("fp32") == 67


# --- does it fit


def needing(share: float, **changes):
    """A plan where the groups of a device need that share of too little memory."""
    recipe = small(batch_size=128, **changes)
    total = plan(recipe, Machine()).memory.total
    return recipe, plan(recipe, Machine(device_memory_gb=share * total / 1e9))


@pytest.mark.slow
def test_what_is_planned_to_fit_does():
    recipe, planned = needing(0.5)
    assert not planned.fits
    assert [(setting.sharded, setting.checkpointing) for setting in planned.settings] == [
        (False, "none"), (False, "lean"), (False, "selective"), (False, "blocks")]  # fmt: skip
    assert planned.settings[0].micro_steps > 1
    for setting in planned.settings:
        changed = {"checkpointing": setting.checkpointing, "micro_steps": setting.micro_steps}
        changed = dataclasses.replace(recipe, runtime=dataclasses.replace(recipe.runtime, **changed))
        again = plan(changed, planned.machine)
        assert again.fits
        assert setting.fits
        assert again.memory.total == pytest.approx(setting.bytes, rel=0.01)
        assert again.flops == pytest.approx(setting.flops, rel=1e-3)
    fewer = dataclasses.replace(recipe.runtime, micro_steps=planned.settings[0].micro_steps // 2)
    assert not plan(dataclasses.replace(recipe, runtime=fewer), planned.machine).fits


def sharded(recipe):
    return dataclasses.replace(recipe, runtime=dataclasses.replace(recipe.runtime, parallel="fsdp"))


@pytest.mark.slow
def test_sharding_is_a_remedy_where_there_are_devices():
    recipe = small()
    replicated = plan(recipe, Machine(devices=4))
    between = (replicated.replicated.total + replicated.sharded.total) / 2e9
    planned = plan(recipe, Machine(devices=4, device_memory_gb=between))
    assert (planned.fits, plan(sharded(recipe), planned.machine).fits) == (False, True)
    assert any(setting.sharded and setting.checkpointing == "none" and setting.fits for setting in planned.settings)
    alone = plan(sharded(recipe), Machine(devices=4, device_memory_gb=1e-9))
    assert {setting.sharded for setting in alone.settings} == {True}
    assert not any(setting.fits for setting in alone.settings)


def test_checkpointing_that_is_on_is_not_proposed():
    _, planned = needing(0.9, checkpointing="blocks")
    assert {setting.checkpointing for setting in planned.settings} == {"blocks"}


# --- what is refused


@pytest.mark.parametrize(
    ("machine", "message"),
    [
        ({"devices": 0}, "devices: 0"),
        ({"device_memory_gb": -1.0}, "device_memory_gb: -1.0"),
        ({"device_memory_gb": math.inf}, "device_memory_gb: inf"),
        ({"device_tflops": 0.0}, "device_tflops: 0.0"),
        ({"utilisation": 0.0}, "utilisation: 0.0"),
        ({"utilisation": math.nan}, "utilisation: nan"),
    ],
)
def test_machines_that_are_none(machine, message):
    with pytest.raises(InputError, match=message):
        Machine(**machine)


def test_devices_that_do_not_divide_the_groups_are_refused_as_in_training():
    with pytest.raises(InputError, match="3 processes of 1 micro-steps do not divide the 4 groups"):
        plan(small(), Machine(devices=3))
    with pytest.raises(InputError, match="8 processes"):
        plan(small(), Machine(devices=8))


@pytest.mark.parametrize(("given", "message"), [({"images": 0}, "images: 0"), ({"images": 63}, "more than the 63")])
def test_sizes_that_are_none(given, message):
    with pytest.raises(InputError, match=message):
        plan(small(), Machine(), **given)


# --- large networks, all recipes, and the command


SMALL = recipes().keys() - PAPER.keys()
QUICK = {"digits", "finetune", "cifar10"}  # one for each source


@pytest.mark.parametrize(
    "name", [*sorted(QUICK), *(pytest.param(name, marks=pytest.mark.slow) for name in sorted(SMALL - QUICK))]
)
def test_any_recipe_can_be_planned(name):
    assert plan(get(name), Machine()).fits


@pytest.mark.slow
def test_a_recipe_of_21k_is_planned_with_its_images_and_classes():
    planned = plan(get("resnet152-21k-90"), Machine(devices=32))
    assert (planned.size.images, planned.size.classes) == (14_197_122, 21_841)
    assert planned.fits


@pytest.mark.slow
def test_a_giant_network_is_planned_in_seconds():
    started = time.process_time()
    planned = plan(huge("vit_giant_patch14_224"), Machine(devices=64), images=1_281_167)
    assert time.process_time() - started < 20  # about 5; without memory nothing large is ever filled
    assert 1.0e9 < planned.parameters < 1.02e9
    assert (len(planned.kept), set(planned.kept), planned.steps_per_epoch) == (80, {26}, 625)
    assert planned.fits
    # Two rows per image, of which 26 in 64 are kept; 2 FLOPs per parameter and token, 257 tokens; 3 passes.
    assert planned.flops == pytest.approx(2048 * 2 * 26 / 64 * 257 * 6 * planned.parameters, rel=0.06)


def test_the_command_plans_a_huge_network_and_writes_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = ["--model", "deit3_huge_patch14_224", "--resolution", "224", "--batch-size", "2048", "--group-size", "32"]
    words += ["--drop-rate", "0.6", "--lr", "1e-3", "--dry-run", "--devices", "64", "--device-memory-gb", "80"]
    assert main(["train", "digits", *words, "--images", "1281167", "--out", "run"]) == 0
    out, err = capsys.readouterr()
    for word in (
        "630,858,250",
        "1,281,167 to train (as given)",
        "26 of 64",
        "0.5938 effective",
        "18,750 (30 epochs of 625)",
        "40% of 989 TFLOP/s (H100 SXM, dense bf16)",
        "FITS in 80 GB (--device-memory-gb), replicated",
    ):
        assert word in out
    assert err.splitlines()[:1] == [
        "planning deit3_huge_patch14_224: seconds for a small network, up to a minute for a large one"
    ]
    assert torch.cuda.is_available() or "no GPU is found here: planned for an H100" in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (4.2e-5, "under 1 ms"),
        (0.0012, "1.2 ms"),
        (0.0123, "12 ms"),
        (0.132, "132 ms"),
        (1.5, "1.5 s"),
        (65.0, "65 s"),
        (150.0, "2.5 minutes"),
        (7000.0, "117 minutes"),
        (9000.0, "2.5 hours"),
        (1e8, "1,157 days"),
    ],
)
def test_durations_are_in_the_unit_that_fits(seconds, shown):
    assert _duration(seconds) == shown


def test_the_time_of_short_steps_and_of_cpus_is_not_promised(capsys):
    assert main(["train", "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "so short a step takes longer than its FLOPs do" in out
    assert "e-05" not in out.split("learning rate")[0]
    assert main(["train", "--dry-run", "--device", "cpu"]) == 0
    assert "not planned for a CPU: give --device-tflops" in capsys.readouterr().out
    assert main(["train", "--dry-run", "--device", "cpu", "--device-tflops", "0.1"]) == 0
    assert "at 40% of 0.1 TFLOP/s (as given)" in capsys.readouterr().out


def test_the_command_says_that_it_does_not_fit_and_what_would(capsys):
    words = ["train", "digits", "--dry-run", "--model-args", "depth=2", "embed_dim=16", "num_heads=2", "patch_size=4"]
    words += ["--source", "folder", "--device", "cpu", "--device-memory-gb"]
    assert main([*words, "0.0015", "--group-size", "16"]) == 0
    out = capsys.readouterr().out
    assert "--images N" in out
    assert "DOES NOT FIT in 0.0015 GB (--device-memory-gb)" in out
    for remedy in ("--micro-steps 4  ", "--micro-steps 4, --checkpointing lean  "):
        assert f"  {remedy}" in out.split("what fits:")[1]
    assert main([*words, "0.0001"]) == 0
    assert "--checkpointing blocks 0.0" in capsys.readouterr().out


def test_checkpointing_that_saves_nothing_is_not_proposed():
    plain = Setting(False, "none", 2, bytes=70, flops=10, fits=True)
    selective = Setting(False, "selective", 2, bytes=72, flops=10, fits=True)
    blocks = Setting(False, "blocks", 1, bytes=75, flops=13, fits=True)
    sharded = Setting(True, "selective", 2, bytes=71, flops=10, fits=True)
    settings = (plain, selective, blocks, sharded)
    assert [_pointless(setting, settings) for setting in settings] == [False, True, False, False]


def test_the_command_warns_on_standard_error_and_prints_one_json_object(capsys):
    assert main(["train", "--dry-run", "--drop-rate", "0.001", "--json"]) == 0
    out, err = capsys.readouterr()
    values = json.loads(out)
    assert (values["steps"], values["size"]["images"], values["plot"]) == (660, 1437, None)
    assert set(values["machine"]) == {"devices", "device_memory_gb", "device_tflops", "utilisation"}
    assert values["replicated"]["total"] == sum(v for k, v in values["replicated"].items() if k != "total")
    assert "WARNING: submodel co-training is OFF" in err


def test_the_plot_is_written_where_it_is_asked_for_and_over_nothing(tmp_path, capsys):
    target = tmp_path / "rate.png"
    assert main(["train", "--dry-run", "--model-args", "depth=1", "--plot", str(target)]) == 0
    with Image.open(target) as picture:
        assert picture.width > 300
    assert [path.name for path in tmp_path.iterdir()] == ["rate.png"]
    before = target.read_bytes()
    capsys.readouterr()
    assert main(["train", "--dry-run", f"--plot={target}"]) == 2
    assert "exists; name another file" in capsys.readouterr().err
    assert target.read_bytes() == before
