"""Semantic segmentation: UperNet on attached backbones, dense losses, scenes, evaluation, runs."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import SMALL
from PIL import Image
from scenes import TINY, words
from tiny import run_together, together
from torch import Tensor

import cosub
from cosub.cli import main
from cosub.data.loading import Key
from cosub.data.sources import fingerprint, open_source
from cosub.data.transforms import normalize
from cosub.errors import InputError
from cosub.evaluation.metric import headline_metric
from cosub.recipes import get, plugins
from cosub.recipes.data import Scenes
from cosub.recipes.files import parse
from cosub.recipes.inputs import Inputs
from cosub.recipes.methods import Cosub
from cosub.recipes.recipe import Recipe
from cosub.recipes.runtime import Runtime
from cosub.recipes.tasks import Classification, Segmentation
from cosub.runs.distributed import World
from cosub.runs.folder import load_run
from cosub.runs.network import build_network, create
from cosub.segmentation.backbones import ANY_SIZE, look, tapped
from cosub.segmentation.evaluation import Mode, drive_alone, evaluate, score, starts, viewer
from cosub.segmentation.loading import SceneSet
from cosub.segmentation.losses import IGNORE, dense_cosub_loss, dense_label_loss
from cosub.segmentation.methods import DenseCosub
from cosub.segmentation.network import Classifier, Maps, Segmenter
from cosub.segmentation.transforms import TrainingCrop
from cosub.train.tasks import task_type


def recipe(**changes) -> Recipe:
    """A recipe for crops of 32 pixels on a tiny ViT."""
    task = Segmentation(width=8, short_side=32)
    small = {"model": "deit3_small_patch16_224", "model_args": TINY, "resolution": 32, "task": task, "weights": ""}
    return dataclasses.replace(get("camvid"), **{**small, "drop_rate": 0.5, **changes})


# --- networks


def segmenter(family: str) -> Segmenter:
    with torch.device("meta"):
        shape = look(SMALL[family](), 32)
    torch.manual_seed(0)
    return Segmenter(cosub.attach(SMALL[family](), drop_rate=0.5, copies=2), shape, 5, width=8)


def test_blocks_are_those_of_the_paper():
    assert tapped(12) == [3, 5, 7, 11]
    assert tapped(24) == [7, 11, 15, 23]


# Strides of what the heads get: the small models of some families have patches of 8 or 2 pixels.
STRIDES = {
    "convnext": [4, 8, 16, 32],
    "deit3": [2, 4, 8, 16],
    "patchconvnet": [4, 8, 16, 32],
    "pit": [4, 8, 16],
    "resnet18": [4, 8, 16, 32],
    "swin": [2, 4, 8],
    "xcit": [2, 4, 8, 16],
}


@pytest.mark.parametrize("family", sorted(STRIDES))
def test_two_copies_give_the_maps_of_the_repeated_input_and_what_they_depend_on_learns(family, images: Tensor, table):
    network = segmenter(family).eval()
    layers, rows = len(cosub.state(network).rates), 2 * len(images)
    with torch.no_grad(), cosub.active(network, table(layers, rows)):
        copied, doubled = network.maps(images), network.maps(torch.cat([images, images]))
    for one, other in zip(copied, doubled, strict=True):
        assert one.shape[0] == rows
        torch.testing.assert_close(one, other)
    assert not torch.equal(copied[-1][: len(images)], copied[-1][len(images) :])
    with torch.no_grad():
        assert [32 // level.shape[-1] for level in network.neck(copied)] == STRIDES[family]
    for name, parameter in network.backbone.named_parameters():
        parameter.requires_grad_(name not in network.shape.unused)
    logits, auxiliary = network.train()(images)
    assert logits.shape[:2] == auxiliary.shape[:2] == (rows, 5)
    (logits.sum() + auxiliary.sum()).backward()
    assert all((parameter.grad is not None) == parameter.requires_grad for parameter in network.parameters())


def test_the_classifiers_drop_channels_and_keep_transformers_keys():
    network = segmenter("deit3")
    assert {"decode_head.classifier.weight", "auxiliary_head.classifier.weight"} <= network.state_dict().keys()
    classifier = network.decode_head.classifier
    assert isinstance(classifier, Classifier)
    torch.manual_seed(0)
    x = torch.ones(64, 8, 2, 2)
    dropped = classifier.train()(x) - classifier.bias.view(1, -1, 1, 1)
    kept = classifier.eval()(x) - classifier.bias.view(1, -1, 1, 1)
    assert not torch.equal(dropped, kept)
    assert torch.equal(dropped[..., 0, 0], dropped[..., 1, 1])  # whole channels
    torch.testing.assert_close(dropped.mean(0), kept.mean(0), rtol=0.3, atol=0.1)


def test_a_recipe_builds_its_network_and_weights_fit_its_backbone(tmp_path: Path):
    from safetensors.torch import save_file

    network = build_network(recipe(), 11, copies=2)
    assert isinstance(network, Segmenter)
    assert network.shape.any_size
    published = SMALL["deit3"]()
    save_file(published.state_dict(), tmp_path / "model.safetensors")
    said = cosub.load_weights(network.backbone, tmp_path)
    assert said == ["head of 5 classes dropped: this network has none"]
    assert torch.equal(network.backbone.blocks[0].mlp.fc1.weight, published.blocks[0].mlp.fc1.weight)
    frozen = [name for name, parameter in network.named_parameters() if not parameter.requires_grad]
    assert frozen == ["backbone.norm.weight", "backbone.norm.bias"]
    assert network.no_weight_decay() == {f"backbone.{name}" for name in published.no_weight_decay()}
    again = build_network(recipe(), 11, copies=1)
    assert torch.equal(again.decode_head.classifier.weight, network.decode_head.classifier.weight)


def test_a_network_without_maps_of_three_sizes_is_one_line():
    with pytest.raises(InputError, match="mixer_s16_224"):
        build_network(recipe(model="mixer_s16_224", model_args={}), 11, copies=1)


# --- losses


@pytest.fixture
def logits() -> Tensor:
    return (3 * torch.randn(4, 5, 3, 4, generator=torch.Generator().manual_seed(0))).requires_grad_()


@pytest.fixture
def labels() -> Tensor:
    labels = torch.randint(5, (2, 3, 4), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    return labels.masked_fill(torch.rand(2, 3, 4, generator=torch.Generator().manual_seed(2)) < 0.3, IGNORE)


def chosen(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """The pixels that count, as rows."""
    valid = (labels != IGNORE).repeat(len(logits) // len(labels), 1, 1)
    return logits.movedim(1, -1)[valid], labels[labels != IGNORE].long()


@pytest.mark.parametrize("kind", ["bce-soft", "bce-hard", "ce-soft", "ce-hard"])
@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_dense_co_training_is_co_training_of_the_pixels_that_count(logits, labels, weight, kind):
    ours = dense_cosub_loss(logits, labels, weight, kind)
    reference = cosub.cosub_loss(*chosen(logits, labels), weight, kind)
    torch.testing.assert_close(ours, reference)
    gradients = [torch.autograd.grad(loss, logits)[0] for loss in (ours, reference)]
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("loss", ["bce", "ce"])
def test_weight_one_is_supervised_on_two_submodels(logits, labels, loss):
    supervised = dense_label_loss(logits, labels, loss)
    assert torch.equal(dense_cosub_loss(logits, labels, 1.0, f"{loss}-soft"), supervised)
    torch.testing.assert_close(supervised, cosub.label_loss(*chosen(logits, labels), loss))


@pytest.mark.parametrize("dense", [dense_cosub_loss, dense_label_loss])
def test_ignored_pixels_change_nothing(dense, logits, labels):
    ignored = (labels == IGNORE).repeat(2, 1, 1)[:, None]
    others = torch.where(ignored, 1e4 * torch.randn_like(logits), logits.detach()).requires_grad_()
    assert torch.equal(dense(others, labels), dense(logits, labels))
    gradient = torch.autograd.grad(dense(others, labels), others)[0]
    assert gradient.isfinite().all()
    assert not gradient.masked_select(ignored).any()
    nothing = dense(logits, torch.full_like(labels, IGNORE))
    assert nothing == 0
    assert not torch.autograd.grad(nothing, logits)[0].any()


def test_dense_co_training_needs_two_copies(logits, labels):
    with pytest.raises(ValueError, match="two copies of 2 images and got 2 rows"):
        dense_cosub_loss(logits[:2], labels)


def test_both_heads_learn_the_auxiliary_one_with_less_weight(labels):
    maps = Maps(torch.randn(4, 5, 3, 4), torch.randn(4, 5, 3, 4))
    loss, logits = DenseCosub(Cosub(weight=0.5, loss="ce-soft"))(
        {"network": lambda images: maps}, torch.zeros(2, 3, 3, 4), labels
    )
    torch.testing.assert_close(
        loss, dense_cosub_loss(maps.logits, labels) + 0.4 * dense_cosub_loss(maps.auxiliary, labels)
    )
    assert torch.equal(logits, maps.logits)


# --- data


def test_folders_are_read_and_zero_is_ignored(scenes: Path):
    source = open_source(Scenes(path=str(scenes)))
    assert source.classes == ("red", "green", "blue")
    assert [len(source.train.labels), len(source.test.labels)] == [12, 4]
    image, labels = source.train.pair(0)
    assert image.size == (40, 30)
    assert labels.shape == (30, 40)
    assert labels.dtype == torch.uint8
    assert set(labels.unique().tolist()) == {0, 1, IGNORE}
    assert (labels[0, 0], labels[0, 20], labels[20, 20]) == (IGNORE, 0, 1)
    assert fingerprint(source) != fingerprint(dataclasses.replace(source, train=source.test))


def _as_parquet(scenes: Path, root: Path, without: str = "") -> None:
    """The scenes as Parquet files; `without`: the stem of those that lack an annotation."""
    import datasets

    for part, split in (("training", "train"), ("validation", "validation")):
        stems = sorted(path.stem for path in (scenes / "images" / part).iterdir())
        columns = {
            name: [
                None if (name, stem) == ("annotation", without)
                else {"bytes": (scenes / folder / part / f"{stem}.png").read_bytes(), "path": stem}
                for stem in stems
            ]
            for name, folder in (("image", "images"), ("annotation", "annotations"))
        }  # fmt: skip
        features = datasets.Features({name: datasets.Image() for name in columns})
        target = root / f"{split}-00000-of-00001.parquet"
        target.parent.mkdir(exist_ok=True)
        datasets.Dataset.from_dict(columns, features).to_parquet(str(target))
    (root / "classes.txt").write_text("red\ngreen\nblue\n")


def test_parquet_files_without_an_annotation_are_refused_at_once(scenes: Path, tmp_path: Path):
    _as_parquet(scenes, tmp_path / "hub", without="1")
    with pytest.raises(InputError, match="has no annotation; correct or remove it"):
        open_source(Scenes(path=str(tmp_path / "hub")))


def test_parquet_files_give_the_same_pairs(scenes: Path, tmp_path: Path):
    _as_parquet(scenes, tmp_path / "hub")
    hub, folders = (open_source(Scenes(path=str(root))) for root in (tmp_path / "hub", scenes))
    assert hub.classes == folders.classes
    for index in range(4):
        ours, theirs = hub.test.pair(index), folders.test.pair(index)
        assert torch.equal(ours[1], theirs[1])
        assert np.array_equal(np.asarray(ours[0]), np.asarray(theirs[0]))


def _junk(root: Path, kind: str) -> None:
    """What systems leave there, with a partner each, so that they would be pairs."""
    folder = root / kind / "training"
    (folder / ".ipynb_checkpoints").mkdir()
    for name in ("._0.png", ".ipynb_checkpoints/1.png"):
        shutil.copy(folder / "0.png", folder / name)


def test_what_is_no_scene_is_passed_over_and_reported(scenes: Path):
    for kind in ("images", "annotations"):
        _junk(scenes, kind)
    shutil.copy(scenes / "annotations/training/0.png", scenes / "annotations/training/99.png")
    source = open_source(Scenes(path=str(scenes)))
    assert [len(source.train.labels), len(source.test.labels)] == [12, 4]
    assert {item.why: item.number for item in source.left_out} == {
        "annotation without an image": 1,
        "hidden, or of the system": 4,
    }


def test_a_run_from_before_reads_scenes_as_then(scenes: Path):
    for kind in ("images", "annotations"):
        _junk(scenes, kind)
    values = dataclasses.asdict(get("camvid"))
    del values["data"]["reading"]
    data = parse(values, "here").data
    before = open_source(dataclasses.replace(data, path=str(scenes)))  # pyright: ignore[reportCallIssue]
    assert len(before.train.labels) == 14


def _resize(root: Path) -> None:
    Image.new("L", (40, 31)).save(root / "annotations/training/3.png")


def _recolour(root: Path) -> None:
    Image.new("L", (40, 30), 4).save(root / "annotations/validation/1.png")


def _colour(root: Path) -> None:
    Image.new("RGB", (40, 30)).save(root / "annotations/training/3.png")


WRONG = {
    "annotations/training/3.png has 40x31 pixels and its image 40x30": _resize,
    "annotations/validation/1.png has the id 4 and there are 3 classes": _recolour,
    "annotations/training/3.png has 3 channels instead of one": _colour,
    "cannot be read as text in UTF-8": lambda root: (root / "classes.txt").write_bytes(b"r\xe9d\ngreen\nblue\n"),
    "differs only in the extension": lambda root: shutil.copy(
        root / "images/training/5.png", root / "images/training/5.jpg"
    ),
    "images/training/5.png: has no annotation": lambda root: (root / "annotations/training/5.png").unlink(),
    "has no folder annotations/validation": lambda root: (root / "annotations/validation").rename(root / "elsewhere"),
    "is not a folder with images/training": lambda root: (root / "images").rename(root / "elsewhere"),
    "names 1 classes": lambda root: (root / "classes.txt").write_text("red\n"),
}


@pytest.mark.parametrize("message", WRONG)
def test_wrong_data_are_one_line(message: str, scenes: Path, capsys):
    WRONG[message](scenes)
    assert main(["train", "camvid", "--data.path", str(scenes), "--out", str(scenes.parent / "run")]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1
    assert not (scenes.parent / "run").exists()


def crop(**changes) -> TrainingCrop:
    return TrainingCrop(Segmentation(short_side=32, **changes), 32, Inputs())


def test_image_and_labels_are_changed_together_and_by_the_seed(scenes: Path):
    source = open_source(Scenes(path=str(scenes)))
    dataset = SceneSet(source.train, crop(distort=0.0), seed=3)
    colours = torch.tensor([[250, 20, 20], [20, 250, 20], [20, 20, 250]])
    for position in range(12):
        image, labels, bad = dataset[Key(position, 0, position)]
        assert (image.shape, labels.shape, bad) == ((3, 32, 32), (32, 32), [])
        inside = labels != IGNORE
        close = (image.movedim(0, -1)[inside].int() - colours[labels[inside].long()]).abs().amax(1) < 60
        assert close.float().mean() > 0.85  # edges are blurred
        again = dataset[Key(position, 0, position)]
        assert torch.equal(again[0], image)
        assert torch.equal(again[1], labels)
    assert not torch.equal(dataset[Key(0, 1, 0)][0], dataset[Key(0, 0, 0)][0])


def test_small_images_are_padded_with_the_mean_and_ignored_there(scenes: Path):
    image, labels = open_source(Scenes(path=str(scenes))).train.pair(0)
    pixels, mask = crop(min_scale=0.5, max_scale=0.5, flip=0.0, distort=0.0)(image, labels)
    assert (mask[16:] == IGNORE).all()
    assert (mask[2:16, 2:20] != IGNORE).all()
    assert pixels[:, 31, 31].tolist() == [124, 116, 104]


def test_a_crop_has_no_class_above_its_share_where_it_can(scenes: Path):
    labels = torch.zeros(64, 64, dtype=torch.uint8)
    labels[:, 32:] = 1
    image = Image.new("RGB", (64, 64))
    torch.manual_seed(0)
    still = {"min_scale": 2.0, "max_scale": 2.0, "flip": 0.0, "distort": 0.0}
    shares = [(crop(max_share=0.6, **still)(image, labels)[1] == 0).float().mean() for _ in range(20)]
    assert max(abs(share - 0.5) for share in shares) <= 0.5
    assert sum(abs(share - 0.5) < 0.1 for share in shares) >= 15
    any_crop = [(crop(max_share=1.0, **still)(image, labels)[1] == 0).float().mean() for _ in range(20)]
    assert sum(abs(share - 0.5) < 0.1 for share in any_crop) < 15
    torch.manual_seed(0)
    places = [crop(max_share=1.0, **still)._place(labels[None]) for _ in range(20)]
    torch.manual_seed(0)
    assert places == [tuple(int(torch.randint(33, ())) for _ in range(2)) for _ in range(20)]  # each time the first


def test_a_bad_pair_is_replaced_and_named(scenes: Path):
    source = open_source(Scenes(path=str(scenes)))
    (scenes / "annotations/training/0.png").write_bytes(b"no picture")
    name = source.train.labels[0]
    image, labels, bad = SceneSet(source.train, crop(), seed=0)[Key(0, 0, 0)]
    assert len(bad) == 1
    assert bad[0].startswith(name)
    assert image.shape == (3, 32, 32)
    assert (labels != IGNORE).any()


# --- evaluation

CPU = World(0, 1, torch.device("cpu"))


def test_scores_are_those_of_scikit_learn():
    from sklearn.metrics import accuracy_score, balanced_accuracy_score, confusion_matrix, jaccard_score

    generator = torch.Generator().manual_seed(0)
    truth, prediction = (torch.randint(4, (500,), generator=generator) for _ in range(2))
    matrix = torch.from_numpy(confusion_matrix(truth, prediction, labels=range(5)))
    result = score(matrix, ["a", "b", "c", "d", "absent"], 1, [])
    assert [one.iou for one in result.classes[:4]] == pytest.approx(
        jaccard_score(truth, prediction, average=None), abs=1e-6
    )
    assert result.miou == pytest.approx(jaccard_score(truth, prediction, average="macro"), abs=1e-6)
    assert result.mean_accuracy == pytest.approx(balanced_accuracy_score(truth, prediction), abs=1e-6)
    assert result.accuracy == pytest.approx(accuracy_score(truth, prediction), abs=1e-6)
    assert (result.classes[4].iou, result.classes[4].accuracy, result.classes[4].pixels) == (None, None, 0)


def test_windows_cover_an_image():
    assert starts(512, 512) == [0]
    assert starts(683, 512) == [0, 171]
    assert starts(2048, 512) == [0, 341, 682, 1023, 1364, 1536]


@pytest.fixture
def network() -> Segmenter:
    network = build_network(recipe(), 3, copies=1).eval()
    for module in network.modules():  # so that predictions differ
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(module.bias)
    return network


def test_sliding_equals_whole_where_the_window_covers_the_image(network: Segmenter):
    image = torch.randint(256, (3, 45, 45), dtype=torch.uint8)
    slide, whole = (
        drive_alone(look.probabilities(image), network, look)
        for look in (viewer(recipe(), network, Mode(whole=way, flip=True), CPU.device) for way in (False, True))
    )
    assert slide.shape == (3, 45, 45)
    assert torch.equal(slide, whole)
    torch.testing.assert_close(slide.sum(0), torch.ones(45, 45))


@pytest.mark.parametrize("size", [(32, 120), (90, 33), (70, 101)])
def test_windows_are_put_back_where_they_were(monkeypatch, network: Segmenter, size):
    """Of a network that looks at each pixel alone."""
    monkeypatch.setattr(Segmenter, "forward", lambda _self, images: Maps(images[:, :3], images))
    task = Segmentation(width=8, short_side=min(size))
    given, image = recipe(task=task), torch.randint(256, (3, *size), dtype=torch.uint8)
    found = viewer(given, network, Mode(), CPU.device)
    expected = normalize(image[None], given.inputs).softmax(1)[0]
    torch.testing.assert_close(drive_alone(found.probabilities(image), network, found), expected, rtol=0, atol=1e-6)


def test_a_flipped_image_has_the_flipped_prediction_where_flips_are_averaged(network: Segmenter):
    image = torch.randint(256, (3, 32, 32), dtype=torch.uint8)
    look = viewer(recipe(), network, Mode(scales=(0.5, 1.0, 1.5), flip=True), CPU.device)
    one, other = (drive_alone(look.probabilities(values), network, look) for values in (image, image.flip(2)))
    torch.testing.assert_close(one, other.flip(2))


@pytest.mark.parametrize(
    ("name", "resolution", "stride"),
    [
        ("patchconvnet_s60", 96, 16),
        ("patchconvnet_s60", 98, 16),
        ("vit_small_patch14_dinov2", 98, 14),
        ("vit_small_r26_s32_224", 224, 32),
        ("swin_tiny_patch4_window7_224", 224, 32),
    ],
)
def test_whole_images_are_padded_to_the_stride(name, resolution, stride):
    with torch.device("meta"):
        shape = look(create(name, resolution, 0, {}, **ANY_SIZE), resolution)
    assert (shape.stride, shape.any_size) == (stride, True)


def test_windows_that_take_twice_the_size_alone_take_no_whole_images():
    with torch.device("meta"):
        assert not look(create("maxvit_tiny_rw_224", 224, 0, {}, **ANY_SIZE), 224).any_size


def test_a_network_of_one_size_takes_no_whole_images():
    network = build_network(recipe(model="beit_base_patch16_224", model_args=TINY), 3, copies=1)
    with pytest.raises(InputError, match="whole: beit"):
        viewer(recipe(model="beit_base_patch16_224"), network, Mode(whole=True), CPU.device)


def test_check_data_knows_scenes_and_names_their_images(scenes: Path, capsys):
    for path in (scenes / "images/training").iterdir():
        Image.open(path).convert("RGB").save(path.with_suffix(".jpg"))
        path.unlink()
    (scenes / "images/training/0.jpg").write_bytes(b"no picture")
    assert main(["check-data", str(scenes), "--workers", "1", "--json"]) == 3
    found = json.loads(capsys.readouterr().out)
    assert [line.split(" (")[0] for line in found["damaged"]] == ["images/training/0.jpg"]
    assert found["odd"] == {}  # its annotation is a PNG
    assert main(["train", "scratch", "--data.path", str(scenes)]) == 2
    assert "holds scenes, which have a class for every pixel: cosub train camvid" in capsys.readouterr().err


def test_evaluation_counts_each_labelled_pixel_once(network: Segmenter, scenes: Path):
    source = open_source(Scenes(path=str(scenes)))
    parts = [evaluate(network, source.test, source.classes, recipe(), World(0, 1, CPU.device))]
    assert parts[0].num_images == 4
    labels = torch.stack([source.test.pair(index)[1] for index in range(4)])
    assert [one.pixels for one in parts[0].classes] == [int((labels == index).sum()) for index in range(3)]
    (scenes / "images/validation/0.png").write_bytes(b"no picture")
    damaged = evaluate(network, source.test, source.classes, recipe(bad_share=0.5), CPU)
    assert damaged.num_images == 3
    assert len(damaged.bad) == 1


# --- runs


@pytest.mark.parametrize("method", ["supervised", "cosub"])
def test_a_run_learns_tests_and_draws(method: str, scenes: Path, tmp_path: Path, capsys):
    out = tmp_path / "run"
    kind = ["--loss", "ce-soft"] if method == "cosub" else ["--loss", "ce"]
    assert main([*words(scenes, out, "--method", method, *kind), "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert set(summary["iou"]) == {"red", "green", "blue"}
    assert summary["steps"] == 6
    assert summary["skipped_crops"] == 0
    assert summary["miou"] == pytest.approx(sum(summary["iou"].values()) / 3, abs=1e-5)
    assert main(["evaluate", str(out), "--multi-scale", "--whole", "--show", "2", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert 0 <= found["miou"] <= 1
    assert Path(found["picture"]).stat().st_size > 0
    assert main(["evaluate", str(out), "--keep", "0.5"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("mIoU")
    assert main(["evaluate", str(out), "--crop-ratio", "0.9"]) == 2
    assert "crop_ratio: is for classification" in capsys.readouterr().err


def test_a_run_learns_what_scenes_show(scenes: Path, tmp_path: Path, capsys):
    """Classes are colours: labels that are not where their pixels are would not be learnt."""
    learn = ["--method", "cosub", "--loss", "ce-soft", "--lr", "0.01", "--epochs", "20"]
    assert main([*words(scenes, tmp_path / "run", *learn), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["miou"] > 0.7


def test_a_deterministic_run_on_a_gpu_is_refused(scenes: Path, tmp_path: Path):
    """UperNet pools adaptively, whose gradient torch has no deterministic kernel for."""
    given = recipe(data=Scenes(path=str(scenes)), runtime=Runtime(deterministic=True, out=str(tmp_path)))
    task = task_type(given)(given, open_source(given.data))
    with pytest.raises(InputError, match=r"deterministic: UperNet's pooling .* leave it out"):
        task.network(0, World(0, 1, torch.device("cuda")))


def test_crops_without_a_label_are_counted_and_give_no_gradient(scenes: Path, tmp_path: Path, capsys):
    for index in range(6):
        Image.new("L", (40, 30)).save(scenes / f"annotations/training/{index}.png")
    assert main([*words(scenes, tmp_path / "run"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["skipped_crops"] == 2 * 6
    lines = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert all(np.isfinite(line["loss"]) for line in lines if "loss" in line)


REFUSED = {
    "group_size: 1: BatchNorm": ["--batch-size", "1", "--group-size", "1"],
    "method: 'cotrain'": ["--method", "cotrain"],
    "augment: 'changed'": ["--augment.mixup", "0.8"],
    "source: 'folder': is not for segmentation": ["--source", "folder"],
    "resolution: 36": ["--resolution", "36"],
    "crop_ratio: is for classification": ["--crop-ratio", "0.9"],
    "interpolation: is for classification": ["--interpolation=bilinear"],
    "task.max_scale: 0.1": ["--task.max-scale", "0.1"],
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_does_not_go_together_is_one_line(message: str, scenes: Path, tmp_path: Path, capsys):
    assert main(words(scenes, tmp_path / "run", *REFUSED[message])) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1


def test_scenes_are_not_for_classification(capsys):
    assert main(["train", "digits", "--source", "scenes"]) == 2
    assert "e.g. camvid" in capsys.readouterr().err
    assert isinstance(get("digits").task, Classification)


@pytest.mark.slow
def test_two_sharded_processes_have_the_confusion_matrix_of_one(scenes: Path, tmp_path: Path):
    """Trained in one process, tested in two, of which one has more windows to look at."""
    assert main(words(scenes, tmp_path / "run")) == 0
    wide = Image.open(scenes / "images/validation/0.png").resize((160, 30))
    wide.save(scenes / "images/validation/0.png")
    Image.open(scenes / "annotations/validation/0.png").resize((160, 30), 0).save(
        scenes / "annotations/validation/0.png"
    )
    assert main(["evaluate", str(tmp_path / "run")]) == 0
    trained = load_run(tmp_path / "run")
    test = open_source(trained.recipe.data).test
    alone = evaluate(trained.network, test, trained.classes, trained.recipe, CPU)
    assert together(2, _tested, str(tmp_path / "run"), str(tmp_path / "found.json")) == [0, 0]
    assert json.loads((tmp_path / "found.json").read_text()) == alone.summary


def _tested(run: str, target: str) -> None:
    from cosub.runs.distributed import join
    from cosub.train.sharding import shard

    trained, world = load_run(run), join("cpu")
    shard(trained.network, world)
    found = evaluate(trained.network, open_source(trained.recipe.data).test, trained.classes, trained.recipe, world)
    if world.main:
        Path(target).write_text(json.dumps(found.summary))


@pytest.mark.slow
def test_two_processes_train_together(scenes: Path, tmp_path: Path):
    from cosub.api.configuring import configure

    given = words(scenes, tmp_path / "two", "--group-size", "2")[1:]
    facts = run_together(configure(given), 2)
    assert facts["processes"] == 2
    assert load_run(tmp_path / "two").classes == ("red", "green", "blue")


# --- how the plug-in is found


def test_what_the_tables_name_is_there_and_tasks_name_their_metric():
    tables = (plugins.SOURCES, plugins.TASKS, plugins.NETWORKS, plugins.EVALUATORS, plugins.PREDICTORS)
    assert all(callable(plugins.find(place)) for table in tables for place in table.values())
    for task in (Segmentation(), Classification()):
        assert headline_metric(task.kind) == task_type(recipe(task=task, data=data_for(task))).metric
    assert {headline_metric(kind).key for kind in ("classification", "segmentation")} == {"top1", "miou"}


def data_for(task):
    return get("camvid").data if isinstance(task, Segmentation) else get("digits").data
