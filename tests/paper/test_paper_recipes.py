"""The paper's recipes: they build, train, and lead to every row of its tables."""

import dataclasses
import functools
import json
import re
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from layouts import words as splits_of
from paper_rows import ROWS, Row

from cosub.api.configuring import configure
from cosub.attachment import state
from cosub.cli import main
from cosub.data.sources import open_source
from cosub.errors import InputError
from cosub.paper.recipes import convnets, imagenet, imagenet21k, selfsupervised, transfer
from cosub.paper.recipes.catalogue import PAPER
from cosub.paper.recipes.listing import overview, page, purposes
from cosub.paper.recipes.paper import LAMB, Entry, Printed
from cosub.recipes import get, recipes
from cosub.recipes.augmentation import Augment
from cosub.recipes.data import Folder
from cosub.recipes.files import dump, parse
from cosub.recipes.methods import METHODS, Supervised
from cosub.recipes.optimizer import Optimizer
from cosub.recipes.recipe import Recipe, method_for
from cosub.runs.distributed import World
from cosub.runs.folder import RunFolder
from cosub.runs.network import build_network
from cosub.runs.progress import Reporter
from cosub.train.cautions import cautions
from cosub.train.launch import train
from cosub.train.optim import learning_rate
from cosub.train.trainer import Trainer

DOCS = Path(__file__).parents[2] / "docs"
FAMILIES = (imagenet, convnets, imagenet21k, selfsupervised, transfer)

