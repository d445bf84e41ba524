"""Sources, sampler, transforms and mixing."""

import gc
import itertools
import json
import os
import pickle
import re
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from pictures import parquet, picture

from cosub.data import posterizing
from cosub.data.imagenet import synsets
from cosub.data.loading import Slice, StepSampler, TestSet, TrainingSet, collate, training_loader
from cosub.data.mixing import mix, mix_groups
from cosub.data.sources import BadImage, Part, all_images, fingerprint, open_source
from cosub.data.sources.folder import Files
from cosub.data.sources.source import compact
from cosub.data.transforms import evaluation, normalize, training
from cosub.errors import InputError
from cosub.recipes.augmentation import Augment
from cosub.recipes.data import Digits, Folder, Hub

# --- sources


def test_digits_are_split_by_class_and_reproducibly():
    source = open_source(Digits())
    assert (len(source.train.labels), len(source.test.labels)) == (1437, 360)
    assert min(Counter(source.test.labels).values()) >= 34
    assert source.train.image(0).size == (8, 8)
    assert open_source(Digits()).test.labels == source.test.labels
    assert open_source(Digits(split_seed=1)).test.labels != source.test.labels


def images_of(examples):
    return [examples.image(index).tobytes() for index in range(len(examples.labels))]


def test_validation_images_are_always_the_same_and_never_trained_on():
    few = open_source(Digits(train_images=50, validation_images=30))
    other = open_source(Digits(train_images=90, validation_images=30, subset_seed=1))
    assert (len(few.train.labels), len(other.train.labels), len(few.validation.labels)) == (50, 90, 30)
    held = images_of(few.validation)
    assert held == images_of(other.validation)
    assert images_of(few.train) != images_of(other.train)[:50]
    source = open_source(Digits())
    assert images_of(few.test) == images_of(source.test)
    known = set(images_of(source.train))
    assert set(held) | set(images_of(few.train)) <= known
    assert not set(held) & (set(images_of(few.train)) | set(images_of(other.train)))
    assert few.validation_or_test is few.validation
    assert source.validation_or_test is source.test
    assert fingerprint(few) != fingerprint(open_source(Digits(train_images=50)))


def test_a_balanced_subset_has_as_many_images_of_each_class_and_is_drawn_by_its_seed():
    first, again, other = (
        open_source(Digits(train_images=50, validation_images=30, balanced=True, subset_seed=seed))
        for seed in (0, 0, 1)
    )
    assert Counter(first.train.labels) == dict.fromkeys(range(10), 5)
    assert images_of(first.train) == images_of(again.train) != images_of(other.train)
    assert not set(images_of(first.train)) & set(images_of(first.validation))
    assert images_of(first.validation) == images_of(open_source(Digits(validation_images=30)).validation)


@pytest.mark.parametrize("asked", [0, 55, 1400])
def test_a_subset_that_cannot_be_balanced_is_refused(asked):
    with pytest.raises(InputError, match=r"data\.(balanced|train_images):"):
        open_source(Digits(train_images=asked, validation_images=30, balanced=True))


def test_more_images_than_there_are_cannot_be_taken():
    with pytest.raises(InputError, match=r"train_images: 1400: and 40 validation images are more than the 1,437"):
        open_source(Digits(train_images=1400, validation_images=40))
    with pytest.raises(InputError, match="must be 0 or more"):
        Digits(train_images=-1)


def test_folder_with_splits(folder):
    source = open_source(Folder(path=str(folder)))
    assert source.classes == ("cat", "dog")
    assert (len(source.train.labels), len(source.test.labels)) == (12, 6)
    assert source.test.name(5).endswith("val/dog/2.png")


def test_a_class_missing_from_val_keeps_the_indices_of_train(folder):
    shutil.rmtree(folder / "val" / "cat")
    assert set(open_source(Folder(path=str(folder))).test.labels) == {1}


