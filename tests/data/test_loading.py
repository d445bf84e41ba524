"""The loader: repeated augmentation, decoding at reduced scale, damaged images, and the bench of it."""

import contextlib
import dataclasses
import io
import itertools
import json
import random
import signal
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from damage import damaged, encoded, odd, write
from layouts import fill
from pictures import parquet, picture
from PIL import Image
from tiny import call, tiny

from cosub.bench.loader import difference, files_of
from cosub.data.decoding import BadImage, decode
from cosub.data.loading import Key, Slice, StepSampler, TrainingSet, distinct_images, training_loader
from cosub.data.sources import open_source
from cosub.data.sources.folder import Files
from cosub.data.transforms import RandomResizedCrop, evaluation, reduction, training
from cosub.errors import RunError
from cosub.evaluation.accuracy import check_bad
from cosub.recipes.augmentation import Augment
from cosub.recipes.data import Folder

# --- repeated augmentation


def keys(repeats: int, steps: range = range(5), world_size: int = 1, rank: int = 0, micro_steps: int = 1):
    share = Slice(rank, world_size, micro_steps, num_groups=4)
    return list(StepSampler(103, 20, 5, 0, share, steps, repeats))


@pytest.mark.parametrize("repeats", [2, 3, 4])
def test_copies_of_an_image_come_in_one_batch_and_in_different_groups(repeats):
    for batch in keys(repeats):
        places: dict[int, list[int]] = {}
        for row, key in enumerate(batch):
            places.setdefault(key.image, []).append(row // 5)
        assert len(places) == distinct_images(20, repeats)
        assert all(len(set(groups)) == len(groups) for groups in places.values())
        assert max(map(len, places.values())) == repeats


def test_an_epoch_keeps_its_steps_and_sees_a_share_of_the_images():
    epoch = [key for batch in keys(3) for key in batch]
    assert [key.position for key in epoch] == list(range(100))
    assert len({key.image for key in epoch}) == 5 * 7
    assert set(Counter(key.image for key in epoch).values()) == {2, 3}
    following = {key.image for batch in keys(3, range(5, 10)) for key in batch}
    assert following != {key.image for key in epoch}


def test_one_copy_is_the_epochs_order_as_it_was():
    assert keys(1) == list(StepSampler(103, 20, 5, 0, Slice(0, 1, 1, 4), range(5)))
    assert len({key.image for batch in keys(1) for key in batch}) == 100


@pytest.mark.parametrize(("world_size", "micro_steps"), [(2, 1), (4, 1), (2, 2)])
def test_processes_share_the_copies_as_they_share_a_batch(world_size, micro_steps):
    whole = keys(3)
    parts = [keys(3, range(5), world_size, rank, micro_steps) for rank in range(world_size)]
    for step in range(5):
        cut = slice(step * micro_steps, (step + 1) * micro_steps)
        assert [key for part in parts for batch in part[cut] for key in batch] == whole[step]
    for batch in whole:  # the copies of an image are in different groups
        assert all(len({key.image for key in batch[first : first + 5]}) == 5 for first in range(0, len(batch), 5))


def test_copies_are_changed_differently(folder):
    source = open_source(Folder(path=str(folder)))
    dataset = TrainingSet(source.train, training(16, Augment(policy="", jitter=0)), seed=0)
    first, second = dataset[Key(3, 0, 1)], dataset[Key(3, 0, 8)]
    assert not torch.equal(first[0], second[0])
    assert torch.equal(first[0], dataset[Key(3, 0, 1)][0])


def test_the_plan_and_the_log_say_how_many_images_an_epoch_saw(tmp_path, capsys):
    from tiny import run

    augment = Augment(crop="simple", policy="", repeats=4)
    recipe = tiny(tmp_path / "run", epochs=2, evaluate_every=1, batch_size=320, augment=augment)
    run(recipe)
    images = 1437 // recipe.batch_size * recipe.batch_size // 4
    assert f"{images} distinct images, 4 copies of each" in capsys.readouterr().err
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["distinct_images"] for line in lines if "distinct_images" in line] == [images]


