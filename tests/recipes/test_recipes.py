import dataclasses
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cosub.errors import InputError
from cosub.recipes import get, recipes
from cosub.recipes.augmentation import Augment
from cosub.recipes.data import Digits, Folder, Scenes, Shards
from cosub.recipes.files import differences, dump, identity, parse, read
from cosub.recipes.inputs import Inputs
from cosub.recipes.methods import Cosub, CosubDistill, MeanTeacher, Supervised
from cosub.recipes.optimizer import Optimizer
from cosub.recipes.runtime import Runtime
from cosub.recipes.tasks import Segmentation


@pytest.mark.parametrize("name", recipes())
def test_shipped_recipes_survive_the_round_trip(name, tmp_path):
    recipe = get(name)
    (tmp_path / "recipe.json").write_text(dump(recipe))
    again = read(tmp_path / "recipe.json")
    assert again == recipe
    assert (type(again.method), type(again.data)) == (type(recipe.method), type(recipe.data))


@pytest.mark.parametrize("name", recipes())
def test_shipped_recipes_have_cost_numbers_and_command(name):
    text = recipes()[name].__doc__ or ""
    for word in ("Cost: ", f"cosub train {name}"):
        assert word in text, f"{name}: its docstring lacks {word!r}"
    assert re.search(r"^ *(Measured: |The paper: |The paper \(top-1 in percent\):)", text, re.M), name


def test_one_method_is_never_read_as_another(tmp_path):
    for method in (Supervised(loss="ce"), Cosub(weight=1.0, loss="ce-hard")):
        recipe = dataclasses.replace(get("digits"), method=method)
        (tmp_path / "r.json").write_text(dump(recipe))
        assert read(tmp_path / "r.json").method == method


@given(st.floats(0, 0.99), st.integers(1, 9), st.floats(0, 1), st.sampled_from(["a b", "ü", "x" * 300]))
def test_round_trip_of_values(drop_rate, groups, weight, path):
    recipe = dataclasses.replace(
        get("digits"),
        drop_rate=drop_rate,
        batch_size=8 * groups,
        group_size=8,
        method=Cosub(weight=weight),
        data=Folder(path=path),
    )
    values = json.loads(dump(recipe))
    del values["format"]
    assert parse(values, "here") == recipe


def change(key, value):
    values = json.loads(dump(get("digits")))
    *parents, last = key.split(".")
    place = values
    for parent in parents:
        place = place[parent]
    place[last] = value
    return values


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("drop_rat", 0.1, "did you mean drop_rate?"),
        ("method.wieght", 0.1, "did you mean weight?"),
        ("method", {"kind": "cosup"}, "cosup"),
        ("drop_rate", "0.1", "'0.1'"),
        ("epochs", 1.5, "1.5"),
        ("drop_rate", 1.0, "1.0"),
        ("method.weight", -0.1, "-0.1"),
        ("augment.mixup", -1.0, "-1.0"),
        ("data.test_share", 1.0, "1.0"),
        ("optimizer.layer_decay", 0.0, "0.0"),
        ("inputs.std", [0.2, 0.0, 0.2], "0.0"),
        ("runtime.timeout", 0, "0"),
        ("classes", 1, "1"),
        ("format", 2, "format 1"),
        ("lr", 0.0, "0.0"),
        ("ema", 1.0, "1.0"),
        ("workers", 1, "unknown"),
    ],
)
def test_wrong_files_say_field_and_value(tmp_path, key, value, words):
    (tmp_path / "r.json").write_text(json.dumps(change(key, value)))
    with pytest.raises(InputError) as refused:
        read(tmp_path / "r.json")
    message = str(refused.value).removeprefix(f"recipe: {tmp_path / 'r.json'}")
    assert key in message
    assert words in message


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (Augment, {"flip": 1.5}),
        (Augment, {"min_area": 0.0}),
        (Augment, {"smoothing": 1.0}),
        (Augment, {"repeats": 0}),
        (Cosub, {"weight": 1.5}),
        (CosubDistill, {"teacher_weight": 0.8}),
        (Digits, {"test_share": 0.0}),
        (Folder, {"train_images": -1}),
        (Folder, {"range": (1.0, float("inf"))}),
        (Folder, {"range": (2.0, 1.0)}),
        (Inputs, {"mean": (0.5, float("nan"), 0.5)}),
        (Inputs, {"std": (0.5, 0.0, 0.5)}),
        (MeanTeacher, {"momentum": 1.0}),
        (Optimizer, {"clip": float("inf")}),
        (Runtime, {"workers": -1}),
        (Scenes, {"num_classes": 255}),
        (Segmentation, {"max_scale": 0.1}),
        (Shards, {"length": -1}),
    ],
    ids=str,
)
def test_ranges_hold_in_python(kind, values):
    ((name, _),) = values.items()
    with pytest.raises(InputError, match=rf"(^|\.){name}: "):
        kind(**values)