# Prefix of a model's name -> a small one of its family, for images of 32 pixels.
VIT: dict[str, Any] = {"patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 3}
SMALL: dict[str, tuple[str, dict[str, Any]]] = {
    "deit3_": ("deit3_small_patch16_224", VIT),
    "vit_": ("vit_base_patch16_224", VIT),
    "beit_": ("beit_base_patch16_224", VIT),
    "cait_": ("cait_m12_224", VIT),
    "xcit_": ("xcit_nano_12_p16_224", VIT),
    "pit_": ("pit_ti_224", {"patch_size": 4, "stride": 4, "base_dims": (8, 8, 8)}),
    "swin_": (
        "swin_tiny_patch4_window7_224",
        {"patch_size": 2, "window_size": 4, "embed_dim": 8, "depths": (1, 1, 1), "num_heads": (2, 2, 2)},
    ),
    "convnext_": ("convnext_atto", {"depths": (1, 1, 1, 1), "dims": (8, 8, 12, 16)}),
    "resnet": ("resnet26", {"channels": (8, 8, 8, 8)}),
    "regnety_": ("regnety_002", {}),
}


# --- building


@functools.cache
def residual_layers(model: str, arguments: tuple[tuple[str, Any], ...], resolution: int) -> int:
    """Built at its full size without memory, and attached."""
    recipe = Recipe("probe", model, dict(arguments), resolution=resolution, drop_rate=0.1)
    with torch.device("meta"):
        return len(state(build_network(recipe, 1000, 2)).rates)


def built(recipe: Recipe) -> int:
    return residual_layers(recipe.model, tuple(recipe.model_args.items()), recipe.resolution)


def first_of_each_family() -> list[str]:
    families = {next(prefix for prefix in SMALL if recipe.model.startswith(prefix)): name for name, recipe in
                reversed([(name, entry.recipe) for name, entry in PAPER.items()])}  # fmt: skip
    return list(families.values())


@pytest.mark.parametrize("name", first_of_each_family())
def test_a_recipe_of_each_family_builds_without_memory(name):
    assert built(get(name)) >= 8


@pytest.mark.slow
def test_every_recipe_builds_without_memory():
    assert min(built(get(name)) for name in PAPER) >= 8


# --- files


@pytest.mark.parametrize("method", METHODS)
def test_every_recipe_survives_the_round_trip_with_every_method(method):
    for name in PAPER:
        recipe = dataclasses.replace(get(name), method=method_for(get(name), method))
        values = json.loads(dump(recipe))
        del values["format"]
        again = parse(values, name)
        assert again == recipe
        assert [type(getattr(again, field.name)) for field in dataclasses.fields(recipe)] == [
            type(getattr(recipe, field.name)) for field in dataclasses.fields(recipe)
        ]


def test_no_recipe_hides_another():
    names = [entry.name for family in FAMILIES for entry in family.ENTRIES]
    assert max(Counter(names).values()) == 1
    assert len(recipes()) >= len(names) + 3


# --- a step


@pytest.fixture(scope="module")
def photographs(tmp_path_factory, request) -> Path:
    """Two classes of CIFAR-10's photographs, eight to train and two to test of each."""
    from conftest import DATA

    mini = DATA / "cifar10-mini"
    if not mini.is_dir():
        pytest.skip(f"no real images at {mini}: set COSUB_DATA to the folder that holds cifar10-mini")
    root = tmp_path_factory.mktemp("photographs")
    for split, number in (("train", 8), ("val", 2)):
        for folder in sorted((mini / split).iterdir())[:2]:
            (root / split / folder.name).mkdir(parents=True)
            for file in sorted(folder.iterdir())[:number]:
                shutil.copy(file, root / split / folder.name)
    return root


def small(recipe: Recipe, photographs: Path, method: str, teacher: str) -> Recipe:
    """The recipe with a small model of its family, images of 32 pixels, and a batch of eight."""
    model, arguments = next(found for prefix, found in SMALL.items() if recipe.model.startswith(prefix))
    chosen = method_for(recipe, method)
    if hasattr(chosen, "teacher"):
        chosen = dataclasses.replace(chosen, teacher=teacher)
    return dataclasses.replace(
        recipe,
        name="small",
        method=chosen,
        model=model,
        model_args={**arguments, **recipe.model_args},
        weights="",
        resolution=32,
        classes=2,
        drop_rate=max(recipe.drop_rate, 0.25),  # some row of sixteen is dropped
        epochs=20,
        batch_size=8,
        group_size=8,
        data=Folder(path=str(photographs)),
        runtime=dataclasses.replace(recipe.runtime, device="cpu", out=str(photographs / "run")),
    )


@pytest.fixture(scope="module")
def teacher(photographs) -> str:
    """A finished run on the same photographs."""
    out = photographs.parent / f"{photographs.name}-teacher"
    recipe = Recipe("teacher", "vit_tiny_patch16_224", VIT, resolution=32, epochs=1, batch_size=8, group_size=8,
                    data=Folder(path=str(photographs)), augment=Augment(policy="", jitter=0.0))  # fmt: skip
    train(dataclasses.replace(recipe, runtime=dataclasses.replace(recipe.runtime, device="cpu", out=str(out))))
    return str(out)


def take_a_step(recipe: Recipe) -> None:
    """Batch, mixing, submodels, loss, backward and optimizer, as the loop does it."""
    from cosub.train.logs import Window

    folder = RunFolder(Path(recipe.runtime.out))
    trainer = Trainer(recipe, open_source(recipe.data), World(0, 1, torch.device("cpu")), folder, Reporter())
    trainer.prepare()
    trainer.network.train()
    trainer.state.step = trainer.total_steps // 2  # where the rate is not that of warm-up's first step
    before = [parameter.detach().clone() for parameter in trainer.network.parameters()]
    loss, *_, norm = trainer.train_step(trainer.networks.trained, trainer.batches(), Window(recipe.batch_size))
    assert loss.isfinite()
    assert norm > 0
    after = list(trainer.network.parameters())
    assert all(parameter.isfinite().all() for parameter in after)
    assert any(not torch.equal(old, new) for old, new in zip(before, after, strict=True))


def kinds_of_steps() -> list[str]:
    """One recipe for each way in which a step differs but for numbers: family, loss, augmentation, optimizer."""
    found: dict[object, str] = {}
    for name, entry in PAPER.items():
        recipe = entry.recipe
        family = next(prefix for prefix in SMALL if recipe.model.startswith(prefix))
        decayed = recipe.optimizer.layer_decay < 1
        kind = (family, recipe.method.targets, recipe.augment.policy, recipe.optimizer.name, decayed)
        found.setdefault(kind, name)
    return list(found.values())


@pytest.mark.parametrize("name", kinds_of_steps())
def test_each_kind_of_recipe_takes_a_step(name, photographs):
    take_a_step(small(get(name), photographs, "cosub", ""))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["deit3-h-800-lamb", "swin-b-21k-90-1k", "resnet50-a1"])