def test_more_copies_than_groups_are_cautioned(tmp_path):
    from cosub.runs.network import build_network
    from cosub.train.cautions import cautions

    recipe = tiny(tmp_path, augment=Augment(repeats=5))
    assert recipe.num_groups == 4
    said = cautions(recipe, build_network(recipe, 10, 2))
    assert any("repetitions share a group" in line for line in said)


class Ignored:
    """As images: which of the three signals a process that loads them ignores."""

    def __getitem__(self, _key):
        numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
        return torch.tensor([signal.getsignal(number) is signal.SIG_IGN for number in numbers]), 0, []


def test_workers_ignore_the_signals_that_stop_the_trainer():
    from cosub.train.signals import StopRequest

    with StopRequest().listening():
        (batch,) = training_loader(Ignored(), [[Key(0, 0, 0)]], 1, False)
    assert batch.images.all()


# --- decoding at reduced scale


@pytest.fixture
def photographs(data) -> Files:
    paths = sorted(data.glob("imagenet-1k-sample/*/*"))[:12]
    return Files(paths, [0] * len(paths))


def smooth(size: tuple[int, int]) -> Image.Image:
    """Colours that grow over the image, so that a crop that is moved is another colour."""
    x, y = np.meshgrid(np.linspace(0, 255, size[0]), np.linspace(0, 255, size[1]))
    return Image.fromarray(np.stack([x, y, 255 - x], axis=2).astype(np.uint8))


@pytest.mark.parametrize("scale", [2, 4, 8])
def test_a_reduced_crop_shows_the_same_box(tmp_path, scale):
    smooth((1000, 760)).save(tmp_path / "a.jpg", quality=95)
    files = Files([tmp_path / "a.jpg"], [0])
    crop = RandomResizedCrop(32, 0.08, 0.0, "bicubic")
    box = (11, 7, 60, 50)
    small = files.image(0, lambda image: crop.cut(image, box, scale)).float()
    left, top, width, height = (scale * side for side in box)
    full = files.image(0, lambda image: crop.cut(image, (left, top, width, height), 1)).float()
    assert (small - full).abs().mean() < 0.7
    moved = files.image(0, lambda image: crop.cut(image, (left + 2 * scale, top, width, height), 1)).float()
    assert (small - full).abs().mean() < (small - moved).abs().mean()


@pytest.mark.parametrize("min_area", [0.001, 0.08])
def test_a_crop_of_few_pixels_has_one_at_least_and_lies_inside(min_area):
    crop = RandomResizedCrop(8, min_area, 0.5, "bicubic")
    for width, height in itertools.product(range(1, 7), repeat=2):
        image = Image.new("RGB", (width, height))
        for seed in range(50):
            random.seed(seed)
            (left, top, *sides), _ = crop.draw(image)
            assert min(sides) > 0
            assert 0 <= left <= width - sides[0]
            assert 0 <= top <= height - sides[1]
        assert crop(image).shape == (3, 8, 8)


def test_the_scale_is_the_least_at_which_the_box_has_the_targets_pixels(tmp_path):
    smooth((1000, 760)).save(tmp_path / "a.jpg")
    smooth((1000, 760)).save(tmp_path / "a.png")
    with Image.open(tmp_path / "a.jpg") as jpeg, Image.open(tmp_path / "a.png") as png:
        assert [reduction(jpeg, side, 700, 64) for side in (511, 512, 256, 255, 128, 127, 64, 9)] == [
            4, 8, 4, 2, 2, 1, 1, 1]  # fmt: skip
        assert reduction(png, 1000, 760, 16) == 1
        random_crop = RandomResizedCrop(64, 0.08, 0.0, "bicubic")
        for _ in range(50):
            (_, _, width, height), scale = random_crop.draw(jpeg)
            assert min(width, height) >= 64 or scale == 1


@pytest.mark.parametrize(("resolution", "most"), [(64, 4.0), (128, 3.0)])
def test_reduced_and_full_decoding_of_photographs_differ_by_little(photographs, resolution, most):
    found = difference(photographs, resolution, draws=2)
    assert found["reduced"] > 0.2
    assert 0 < found["reduced_mean"] < most