def test_the_ends_of_a_range_belong_to_it_or_not():
    """Intervals are written as in mathematics."""
    Augment(flip=0.0, mix_probability=1.0, min_area=1.0, smoothing=0.0)
    for values, interval in (({"min_area": 0.0}, "(0, 1]"), ({"smoothing": 1.0}, "[0, 1)"), ({"flip": 2.0}, "[0, 1]")):
        with pytest.raises(InputError, match=re.escape(f"must be in {interval}")):
            Augment(**values)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"format": 1}', "\udcff", '{"format": 1, "lr": Infinity}', "[" * 100_000]
)
def test_files_that_are_no_recipe(tmp_path, text):
    (tmp_path / "r.json").write_bytes(text.encode("utf8", "surrogateescape"))
    with pytest.raises(InputError, match=r"r\.json"):
        read(tmp_path / "r.json")


def test_identity_is_what_changes_results():
    recipe = get("digits")
    moved = dataclasses.replace(recipe, runtime=dataclasses.replace(recipe.runtime, workers=3, out="elsewhere"))
    assert identity(moved) == identity(recipe)
    a, b = (dataclasses.replace(recipe, data=Folder(path=path)) for path in ("here", "there"))
    assert identity(a) == identity(b)
    other = dataclasses.replace(recipe, optimizer=Optimizer(clip=2.0), seed=3)
    assert identity(other) != identity(recipe)
    assert identity(dataclasses.replace(recipe, weights="vit.pth")) != identity(recipe)
    assert differences(recipe, moved) == []
    assert set(differences(recipe, dataclasses.replace(recipe, seed=3, method=Cosub(weight=0.1)))) == {
        "seed",
        "method.weight",
    }


def test_what_excludes_each_other_is_refused():
    recipe = get("digits")
    with pytest.raises(InputError, match=r"batch_size: 100: must be a multiple of group_size 64, e\.g\. 64"):
        dataclasses.replace(recipe, batch_size=100, group_size=64)
    with pytest.raises(InputError, match="binary targets cannot be smoothed"):
        dataclasses.replace(recipe, augment=Augment(smoothing=0.1))
    dataclasses.replace(recipe, augment=Augment(smoothing=0.1), method=Cosub(loss="ce-soft"))


def test_an_unknown_name_has_the_nearest():
    with pytest.raises(InputError, match="did you mean cifar10"):
        get("cifar")


def test_a_rule_that_refuses_more_leaves_a_recipe_what_it_was():
    before, now, first = (dataclasses.replace(get("scratch"), data=Folder(reading=reading)) for reading in (2, 3, 1))
    assert identity(now) == identity(before) != identity(first)


def test_a_rounding_that_is_gone_is_told(tmp_path):
    (tmp_path / "recipe.json").write_text(dump(get("digits")).replace('"nearest"', '"spread"'))
    with pytest.raises(InputError, match=r"rounding: 'spread' is no longer there: write 'masked' .* another --out"):
        read(tmp_path / "recipe.json")