def test_a_recipe_takes_a_step_with_every_method(name, method, photographs, teacher):
    take_a_step(small(get(name), photographs, method, teacher))


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_every_recipe_takes_a_step_with_every_method(method, photographs, teacher):
    """Those that became the same when they were made small take it together."""
    recipes = [small(get(name), photographs, method, teacher) for name in PAPER]
    for recipe in {dump(recipe): recipe for recipe in recipes}.values():
        take_a_step(recipe)


# --- the tables


def served() -> list[tuple[Entry, Printed]]:
    return [(entry, row) for entry in PAPER.values() for row in entry.rows]


def method_of(printed: Printed) -> str:
    return printed.options.partition("--method ")[2].partition(" ")[0] or "cosub"


def leads_to(entry: Entry, printed: Printed, row: Row) -> bool:
    recipe = entry.recipe
    return (
        (printed.table, printed.row, tuple(printed.numbers.values())) == (row.table, row.row, row.numbers)
        and (recipe.model, recipe.resolution, method_of(printed)) == (row.model, row.pixels, row.method)
        and row.epochs in (None, recipe.epochs)
    )


def test_every_row_of_the_paper_has_a_recipe():
    """And one alone, but for its preset with LAMB."""
    found = {row: {entry.name.removesuffix(LAMB) for entry, printed in served() if leads_to(entry, printed, row)}
             for row in ROWS}  # fmt: skip
    assert [row for row, names in found.items() if not names] == []
    assert [names for names in found.values() if len(names) > 1] == []


def test_recipes_claim_no_row_that_the_paper_lacks():
    for entry, printed in served():
        assert any(leads_to(entry, printed, row) for row in ROWS), f"{entry.name}: {printed}"


@functools.cache
def settled(words: str) -> Recipe:
    return configure(words.split())


def test_options_set_what_an_ablation_changes():
    for row in ROWS:
        name, value = row.setting
        if name:
            entry, printed = next(found for found in served() if leads_to(*found, row))
            recipe = settled(f"deit3-h-800 {printed.options}".strip())  # both sizes and resolutions have the same
            assert entry.recipe.method == get("deit3-h-800").method
            assert recipe.method.kind == row.method
            found = recipe.rounding if name == "rounding" else getattr(recipe.method, name)
            assert found == (float(value) if name == "weight" else value)


def test_commands_are_understood():
    """Those of the first recipe of each group, with all of its options."""
    groups = {entry.group: entry for entry, _ in reversed(served())}
    for entry in groups.values():
        for printed in entry.rows:
            recipe = settled(entry.command(printed.options).removeprefix("cosub train "))
            assert recipe.method.kind == method_of(printed)
            assert recipe.method.targets == entry.recipe.method.targets


def test_a_later_stage_starts_from_an_earlier_one():
    stages = [entry for entry in PAPER.values() if entry.before]
    assert len(stages) > 50
    for entry in stages:
        first = PAPER[entry.before].recipe
        assert first.model == entry.recipe.model
        assert first.resolution <= entry.recipe.resolution
        for printed in entry.rows:
            start = printed.options.partition("--weights ")[2]
            assert start == (f"out/{first.name}-supervised-0" if method_of(printed) == "supervised" else "")


# --- values