def test_folder_without_splits_holds_some_of_each_class_out(folder):
    source = open_source(Folder(path=str(folder / "train"), val_share=0.3))
    assert Counter(source.test.labels) == {0: 2, 1: 2}
    names = [{part.name(i) for i in range(len(part.labels))} for part in (source.train, source.test)]
    assert not names[0] & names[1]
    assert len(names[0] | names[1]) == 12


def test_real_folder_and_real_parquet_agree(data):
    mini = open_source(Folder(path=str(data / "cifar10-mini")))
    assert (len(mini.train.labels), len(mini.test.labels)) == (500, 200)
    whole = open_source(Hub(path=str(data / "cifar10")))
    assert whole.classes == mini.classes == ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse",
                                             "ship", "truck")  # fmt: skip
    assert (len(whole.train.labels), len(whole.test.labels)) == (50000, 10000)
    assert Counter(whole.test.labels) == dict.fromkeys(range(10), 1000)
    wanted = Path(mini.test.name(0)).name
    name = f"airplane_{wanted.split('.')[0]}.jpg"
    index = next(i for i, label in enumerate(whole.test.labels) if label == 0 and whole.test.name(i).endswith(name))
    assert np.array_equal(whole.test.image(index), mini.test.image(0))


def objects_below(value) -> int:
    """How many objects a worker reads, and so copies, as it reads them all."""
    found, todo = {}, [value]
    while todo:
        each = todo.pop()
        if id(each) not in found and not isinstance(each, type):
            found[id(each)] = each
            todo += gc.get_referents(each)
    return len(found)


def test_a_set_has_as_few_objects_and_bytes_for_many_images_as_for_few(tmp_path):
    paths = [Path(f"/data/train/n01440764/n01440764_{number:05d}.JPEG") for number in range(5000)]
    files = Files(paths, range(1000, 6000))
    part = Part(files, list(range(4999, -1, -1)))
    assert list(part.labels) == list(range(5999, 999, -1))
    assert objects_below([files, part]) < 30
    assert len(pickle.dumps([files, part])) < 5000 * (len(str(paths[0])) + 4 * 8) + 1000
    for split in ("train", "test"):
        parquet(tmp_path / f"{split}-0.parquet", [0, 1] * 9)
    assert objects_below(open_source(Hub(path=str(tmp_path))).train.labels) == 1
    assert compact(["a", None]) == ["a", None]


def test_paths_of_a_set_are_those_that_it_was_given():
    names = (b"/x/plain.png", b"b/\xff\xe9.png", "c/\u00e9\U0001f600 .png".encode(), b"", b"b/\xff\xe9.png")
    paths = [*(Path(os.fsdecode(name)) for name in names), Path("\ud800.png")]  # the last as JSON may have it
    files = Files(paths, [3, 1, 2, 0, 1, 7])
    assert [files.paths[place] for place in (0, -1)] == [paths[0], paths[-1]]
    assert list(map(str, files.paths)) == list(map(str, paths))
    assert (files.paths, files.paths[1:3]) == (paths, paths[1:3])
    assert files.name(1).encode("utf-8", "surrogateescape") == names[1]
    assert pickle.loads(pickle.dumps(files)) == files == Files(list(paths), (3, 1, 2, 0, 1, 7)) != Files(paths, [0] * 6)
    assert (len(Files([], []).paths), bool(Files([], []).paths)) == (0, False)
    with pytest.raises(IndexError):
        files.paths[6]


def test_hub_layout(tmp_path):
    parquet(tmp_path / "train-00000-of-00001.parquet", [0, 1, 0, 1])
    parquet(tmp_path / "test-00000-of-00001.parquet", [1, 0])
    source = open_source(Hub(path=str(tmp_path)))
    assert source.classes == ("a", "b")
    assert list(source.test.labels) == [1, 0]
    assert np.array_equal(source.train.image(2), picture(2))
    assert source.train.name(2) == "train[2] 2.png"


