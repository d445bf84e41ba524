"""Evaluation sets (val, ImageNet-V2, ReaL), what can be evaluated, and agreement with timm."""

import json
import shutil
from pathlib import Path

import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from timm.data.transforms_factory import create_transform
from tiny import call, together
from torch import Tensor, nn

from cosub.data.imagenet import class_indices, synsets
from cosub.data.sources import open_source
from cosub.errors import InputError
from cosub.evaluation.accuracy import best_target, evaluate
from cosub.evaluation.candidates import open_network
from cosub.evaluation.sets import open_set
from cosub.recipes.data import Folder
from cosub.recipes.files import dump
from cosub.recipes.inputs import Inputs
from cosub.recipes.recipe import Recipe
from cosub.runs.distributed import World, join
from cosub.runs.network import build_network, evaluating
from cosub.train.checkpoint import save_weights

ALONE = World(0, 1, torch.device("cpu"))
PLAIN = Inputs(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
SHAPE = {"patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 3}


class Reader(nn.Module):
    """Predicts the class that is painted on the image: red * 256 + green; the next class comes second."""

    def forward(self, images: Tensor) -> Tensor:
        red, green = ((images[:, channel, 0, 0] * 255).round().long() for channel in (0, 1))
        prediction = red * 256 + green
        return (
            torch.zeros(len(images), 1000).scatter(1, prediction[:, None], 2.0).scatter(1, prediction[:, None] + 1, 1.0)
        )


def paint(path: Path, prediction: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), (prediction // 256, prediction % 256, 0)).save(path, "PNG")


def score(chosen, world: World = ALONE, **settings):
    return evaluate(Reader(), chosen.examples, 1000, 8, world, inputs=PLAIN, targets=chosen.targets, **settings)


# --- ImageNet-V2


NUMBERS = (0, 1, 2, 10, 100, 101, 999 - 1)


def test_v2s_numbers_are_numbers_and_sorting_them_as_strings_gives_the_wrong_class(tmp_path):
    for number in NUMBERS:
        paint(tmp_path / str(number) / "a.jpeg", number)
    chosen = open_set("v2", str(tmp_path), synsets())
    assert sorted(chosen.examples.labels) == sorted(NUMBERS)
    assert score(chosen).top1 == 1.0
    # What torchvision's ImageFolder does, and timm's reader where folders are missing: the place among the names.
    places = {name: place for place, name in enumerate(sorted(map(str, NUMBERS)))}
    assert places["10"] == 2
    assert places["100"] == 3
    wrong = type(chosen.examples)(chosen.examples.paths, [places[path.parent.name] for path in chosen.examples.paths])
    assert evaluate(Reader(), wrong, 1000, 8, ALONE, inputs=PLAIN).top1 < 0.5


def test_v2_with_all_thousand_folders_as_strings_is_wrong_too(tmp_path):
    names = [str(number) for number in range(1000)]
    assert class_indices(sorted(names), synsets(), "here") == [int(name) for name in sorted(names)]
    assert sorted(names).index("100") == 3
    assert class_indices(["100"], synsets(), "here") == [100]


def test_v2_by_synset_takes_the_place_in_the_sorted_list(tmp_path):
    for number in NUMBERS:
        paint(tmp_path / synsets()[number] / "a.jpeg", number)
    for classes in (synsets(), tuple(map(str, range(1000)))):
        assert score(open_set("v2", str(tmp_path), classes)).top1 == 1.0


def test_the_real_samples_indices(data):
    """The published table gives each synset's index."""
    rows = [line.split("\t") for line in (data / "imagenet-1k-sample-index.tsv").read_text().splitlines()[1:]]
    chosen = open_set("val", str(data / "imagenet-1k-sample"), synsets())
    labels = {
        path.parent.name: label for path, label in zip(chosen.examples.paths, chosen.examples.labels, strict=True)
    }
    assert labels == {row[0]: int(row[1]) for row in rows}


@pytest.mark.parametrize(
    ("names", "classes"),
    [
        (["0", "1"], ("cat", "dog")),
        (["n01440764"], ("cat", "dog")),
        (["1000"], None),
        (["n99999999"], None),
        (["0", "cat"], None),
    ],
)
def test_folders_that_are_no_class_of_the_network(tmp_path, names, classes):
    for name in names:
        paint(tmp_path / name / "a.png", 0)
    with pytest.raises(InputError, match="folders that are not classes of the network"):
        open_set("v2", str(tmp_path), classes or synsets())


def test_names_of_the_networks_own_classes_go_first(tmp_path):
    """A run on folders named by numbers has sorted them as strings; its own names say which is which."""
    assert class_indices(["10", "2"], ("0", "10", "2"), "here") == [1, 2]


# --- ReaL


LISTS = [[5], [7, 8], [], [300], [1, 2, 3], []]


@pytest.fixture
def real(tmp_path) -> tuple[Path, str]:
    """An excerpt in the real format: six images, in folders whose order is not that of the names."""
    predictions = [5, 8, 9, 299, 0, 4]  # right, right (the second), no label, top-5 alone, top-5 alone, no label
    for place, prediction in enumerate(predictions):
        paint(tmp_path / "val" / synsets()[999 - place] / f"ILSVRC2012_val_{place + 1:08d}.JPEG", prediction)
    (tmp_path / "real.json").write_text(json.dumps(LISTS))
    return tmp_path, str(tmp_path / "real.json")


def test_real_goes_by_the_files_name_skips_empty_lists_and_takes_any_of_a_list(real):
    root, labels = real
    chosen = open_set("real", str(root), synsets(), labels)
    result = score(chosen)
    assert (result.num_images, chosen.skipped) == (4, 2)
    assert result.top1 == 0.5
    assert result.top5 == 1.0


def test_real_of_a_flat_folder_and_in_any_batch_is_the_same(real):
    root, labels = real
    (root / "flat").mkdir()
    for path in (root / "val").rglob("*.JPEG"):
        shutil.move(path, root / "flat" / path.name)
    assert score(open_set("real", str(root / "flat"), synsets(), labels), batch_size=3).top1 == 0.5


def test_the_bundled_labels_score_46837_images():
    from cosub.evaluation import sets

    lists = sets._labels("")
    assert len(lists) == 50000
    assert sum(bool(prediction) for prediction in lists) == 46837
    assert sum(map(len, lists)) / 46837 == pytest.approx(1.229, abs=5e-4)


def test_the_bundled_labels_are_used_where_none_are_named(tmp_path):
    paint(tmp_path / "ILSVRC2012_val_00000001.JPEG", 3)  # its list is empty
    paint(tmp_path / "ILSVRC2012_val_00000002.JPEG", 795)  # 970 or 795
    chosen = open_set("real", str(tmp_path), synsets())
    assert (score(chosen).top1, chosen.skipped) == (1.0, 1)


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [
        ("{}", "ILSVRC2012_val_00000001.JPEG", "not a list of lists"),
        ("[[1000]]", "ILSVRC2012_val_00000001.JPEG", "classes from 0 to 999"),
        ("[[0]", "ILSVRC2012_val_00000001.JPEG", "cannot be read as JSON"),
        ("[[0]]", "ILSVRC2012_val_00000002.JPEG", "is not named ILSVRC2012_val_00000001 to 00000001"),
        ("[[0]]", "tench.JPEG", "labels are found by name"),
        ("[[]]", "ILSVRC2012_val_00000001.JPEG", "no image with a ReaL label"),
    ],
)
def test_wrong_real_labels(tmp_path, content, name, message):
    paint(tmp_path / "val" / name, 0)
    (tmp_path / "real.json").write_text(content)
    with pytest.raises(InputError, match=message):
        open_set("real", str(tmp_path), synsets(), str(tmp_path / "real.json"))


def test_real_needs_imagenets_classes(real):
    with pytest.raises(InputError, match="ReaL labels ImageNet-1k's classes, and the network has 2 classes"):
        open_set("real", str(real[0]), ("cat", "dog"), real[1])


def test_the_best_target_stands_for_its_list():
    logits = torch.tensor([[0.1, 0.9, 0.5], [0.1, 0.9, 0.5]])
    assert best_target(logits, torch.tensor([[0, 2], [1, 1]])).tolist() == [2, 1]


@pytest.mark.slow
def test_processes_score_each_image_once(real, tmp_path):
    root, labels = real
    facts = tmp_path / "facts.json"
    assert together(2, _scored, str(root), labels, str(facts)) == [0, 0]
    assert json.loads(facts.read_text()) == [0.5, 1.0, 4]


def _scored(root: str, labels: str, facts: str) -> None:
    world = join("cpu")
    result = score(open_set("real", root, synsets(), labels), world, batch_size=1)
    if world.main:
        Path(facts).write_text(json.dumps([result.top1, result.top5, result.num_images]))


# --- what is evaluated


def run_folder(out: Path, classes: tuple[str, ...], **changes) -> Path:
    """A run's folder with an untrained network."""
    out.mkdir()
    recipe = Recipe("t", "deit3_small_patch16_224", dict(SHAPE), **{"resolution": 32, **changes})
    network = build_network(recipe, len(classes), copies=1)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():  # an untrained head is nearly constant
        for parameter in network.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.2)
    (out / "recipe.json").write_text(dump(recipe))
    save_weights(network.state_dict(), out / "model.safetensors", {"classes": json.dumps(classes)})
    return out


def test_evaluation_is_timms_own_on_the_exported_weights(data, tmp_path, capsys):
    source = open_source(Folder(path=str(data / "cifar10-mini")))
    run = run_folder(tmp_path / "run", source.classes, inputs=Inputs(crop_ratio=0.9))
    status, out, _ = call(capsys, "evaluate", run, "--set", f"val={data / 'cifar10-mini'}", "--json")
    assert status == 0
    ours = json.loads(out)

    model = timm.create_model("deit3_small_patch16_224", num_classes=10, img_size=32, **SHAPE)
    model.load_state_dict(load_file(run / "model.safetensors"))
    transform = create_transform(input_size=32, crop_pct=0.9, interpolation="bicubic")
    images = torch.stack([torch.as_tensor(transform(source.test.image(i))) for i in range(200)])
    with torch.inference_mode():
        predictions = model.eval()(images).topk(5, 1).indices
    labels = torch.tensor(list(source.test.labels))[:, None]
    assert len(predictions[:, 0].unique()) > 2  # the network does tell images apart
    assert ours["num_images"] == 200
    assert ours["top1"] == round(float((predictions[:, :1] == labels).float().mean()), 6)
    assert ours["top5"] == round(float((predictions == labels).any(1).float().mean()), 6)


@pytest.fixture
def imagenet_run(tmp_path) -> Path:
    return run_folder(tmp_path / "run", synsets())


def test_several_sets_give_a_table(imagenet_run, real, tmp_path, capsys):
    root, labels = real
    paint(tmp_path / "v2" / "10" / "a.jpeg", 10)
    words = ["evaluate", imagenet_run, "--set", f"val={root / 'val'}", "--set", f"v2={tmp_path / 'v2'}"]
    words += ["--set", f"real={root}", "--real", labels, "--resolution", 16, "--crop-ratio", 0.5]
    status, out, err = call(capsys, *words)
    assert status == 0
    assert [line.split()[0] for line in out.splitlines()[1:]] == ["set", "val", "v2", "real"]
    assert "16 pixels, crop 0.5" in out
    assert "position embedding resampled from 4x4 to 2x2" in err
    rows = json.loads(call(capsys, *words, "--json")[1])["sets"]
    assert [(row["set"], row["num_images"], row["unlabelled"]) for row in rows] == [
        ("val", 6, 0),
        ("v2", 1, 0),
        ("real", 4, 2),
    ]
    one = json.loads(
        call(capsys, "evaluate", imagenet_run, "--protocol", "v2", "--data.path", tmp_path / "v2", "--json")[1]
    )
    assert (one["set"], one["num_images"], one["resolution"]) == ("v2", 1, 32)


def test_a_file_of_weights(imagenet_run, tmp_path, capsys):
    paint(tmp_path / "v2" / "10" / "a.jpeg", 10)
    published = tmp_path / "deit.pth"
    small = timm.create_model("deit3_small_patch16_224", img_size=32, **SHAPE)
    torch.save({"model": small.state_dict()}, published)
    network = timm.create_model("vit_tiny_patch16_224")
    save_file(network.state_dict(), tmp_path / "tiny.safetensors")
    found = open_network(str(tmp_path / "tiny.safetensors"), "vit_tiny_patch16_224")
    assert (found.classes, found.recipe.resolution, found.recipe.inputs.crop_ratio) == (synsets(), 224, 0.9)
    own = dict(found.network.state_dict())
    assert all(torch.equal(own[name], value) for name, value in network.state_dict().items())
    status, out, _ = call(capsys, "evaluate", tmp_path / "tiny.safetensors", "--model", "vit_tiny_patch16_224",
                          "--resolution", 32, "--keep", 0.5, "--set", f"v2={tmp_path / 'v2'}", "--json")  # fmt: skip
    assert status == 0
    assert len(json.loads(out)["layers"]) == 12


def test_weights_without_a_trained_head_are_refused(tmp_path):
    save_file(timm.create_model("vit_tiny_patch16_224", num_classes=7).state_dict(), tmp_path / "seven.safetensors")
    with pytest.raises(InputError, match="not a trained classifier of this network"):
        open_network(str(tmp_path / "seven.safetensors"), "vit_tiny_patch16_224")


def test_a_name_of_timms_weights(monkeypatch):
    from cosub.weights import opening as weights

    model = timm.create_model("vit_tiny_patch16_224")
    monkeypatch.setattr(weights, "load_state_dict_from_hf", lambda *_args, **_more: model.state_dict())
    found = open_network("timm:vit_tiny_patch16_224.augreg_in21k_ft_in1k", resolution=64)
    assert (found.recipe.resolution, found.recipe.inputs.mean) == (64, (0.5, 0.5, 0.5))
    with pytest.raises(InputError, match=r"21843 classes \(ImageNet-21k as Google has it"):
        open_network("vit_tiny_patch16_224.augreg_in21k")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["RUN", "--set", "v3=/tmp"], "set: 'v3=/tmp': must be --set val=PATH, v2=PATH or real=PATH"),
        (["RUN", "--set", "val="], "set: 'val=': must be"),
        (["RUN", "--set", "val=./nowhere"], "set: ./nowhere: is not a folder"),
        (["RUN", "--set", "val=.", "--data.path", "."], "cannot go with --protocol and --data.path"),
        (["RUN", "--protocol", "v2"], "needs the folder, --data.path PATH"),
        (["RUN", "--real", "real.json"], "real: is for --set real=PATH"),
        (["RUN", "--crop-ratio", "1.5"], "crop_ratio: 1.5: "),
        (["RUN", "--resolution", "-1"], "resolution: -1: must be 0 or more"),
        (["RUN", "--model", "deit3_small_patch16_224", "--set", "val=."], "leave --model out"),
        (["RUN", "--show", "3", "--set", "val=a", "--set", "v2=b"], "needs one set in which each image has one class"),
        (
            ["RUN/model.safetensors", "--model", "no_such_model", "--set", "val=."],
            "names its model itself, deit3_small",
        ),
        (["RUN/recipe.json", "--set", "val=."], "name the timm model of"),
        (["RUN/recipe.json", "--model", "no_such_model", "--set", "val=."], "timm does not know it"),
        (["RUN/recipe.json", "--model", "deit3_small_patch16_224", "--set", "val=."], "cannot be read as weights"),
        (
            ["./no-such-file.pth", "--model", "deit3_small_patch16_224"],
            "is neither a run, a file, a folder, nor a name",
        ),
    ],
)
def test_errors_are_one_line(imagenet_run, capsys, words, message):
    status, out, err = call(capsys, "evaluate", *[word.replace("RUN", str(imagenet_run)) for word in words])
    assert (status, out) == (2, "")
    assert message in err
    assert len(err.splitlines()) == 1


def test_a_network_is_in_its_own_mode_again_however_evaluation_ends():
    network, modes = nn.Linear(1, 1).train(), []

    def stopped() -> None:
        with evaluating(network):
            modes.append(network.training)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert (modes, network.training) == ([False], True)