def test_drop_rates_and_layer_decays_are_those_of_table_a1():
    sizes = ("deit3-s", "deit3-m", "deit3-b", "deit3-l", "deit3-h")
    assert [get(f"{size}-800").drop_rate for size in sizes] == [0.05, 0.1, 0.2, 0.45, 0.6]
    assert [get(f"{size}-21k-90").drop_rate for size in sizes] == [0.05, 0.05, 0.1, 0.3, 0.5]
    assert [get(f"{size}-21k-270").drop_rate for size in sizes] == [0.1, 0.1, 0.15, 0.35, 0.55]
    assert [get(f"{size}-21k-90-1k").optimizer.layer_decay for size in sizes] == [0.7, 0.75, 0.75, 0.8, 0.85]
    assert get("deit3-b-21k-270-1k-448px").drop_rate == 0.15
    assert get("deit3-l-800-192px-to-224").drop_rate == 0.45


def test_rates_are_those_of_appendix_a1_and_of_deit3():
    assert get("deit3-b-800").peak_lr == 1e-3
    assert (get("deit3-s-800-lamb").peak_lr, get("deit3-b-800-lamb").peak_lr) == (4e-3, 3e-3)
    assert get("deit3-b-21k-90-1k").peak_lr == 2e-4  # C_LD is 2 with layer decay
    assert get("deit3-b-21k-90-1k-nodecay").peak_lr == 1e-4
    assert dataclasses.replace(get("deit3-b-800"), batch_size=512).peak_lr == pytest.approx(5e-4)
    fine = get("deit3-b-800-192px-to-224")
    assert {learning_rate(fine, step, 2502) for step in (5 * 2502, 30_000, 50_039)} == {1e-5}
    assert all(entry.recipe.optimizer.weight_decay == 0.02 for entry in (*imagenet.ENTRIES, *imagenet21k.ENTRIES))


def test_lamb_has_a_second_preset():
    for name in ("deit3-b-800", "swin-l-400", "deit3-l-21k-270", "deit3-l-21k-270-1k-nodecay"):
        first, second = get(name), get(name + LAMB)
        assert (first.optimizer.name, second.optimizer.name) == ("adamw", "lamb")
        back = dataclasses.replace(second, name=name, lr=first.lr, weights=first.weights, optimizer=first.optimizer)
        assert back == first


def test_the_granularity_of_the_drop_rate_is_that_of_table_7():
    """2048 images on 32 GPUs and on 64."""
    assert (get("deit3-l-800").group_size, get("deit3-h-800").group_size) == (64, 32)


def test_gpu_days_are_those_of_table_7():
    assert "284 GPU days; supervised 9, 160" in PAPER["deit3-l-800"].cost
    assert "604 GPU days; supervised 11, 391" in PAPER["deit3-h-800"].cost


def test_what_is_inferred_is_reported():
    assert "Inferred, not in the paper: drop_rate 0.2, " in (recipes()["swin-b-21k-90"].__doc__ or "")
    assert "Inferred, not in the paper: optimizer.clip 1.0." in (recipes()["deit3-b-800"].__doc__ or "")
    assert "Inferred" not in (recipes()["deit3-b-800-lamb"].__doc__ or "")  # LAMB's own code clips
    for entry in PAPER.values():
        for name in entry.all_inferred:
            assert name in (recipes()[entry.name].__doc__ or "")


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("deit3-b-800-192px-to-224", {"batch_size", "method.loss", "lr", "optimizer.clip"}),
        ("resnet50-a1", {"optimizer.weight_decay"}),
        ("deit3-s-to-cars", {"method.loss", "optimizer.clip"}),
        ("deit3-s-21k-270-112px", {"resolution"}),
    ],
)
def test_readings_and_additions_are_marked(name, fields):
    assert fields <= set(PAPER[name].all_inferred)


def test_recipes_from_weights_say_how_their_classifier_starts():
    from_weights = [entry for entry in PAPER.values() if entry.recipe.weights]
    assert len(from_weights) > 40
    for entry in from_weights:
        assert entry.recipe.head == "model"
        assert "initialised as in timm: --head model" in " ".join((recipes()[entry.name].__doc__ or "").split())


# --- bad input