@pytest.mark.parametrize("place", ["a [1]", "b *?", "plain_text", "c d/plain_text", "data"])
def test_parquet_lies_in_folders_of_any_name(tmp_path, place):
    (tmp_path / place).mkdir(parents=True)
    parquet(tmp_path / place / "train-00000-of-00001.parquet", [0, 1, 0, 1])
    parquet(tmp_path / place / "test-00000-of-00001.parquet", [1, 0])
    named = tmp_path / (place.removesuffix("plain_text").removesuffix("data"))
    assert list(open_source(Hub(path=str(named))).train.labels) == [0, 1, 0, 1]


def test_two_configurations_of_parquet_are_not_put_together(tmp_path):
    for name in ("coarse", "fine"):
        (tmp_path / name).mkdir()
        parquet(tmp_path / name / "train-0.parquet", [0, 1])
    with pytest.raises(InputError, match=r"has Parquet files in coarse, fine; name one of these folders with --data"):
        open_source(Hub(path=str(tmp_path)))


def without(root: Path, *parts: str) -> Path:
    for name in parts:
        shutil.rmtree(root / name)
    return root


WRONG_FOLDERS = {
    "data.path: is not given": lambda root: Folder(path=""),
    "is not a folder": lambda root: Folder(path=str(root / "nowhere")),
    "has classes that": lambda root: Folder(path=str(without(root, "train/cat"))),
    "a single class (dog)": lambda root: Folder(path=str(without(root, "train/cat", "val/cat"))),
    "has no class folders": lambda root: Folder(path=str(root / "val" / "cat")),
    "has no Parquet files": lambda root: Hub(path=str(root)),
    "folder; name one that holds SPLIT": lambda root: Hub(path="./no/such/folder"),
    "name a folder of Parquet files": lambda root: Hub(path=""),
}


@pytest.mark.parametrize("message", WRONG_FOLDERS)
def test_wrong_folders_say_what_is_wrong(folder, message):
    with pytest.raises(InputError, match=re.escape(message)):
        open_source(WRONG_FOLDERS[message](folder))


def test_an_empty_class_folder_is_named(folder):
    (folder / "train" / "empty").mkdir()
    with pytest.raises(InputError, match="empty: has no images"):
        open_source(Folder(path=str(folder)))


@pytest.mark.parametrize(
    ("labels", "names", "split", "message"),
    [
        ([0, 1, 2], ["a", "b"], "train", "label 2, and there are classes 0 to 1"),
        ([0, -1, 1], ["a", "b"], "train", "label -1"),
        ([0, 0], ["a"], "train", "a single class"),
        ([0, 1], ["a", "b"], "other", "has no split 'train' but other, test"),
    ],
)
def test_wrong_parquet_says_what_is_wrong(tmp_path, labels, names, split, message):
    parquet(tmp_path / f"{split}-0.parquet", labels, names)
    parquet(tmp_path / "test-0.parquet", [0, 0], names)
    with pytest.raises(InputError, match=message):
        open_source(Hub(path=str(tmp_path)))