def test_a_full_crop_is_pillows_resize(photographs):
    crop = RandomResizedCrop(64, 0.08, 0.0, "bicubic")
    for index in range(4):
        with Image.open(photographs.paths[index]) as image:
            expected = image.convert("RGB").crop((5, 8, 95, 101)).resize((64, 64), Image.Resampling.BICUBIC)
        pixels = photographs.image(index, lambda image: crop.cut(image, (5, 8, 90, 93), 1))
        assert pixels.shape == (3, 64, 64)
        assert np.abs(pixels.permute(1, 2, 0).numpy().astype(int) - np.asarray(expected)).mean() < 0.3


def test_what_is_drawn_does_not_depend_on_the_decoding(photographs):
    """The draws after the crop (flip, policy) are the same for an image of any format."""
    crop = RandomResizedCrop(32, 0.08, 1.0, "bicubic")
    plain = RandomResizedCrop(32, 0.08, 0.0, "bicubic")
    with Image.open(photographs.paths[0]) as image:
        png = encoded(image.convert("RGB"), "PNG")
    boxes = []
    for opened in (lambda: photographs.paths[0], lambda: io.BytesIO(png)):
        random.seed(4)
        (left, top, width, height), scale = decode(opened, "", crop.draw)
        boxes.append([left * scale, top * scale, width * scale, height * scale])
    assert np.abs(np.subtract(*boxes)).max() < 8
    flipped, straight = (_seeded(photographs, each) for each in (crop, plain))
    assert torch.equal(flipped.flip(2), straight)


def _seeded(files: Files, crop: RandomResizedCrop) -> torch.Tensor:
    random.seed(7)
    return files.image(0, crop)


def test_grey_and_palette_images_are_cropped_in_rgb(tmp_path):
    picture(size=(50, 40)).convert("L").save(tmp_path / "grey.jpg")
    picture(size=(50, 40)).convert("P").save(tmp_path / "palette.png")
    files = Files([tmp_path / "grey.jpg", tmp_path / "palette.png"], [0, 0])
    for crop in ("random-resized", "simple", "center"):
        transform = training(16, Augment(crop=crop))
        for index in range(2):
            pixels = torch.as_tensor(transform.change(files.image(index, transform.read)))
            assert (pixels.shape, pixels.dtype) == ((3, 16, 16), torch.uint8)


# --- damaged images


@pytest.fixture(scope="module")
def photograph() -> bytes:
    from conftest import DATA

    if not DATA.is_dir():
        pytest.skip(f"no real images at {DATA}")
    path = min(DATA.glob("imagenet-1k-sample/*/*"), key=lambda path: path.stat().st_size)
    return path.read_bytes()


@pytest.fixture
def spoilt(tmp_path, photograph) -> tuple[Path, list[Path]]:
    """A data set of two classes with damaged images in one of them, and their paths."""
    for split in ("train", "val"):
        for name in ("good", "spoilt"):
            (tmp_path / split / name).mkdir(parents=True)
            for index in range(20):
                picture(index + 100 * (split == "val")).save(tmp_path / split / name / f"{index}.png")
    return tmp_path, write(tmp_path / "train" / "spoilt", damaged(photograph))


def test_the_damage_is_of_many_kinds(spoilt):
    assert len(spoilt[1]) >= 30
    assert len({path.name.split("-")[0] for path in spoilt[1]}) >= 10


@pytest.mark.parametrize("crop", ["random-resized", "simple"])
def test_every_damaged_image_is_named_and_replaced_by_the_same_image(spoilt, crop):
    root, paths = spoilt
    examples = open_source(Folder(path=str(root))).train
    dataset = TrainingSet(examples, training(16, Augment(crop=crop, policy="", jitter=0)), seed=0)
    named = []
    for index in range(len(examples.labels)):
        pixels, label, bad = dataset[Key(index, 0, index)]
        again = dataset[Key(index, 0, index)]
        assert torch.equal(torch.as_tensor(pixels), torch.as_tensor(again[0]))
        assert (label, bad) == again[1:]
        named += [bad[0].split(" (")[0]] if bad else []
    assert sorted(named) == sorted(map(str, paths))