def test_another_method_keeps_the_kind_of_loss():
    assert configure(["deit3-b-21k-90", "--method", "supervised"]).method == Supervised(loss="ce")
    assert configure(["deit3-b-800", "--method", "supervised"]).method == Supervised(loss="bce")
    for method in METHODS:
        assert method_for(get("deit3-b-21k-90"), method).targets == "ce"


def test_smoothing_with_binary_labels_is_refused():
    with pytest.raises(InputError, match="binary targets cannot be smoothed"):
        configure(["deit3-b-21k-90", "--loss", "bce-soft"])
    with pytest.raises(InputError, match="binary targets cannot be smoothed"):
        configure(["deit3-b-800", "--augment.smoothing", "0.1"])


def said(recipe: Recipe) -> str:
    recipe = dataclasses.replace(recipe, model="vit_tiny_patch16_224", model_args=VIT, resolution=32)
    return "\n".join(cautions(recipe, build_network(recipe, 2, 2)))


def test_lambs_rate_on_adamw_is_cautioned():
    recipe = get("deit3-b-800-lamb")
    assert "LAMB's" not in said(recipe)
    adamw = dataclasses.replace(recipe, optimizer=Optimizer())
    assert "lr 0.003 gives a peak rate of 0.003, which is usual for LAMB" in said(adamw)
    for name in ("deit3-b-800", "digits", "cifar10", "cifar10-gpu"):
        assert "LAMB's" not in said(get(name))


def test_a_recipe_of_21k_on_other_classes_is_refused(photographs):
    recipe = get("deit3-b-21k-90")
    with pytest.raises(
        InputError, match=r"classes: 21841: the recipe is for 21841 classes \(ImageNet-21k.* has 2 classes"
    ):
        open_source(Folder(path=str(photographs)), recipe.classes)


# --- lists


def test_the_page_of_recipes_is_up_to_date():
    assert (DOCS / "recipes.md").read_text() == page(), "write it: cosub recipes --markdown > docs/recipes.md"


def test_the_map_of_the_paper_has_every_row():
    text = (DOCS / "paper.md").read_text()
    for line in lines_of_the_map():
        assert line in text


def lines_of_the_map() -> list[str]:
    """The rows of docs/paper.md for the tables, but for the last column, which is ours to measure."""
    return [
        f"| {printed.table} | {printed.row} | `{entry.command(printed.options)}` | {printed.result} |"
        for entry, printed in sorted(served(), key=lambda found: place(found[1]))
        if not entry.name.endswith(LAMB)
    ]


def place(printed: Printed) -> tuple[bool, int]:
    table = printed.table
    return table.startswith("B."), int(table.removeprefix("B."))


def test_a_recipe_for_imagenet_is_trained_on_ones_own_classes(tmp_path, capsys):
    splits_of("train", "val")(tmp_path / "data")
    words = ["train", "deit3-s-400", "--data.path", str(tmp_path / "data"), "--out", str(tmp_path / "run")]
    assert main(words) == 2
    assert "set --classes 3" in capsys.readouterr().err
    words += ["--classes", "3", "--epochs", "2", "--batch-size", "6", "--group-size", "3", "--resolution", "16"]
    words += ["--model", "vit_tiny_patch16_224", "--model-args", "depth=2", "embed_dim=16", "num_heads=2"]
    assert main(words) == 0
    assert "3 classes" in capsys.readouterr().err
    assert main(["evaluate", str(tmp_path / "run"), "--json"]) == 0
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    found = json.loads(capsys.readouterr().out)
    assert (found["num_images"], found["top1"]) == (15, summary["top1"])


def test_recipes_are_listed_by_group():
    lines = overview("table 8").splitlines()
    assert any(re.fullmatch(r"ImageNet-1k from scratch: ViT +the paper: top-1", line) for line in lines)
    assert any(line.startswith("  deit3-b-800[-lamb]") for line in lines)
    assert max(map(len, overview().splitlines())) <= 120
    assert set(purposes("iNat-19")) == {f"deit3-{size}-to-inat19" for size in "sbl"}