def test_one_image_a_class_cannot_be_split(tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
        picture().save(tmp_path / name / "0.png")
    with pytest.raises(InputError, match=r"class a has one image \(.*a/0\.png\).*; add images to two classes at least"):
        open_source(Folder(path=str(tmp_path)))


# --- which image comes when


def keys(steps: range, world_size: int = 1, rank: int = 0, micro_steps: int = 1, seed: int = 0):
    share = Slice(rank, world_size, micro_steps, num_groups=4)
    return list(StepSampler(103, 20, 5, seed, share, steps))


def test_an_epoch_sees_each_image_at_most_once_in_another_order():
    epochs = [[key for batch in keys(range(5 * e, 5 * e + 5)) for key in batch] for e in (0, 1)]
    for number, epoch in enumerate(epochs):
        assert len({key.image for key in epoch}) == 100
        assert [key.position for key in epoch] == list(range(100))
        assert {key.epoch for key in epoch} == {number}
    assert [key.image for key in epochs[0]] != [key.image for key in epochs[1]]
    assert keys(range(5)) == keys(range(5))
    assert keys(range(5), seed=1) != keys(range(5))


def test_starting_later_continues_the_same_sequence():
    assert keys(range(12))[7:] == keys(range(7, 12))


@pytest.mark.parametrize(("world_size", "micro_steps"), [(2, 1), (1, 4), (2, 2), (4, 1)])
def test_processes_and_micro_steps_share_the_same_batch(world_size, micro_steps):
    whole = keys(range(6))
    parts = [keys(range(6), world_size, rank, micro_steps) for rank in range(world_size)]
    for step in range(6):
        together = [
            key for part in parts for batch in part[step * micro_steps : (step + 1) * micro_steps] for key in batch
        ]
        assert together == whole[step]


def test_images_do_not_depend_on_workers():
    source = open_source(Digits())
    dataset = TrainingSet(source.train, training(8, Augment(policy="rand-m9-mstd0.5-inc1", jitter=0.3)), seed=3)
    sampler = StepSampler(len(source.train.labels), 32, 32, 0, Slice(0, 1, 1, 1), range(3))
    runs = [[batch.images for batch in training_loader(dataset, sampler, workers, False)] for workers in (0, 2)]
    assert all(torch.equal(a, b) for a, b in zip(*runs, strict=True))
    assert not torch.equal(runs[0][0], runs[0][1])


# --- transforms


@pytest.mark.parametrize("size", [8, 32, 64, 224])
@pytest.mark.parametrize("crop", ["random-resized", "simple", "center"])
@pytest.mark.parametrize("policy", ["3a", "rand-m9-mstd0.5-inc1", ""])
def test_transforms_give_bytes_of_the_right_size(size, crop, policy):
    augment = Augment(crop=crop, policy=policy)
    for image in (picture(size=(50, 30)), picture(size=(8, 8)).convert("L").convert("RGB")):
        tensor = torch.as_tensor(training(size, augment)(image))
        assert (tensor.shape, tensor.dtype) == ((3, size, size), torch.uint8)


POLICIES = ["3a", "original", "originalr", "v0", "v0r", "rand-m9-mstd0.5-inc1", "rand-m0", "augmix-m3-w3"]


@pytest.mark.parametrize("policy", POLICIES)
def test_each_operation_of_a_policy_at_each_strength(policy):
    """Drawn at random, the extreme ones are rare: Pillow 13 refuses what RandAugment asks for once in 600 images."""
    colours = training(32, Augment(crop="center", policy=policy, flip=0, jitter=0)).change.transforms[-2].transforms
    operations = [op for part in colours for op in posterizing._operations(part)]
    assert operations
    for op, magnitude in itertools.product(operations, (0, 0.4, 2.4, 5, 9, 9.99, 10)):
        op.prob, op.magnitude, op.magnitude_std = 1, magnitude, 0
        assert op(picture()).size == picture().size


def test_an_image_posterized_to_zero_bits_is_black():
    image = picture()
    assert not np.array(posterizing.posterize(image, 0)).any()
    mask = np.uint8(0b11110000)
    np.testing.assert_array_equal(np.array(posterizing.posterize(image, 4)), np.array(image) & mask)
    assert posterizing.posterize(image, 8) is image


def test_simple_crop_moves_small_images_by_little():
    image = picture(size=(8, 8))
    whole = torch.as_tensor(evaluation(8)(image)).int()
    crop = training(8, Augment(crop="simple", policy="", jitter=0, flip=0))
    moved = {tuple(_shift(whole, torch.as_tensor(crop(image)).int())) for _ in range(60)}
    assert moved == {(y, x) for y in (-1, 0, 1) for x in (-1, 0, 1)}


def _shift(whole, moved):
    for y in (-1, 0, 1):
        for x in (-1, 0, 1):
            inner = whole[:, 1 + y : 7 + y, 1 + x : 7 + x]
            if torch.equal(inner, moved[:, 1:7, 1:7]):
                return y, x
    raise AssertionError("moved by more than a pixel")


def test_three_augment_always_changes_colours():
    plain = training(32, Augment(crop="center", policy="", flip=0, jitter=0))
    assert torch.equal(torch.as_tensor(plain(picture())), torch.as_tensor(evaluation(32)(picture())))
    transform = training(32, Augment(crop="center", policy="3a", flip=0, jitter=0))
    assert not any(
        torch.equal(torch.as_tensor(transform(picture())), torch.as_tensor(plain(picture()))) for _ in range(9)
    )
    grey = [torch.as_tensor(transform(picture())).float().std(0).max() < 1 for _ in range(60)]
    assert 5 < sum(grey) < 40  # a third of the draws is greyscale


def test_unknown_policy_is_refused():
    with pytest.raises(InputError, match=r"augment\.policy: 'nonsense'"):
        training(32, Augment(policy="nonsense"))


def test_normalize_is_imagenets():
    images = torch.full((1, 3, 2, 2), 255, dtype=torch.uint8)
    expected = (1 - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor([0.229, 0.224, 0.225])
    torch.testing.assert_close(normalize(images)[0, :, 0, 0], expected)


# --- mixing


def test_mixing_is_a_function_of_its_key_and_of_the_group_alone():
    images, labels = torch.rand(8, 3, 6, 6), torch.arange(8) % 4
    augment = Augment(mixup=0.8, cutmix=1.0)
    both = mix_groups(images, labels, augment, 4, "ce", seed=1, step=2, groups=range(2, 4))
    for index, group in enumerate((2, 3)):
        rows = slice(4 * index, 4 * index + 4)
        alone = mix(images[rows], labels[rows], augment, 4, "ce", (1, 2, group))
        assert torch.equal(both[0][rows], alone[0])
        assert torch.equal(both[1][rows], alone[1])


@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
def test_share_of_the_labels_is_the_share_of_the_pixels(kind):
    images = torch.stack([torch.zeros(3, 16, 16), torch.ones(3, 16, 16)])
    shares = set()
    for step in range(40):
        mixed, targets = mix(images, torch.tensor([0, 1]), Augment(**{kind: 1.0}), 2, "ce", (0, step, 0))
        assert mixed[0].mean().item() == pytest.approx(targets[0, 1].item(), abs=1e-5)
        shares.add(round(targets[0, 1].item(), 3))
    assert len(shares) > 20
    assert torch.equal(images[0], torch.zeros(3, 16, 16))


def test_without_mixing_images_pass_as_they_are():
    images, labels = torch.rand(4, 3, 6, 6), torch.tensor([0, 1, 2, 3])
    mixed, targets = mix(images, labels, Augment(), 4, "bce", (0, 0, 0))
    assert torch.equal(mixed, images)
    assert torch.equal(targets, torch.eye(4))


# --- images that cannot be read


def spoil(path: Path, how: str) -> None:
    content = path.read_bytes()
    path.write_bytes({"text": b"hello", "empty": b"", "cut": content[: len(content) // 2]}[how])


@pytest.mark.parametrize("how", ["text", "empty", "cut"])
def test_an_unreadable_image_is_replaced_deterministically_and_named(folder, how):
    spoil(folder / "train" / "cat" / "0.png", how)
    source = open_source(Folder(path=str(folder)))
    with pytest.raises(BadImage, match=r"cat/0\.png"):
        source.train.image(0)
    dataset = TrainingSet(source.train, evaluation(8), seed=0)
    from cosub.data.loading import Key

    (first, label, bad), (again, _, _) = dataset[Key(0, 0, 0)], dataset[Key(0, 3, 7)]
    assert torch.equal(torch.as_tensor(first), torch.as_tensor(again))
    assert len(bad) == 1
    assert "cat/0.png" in bad[0]
    assert label in (0, 1)
    assert "cat/0.png" in collate([dataset[Key(0, 0, 0)]]).bad[0]


def test_evaluation_leaves_an_unreadable_image_out(folder):
    spoil(folder / "val" / "dog" / "1.png", "cut")
    source = open_source(Folder(path=str(folder)))
    items = [TestSet(source.test, evaluation(8), range(6))[index] for index in range(6)]
    assert [isinstance(item, list) for item in items] == [False] * 4 + [True, False]


def test_where_no_image_can_be_read_all_are_named_and_no_worker_dies(folder):
    for path in folder.glob("train/*/*.png"):
        spoil(path, "text")
    from cosub.data.loading import Key

    dataset = TrainingSet(open_source(Folder(path=str(folder))).train, evaluation(8), seed=0)
    image, label, bad = dataset[Key(0, 0, 0)]
    assert torch.as_tensor(image).sum() == 0
    assert label == 0
    assert len(bad) == 16


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"label": pa.array([0, None], pa.int64())}, "a row without a label"),
        ({"id": pa.array([0, 1], pa.int64())}, "no column of class labels"),
        ({"label": pa.array([0, 10**9], pa.int64())}, "number the classes from 0"),
    ],
)
def test_wrong_label_columns(tmp_path, columns, message):
    for split in ("train", "test"):
        pq.write_table(pa.table({"img": [{"bytes": b"", "path": ""}] * 2, **columns}), tmp_path / f"{split}-0.parquet")
    with pytest.raises(InputError, match=message):
        open_source(Hub(path=str(tmp_path)))


def test_the_class_label_is_preferred_to_other_integers(tmp_path):
    for split in ("train", "test"):
        table = pa.table({"id": [7, 8], "img": [{"bytes": b"", "path": ""}] * 2, "kind": pa.array([0, 1], pa.int64())})
        features = {"id": {"_type": "Value", "dtype": "int64"}, "img": {"_type": "Image"},
                    "kind": {"_type": "ClassLabel", "names": ["a", "b"]}}  # fmt: skip
        meta = {"huggingface": json.dumps({"info": {"features": features}})}
        pq.write_table(table.replace_schema_metadata(meta), tmp_path / f"{split}-0.parquet")
    assert list(open_source(Hub(path=str(tmp_path))).train.labels) == [0, 1]


def test_a_file_that_is_not_parquet(tmp_path):
    (tmp_path / "train-0.parquet").write_bytes(b"PAR1 or not")
    with pytest.raises(InputError, match="Parquet files cannot be read"):
        open_source(Hub(path=str(tmp_path)))


def test_other_images_have_another_fingerprint(folder):
    before = fingerprint(open_source(Folder(path=str(folder))))
    assert before == fingerprint(open_source(Folder(path=str(folder))))
    picture(9).save(folder / "train" / "cat" / "new.png")
    assert before != fingerprint(open_source(Folder(path=str(folder))))


def test_all_images_of_a_folder_without_splits(folder):
    every = all_images(Folder(path=str(folder / "train")), ("bird", "cat", "dog"))
    assert Counter(every.labels) == {1: 6, 2: 6}
    assert all_images(Folder(path=str(folder)), ("cat", "dog")) is None
    for reading in (1, 2):
        with pytest.raises(InputError, match=r"data\.path: .*folders that are not classes of the network \(cat\)"):
            all_images(Folder(path=str(folder / "train"), reading=reading), ("dog",))


def test_images_in_imagenet_v2s_folders_are_of_the_synsets_of_their_numbers(tmp_path):
    """Sorted as strings, 100 comes before 2, and so do its images."""
    for place, name in enumerate(("2", "100", "999")):
        (tmp_path / name).mkdir()
        picture(place).save(tmp_path / name / "image.png")
    for reading in (1, 2):
        found = all_images(Folder(path=str(tmp_path), reading=reading), synsets())
        assert list(found.labels) == [100, 2, 999]


def test_unreadable_bytes_in_parquet_are_named(tmp_path):
    parquet(tmp_path / "train-0.parquet", [0, 1, 0], bad=1)
    parquet(tmp_path / "test-0.parquet", [0, 1])
    with pytest.raises(BadImage, match=r"train\[1\] 1\.png"):
        open_source(Hub(path=str(tmp_path))).train.image(1)