def test_an_epoch_over_damaged_images_is_the_same_with_any_number_of_workers(spoilt):
    root, paths = spoilt
    examples = open_source(Folder(path=str(root))).train
    size = len(examples.labels) // 2
    epochs = []
    for workers in (0, 2):
        dataset = TrainingSet(examples, training(16, Augment(policy="", jitter=0)), seed=0)
        sampler = StepSampler(2 * size, size, size, 0, Slice(0, 1, 1, 1), range(2))
        batches = list(training_loader(dataset, sampler, workers, pin_memory=False))
        epochs.append((torch.cat([batch.images for batch in batches]), {name for b in batches for name in b.bad}))
    assert torch.equal(epochs[0][0], epochs[1][0])
    assert epochs[0][1] == epochs[1][1]
    bad = sorted(epochs[0][1])
    named = {line.split(" (")[0] for line in bad}
    assert named <= set(map(str, paths))
    assert len(named) > len(paths) / 2  # those of the epoch's order; replacements that were tried among them
    check_bad(bad, len(examples.labels), share=0.9)
    with pytest.raises(RunError, match=r"more than bad_share 0\.1 allows"):
        check_bad(bad, len(examples.labels), share=0.1)


def test_bytes_that_are_no_image_have_one_name_in_all_epochs():
    """Pillow names the file in memory by its address."""

    def said():
        with pytest.raises(BadImage) as error:
            decode(lambda: io.BytesIO(b"<html>"), "train[3]")
        return str(error.value)

    files = [io.BytesIO() for _ in range(3)]  # so that none gets the place of the one before
    assert said() == said() == "train[3] (UnidentifiedImageError: cannot identify image file)"
    assert files


@pytest.mark.parametrize(("bad", "images", "share", "ends"), [
    (1, 20, 0.01, False), (2, 20, 0.01, True), (1, 20, 0.0, True), (0, 20, 0.0, False), (2, 200, 0.01, False),
    (1, 1, 0.01, True), (0, 1, 0.01, False),
])  # fmt: skip
def test_one_unreadable_image_ends_no_small_run(bad, images, share, ends):
    names = [f"{index}.jpg" for index in range(bad)]
    with pytest.raises(RunError, match="in another --out") if ends else contextlib.nullcontext():
        check_bad(names, images, share)


def test_a_run_goes_on_below_the_share_and_names_them_all(spoilt, tmp_path):
    from tiny import run

    root, paths = spoilt
    recipe = tiny(tmp_path / "run", data=Folder(path=str(root)), bad_share=0.9, batch_size=16, epochs=3)
    summary = run(dataclasses.replace(recipe, augment=Augment(policy="")))
    assert summary["state"] == "done"
    told = (tmp_path / "run" / "bad-images.txt").read_text()
    seen = [path for path in paths if str(path) in told]
    assert summary["bad_images"] == len(told.splitlines()) >= len(seen) > 0.8 * len(paths)


def test_a_file_that_disappears_is_an_event(folder):
    source = open_source(Folder(path=str(folder)))
    dataset = TrainingSet(source.train, evaluation(8), seed=0)
    assert dataset[Key(2, 0, 0)][2] == []
    Path(source.train.name(2)).unlink()
    (line,) = dataset[Key(2, 0, 0)][2]
    assert "cat/2.png (FileNotFoundError" in line


def test_a_source_that_fails_is_an_event_too():
    def gone():
        raise ConnectionResetError("by peer")

    with pytest.raises(BadImage, match=r"x\.jpg \(ConnectionResetError: by peer\)"):
        decode(gone, "x.jpg")


# --- cosub check-data


def test_check_data_finds_every_damaged_image(spoilt, capsys):
    root, paths = spoilt
    status, out, err = call(capsys, "check-data", root, "--workers", 2, "--json")
    assert status == 3
    found = json.loads(out)
    assert sorted(line.split(" (")[0] for line in found["damaged"]) == sorted(map(str, paths))
    assert found["images"] == {"train": 40 + len(paths), "test": 40}
    assert f"{len(paths)} of {80 + len(paths)} images damaged" in err
    assert len(err.strip().splitlines()) == 1


def test_check_data_says_what_is_odd(folder, photograph, capsys):
    for name, (content, _) in odd(photograph).items():
        (folder / "train" / "cat" / name).write_bytes(content)
    status, out, _ = call(capsys, "check-data", folder, "--workers", 1, "--json")
    assert status == 0
    notes = {Path(name).name: " ".join(said) for name, said in json.loads(out)["odd"].items()}
    assert notes.keys() == odd(photograph).keys()
    for name, (_, word) in odd(photograph).items():
        assert word in notes[name]


def test_check_data_finds_what_train_and_val_share(folder, capsys):
    picture(50).save(folder / "train" / "dog" / "new.png")
    for path in (folder / "val").rglob("*.png"):
        path.unlink()
    for name in ("cat", "dog"):
        picture(51).save(folder / "val" / name / "other.png")
    picture(50).save(folder / "val" / "cat" / "copy.bmp")  # the same pixels in another file
    status, out, err = call(capsys, "check-data", folder, "--workers", 1)
    assert (status, out) == (0, f"duplicate {folder}/val/cat/copy.bmp is {folder}/train/dog/new.png\n")
    assert err.endswith("13 train, 3 test: 0 damaged, 0 odd, 1 duplicate, 0 skipped\n")


def test_check_data_reads_parquet(tmp_path, capsys):
    parquet(tmp_path / "train-0.parquet", [0, 1, 0], bad=1)
    parquet(tmp_path / "validation-0.parquet", [0, 1])
    words = ("check-data", tmp_path, "--workers", 1, "--data.test-split", "validation", "--json")
    status, out, _ = call(capsys, *words)
    found = json.loads(out)
    assert status == 3
    assert [line.split(" (")[0] for line in found["damaged"]] == ["train[1] 1.png"]
    assert [pair["image"] for pair in found["doubled"]] == ["validation[0] 0.png"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "PATH: is missing"),
        (["nowhere"], "PATH: nowhere: "),
        ([".", "--source", "foldr"], "--source: 'foldr': must be one of"),
        ([".", "--workers", "-1"], "workers: -1: must be 0 or more"),
        ([".", "--data.path", "other"], "data.path: other: stands beside PATH .; name one, as PATH"),
        ([".", "--wrokers", "1"], "--wrokers: there is no such option"),
    ],
)
def test_wrong_words_are_one_line(words, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, out, err = call(capsys, "check-data", *words)
    assert (status, out) == (2, "")
    assert message in err
    assert len(err.splitlines()) == 1


# --- cosub bench loader


def test_the_bench_loads_the_same_files_both_ways(folder, capsys):
    words = ("--resolutions", 16, "--workers", 0, "--images", 8, "--repeats", 1, "--json")
    status, out, _ = call(capsys, "bench", "loader", folder, *words)
    assert status == 0
    result = json.loads(out)
    assert result["files"] == 12
    assert [row["augment"] for row in result["rows"]] == ["crop and flip", "3-Augment"]
    for row in result["rows"]:
        speeds = row["per_core"]
        assert speeds["ratio"] == pytest.approx(speeds["ours"] / speeds["timm"], rel=0.01)
    assert result["difference"][0]["reduced"] == 0  # PNG
    assert all(milliseconds > 0 for milliseconds in result["decoding_ms"].values())


def test_the_bench_leaves_out_what_training_does_and_says_so(tmp_path):
    fill(tmp_path / "Training" / "cat", 3)
    fill(tmp_path / "Training" / ".ipynb_checkpoints", 2)
    fill(tmp_path / "Testing" / "cat", 2)
    (tmp_path / "Training" / "cat" / "broken.png").write_bytes(b"x")
    files, left_out = files_of(tmp_path)
    assert [path.name for path in files.paths] == ["0.png", "1.png", "2.png"]
    assert {item.why: item.number for item in left_out} == {"damaged": 1, "hidden, or of the system": 1}


@pytest.mark.parametrize(("words", "message"), [([], "PATH: is missing"), (["."], "no image that can be read")])
def test_the_bench_says_what_it_lacks(words, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, _, err = call(capsys, "bench", "loader", *words)
    assert status == 2
    assert message in err
