"""Sources in the layouts in which data sets are published: shards, iNaturalist, torchvision's files; class counts."""

import dataclasses
import json
import os
import sys
import tarfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from pictures import grey, member, shard
from scipy.io import savemat
from torch.utils.data import DataLoader

from cosub.data import checking
from cosub.data.decoding import BadImage
from cosub.data.loading import Key, Slice, StepSampler, TestSet, TrainingSet, test_loader, training_loader
from cosub.data.sources import open_source
from cosub.data.sources.tar import read_index
from cosub.data.transforms import evaluation
from cosub.errors import InputError
from cosub.recipes.data import Folder, Hub, INaturalist, Shards, Torchvision
from cosub.recipes.files import identity
from cosub.recipes.small import digits
from cosub.segmentation.loading import scene_loader


@pytest.fixture
def shards(tmp_path) -> Path:
    """timm's layout: 60 training images in three shards, seven to test."""
    for number in range(3):
        shard(tmp_path / f"set-train-{number:04d}.tar", range(20 * number, 20 * number + 20), json_labels=number == 1)
    shard(tmp_path / "set-validation-00.tar", range(100, 107))
    names = [f"set-train-{number:04d}.tar" for number in range(3)]
    info = {"splits": {
        "train": {"name": "train", "filenames": names, "shard_lengths": [20] * 3, "num_samples": 60},
        "validation": {"name": "validation", "filenames": ["set-validation-00.tar"], "shard_lengths": [7],
                       "num_samples": 7},
    }}  # fmt: skip
    (tmp_path / "_info.json").write_text(json.dumps(info))
    return tmp_path


def opened(root: Path, **settings):
    return open_source(Shards(path=str(root), **settings))


# --- shards

FEW_CORES = pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")


def test_shards_hold_what_was_put_in(shards):
    source = opened(shards)
    assert source.classes == ("0", "1", "2")
    assert list(source.train.labels) == [value % 3 for value in range(60)]
    assert [source.train.image(index).getpixel((0, 0))[0] for index in range(60)] == list(range(60))
    assert source.train.name(45).endswith("set-train-0002.tar:000045.png")
    (shards / "classes.txt").write_text("a\nb\nc\n")
    assert opened(shards).classes == ("a", "b", "c")


@FEW_CORES
@pytest.mark.parametrize("workers", [0, 1, 3])
@pytest.mark.parametrize("processes", [1, 2])
def test_an_epoch_of_shards_is_an_epoch(shards, workers, processes):
    source = opened(shards)
    for epoch in range(2):
        seen: list[int] = []
        for rank in range(processes):
            dataset = TrainingSet(source.train, evaluation(8), seed=0)
            steps = range(5 * epoch, 5 * epoch + 5)
            sampler = StepSampler(60, 12, 6, 0, Slice(rank, processes, 1, 2), steps)
            for batch in training_loader(dataset, sampler, workers, False):
                assert not batch.bad
                assert batch.labels.tolist() == [value % 3 for value in batch.images[:, 0, 0, 0].tolist()]
                seen += batch.images[:, 0, 0, 0].tolist()
        assert sorted(seen) == list(range(60))


@FEW_CORES
@pytest.mark.parametrize("workers", [0, 1, 3])
@pytest.mark.parametrize("processes", [1, 2])
def test_evaluation_sees_each_image_of_the_shards_once(shards, workers, processes):
    test = opened(shards).test
    seen: list[int] = []
    for rank in range(processes):
        dataset = TestSet(test, evaluation(8), range(rank, len(test.labels), processes))
        for batch in test_loader(dataset, 2, workers, False):
            seen += batch.images[:, 0, 0, 0].tolist()
    assert sorted(seen) == list(range(100, 107))


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere workers are not forked")
def test_workers_are_forked_whatever_is_usual(shards, monkeypatch):
    made = []

    class Recorded(DataLoader):
        def __init__(self, *args, **settings):
            super().__init__(*args, **settings)
            made.append(self)

    monkeypatch.setattr(checking, "DataLoader", Recorded)
    assert len(list(checking.looks(opened(shards), 1))) == len(list(checking.looks(opened(shards), 0))) == 67
    made += [scene_loader(opened(shards).test, range(7), workers) for workers in (1, 0)]
    forked = [loader.multiprocessing_context and loader.multiprocessing_context.get_start_method() for loader in made]
    assert forked == ["fork", "fork", None, None, "fork", None]  # a loader for each split


def test_the_last_class_needs_no_end_of_line(shards):
    (shards / "classes.txt").write_text("a\nb\nc")
    assert opened(shards).classes == ("a", "b", "c")


def test_an_index_is_kept_and_not_believed_when_the_shards_change(shards, monkeypatch):
    kept = shards / "index.npz"
    first = opened(shards, index=str(kept))
    assert kept.exists()
    with monkeypatch.context() as patch:
        patch.setattr(tarfile, "open", lambda *_args, **_more: pytest.fail("the shards were read through again"))
        again = opened(shards, index=str(kept))
    assert list(again.train.labels) == list(first.train.labels)
    assert again.train.image(33).getpixel((0, 0))[0] == 33
    shard(shards / "set-train-0000.tar", range(20), labels=2)
    assert list(opened(shards, index=str(kept)).train.labels)[:4] == [0, 1, 0, 1]
    for damaged in (b"no index", kept.read_bytes()[:-30]):
        kept.write_bytes(damaged)
        with pytest.raises(InputError, match="is not an index"):
            opened(shards, index=str(kept))


def test_where_the_index_lies_is_no_part_of_what_a_run_is():
    a, b = (dataclasses.replace(digits(), data=Shards(path="p", index=index)) for index in ("", "x.npz"))
    assert identity(a) == identity(b)


def test_other_shards_leave_the_index_of_a_run_as_it_is(shards, tmp_path):
    kept, config = shards / "index.npz", Shards(path=str(shards), index=str(shards / "index.npz"))
    open_source(config)
    before = kept.read_bytes()
    (tmp_path / "moved").mkdir()
    shard(tmp_path / "moved" / "set-train-0.tar", range(9))
    shard(tmp_path / "moved" / "set-validation-0.tar", range(3))
    others = dataclasses.replace(config, length=9, test_length=3).at(str(tmp_path / "moved"))
    assert len(open_source(others).train.labels) == 9
    assert kept.read_bytes() == before
    assert config.at("") == config.at(str(shards)) == config
    assert Shards(index="x.npz").at("here").index == "x.npz"  # no path before


def test_a_length_is_needed_and_may_be_given(shards):
    (shards / "_info.json").unlink()
    with pytest.raises(
        InputError, match=r"no file states how many images its train shards hold.*sizes\.json.*--data\.length N"
    ):
        opened(shards)
    with pytest.raises(InputError, match="its validation shards"):
        opened(shards, length=60)
    assert len(opened(shards, length=60, test_length=7).train.labels) == 60
    with pytest.raises(InputError, match="hold 60 images and should hold 61"):
        opened(shards, length=61, test_length=7)
    sizes = {path.name: 7 if "val" in path.name else 20 for path in shards.glob("*.tar")}
    (shards / "sizes.json").write_text(json.dumps(sizes))
    assert len(opened(shards).test.labels) == 7


def test_folders_of_shards(shards):
    for split, pattern in (("train", "*train*.tar"), ("val", "*validation*.tar")):
        (shards / split).mkdir()
        for path in shards.glob(pattern):
            path.rename(shards / split / path.name)
    (shards / "_info.json").unlink()
    assert len(opened(shards, length=60, test_length=7, test_split="val").train.labels) == 60
    with pytest.raises(InputError, match=r"no shards of a split 'validation' \(train, val\)"):
        opened(shards, length=60, test_length=7)


def test_shards_are_not_trained_and_tested_on(shards):
    with pytest.raises(
        InputError, match=r"^data\.test_split: train: has shards that are trained on \(.*train-0000\.tar"
    ):
        opened(shards, test_split="train")
    (shards / "_info.json").unlink()
    with pytest.raises(
        InputError, match=r"^data\.test_split: set: has shards .*; name another split with --data\.test-"
    ):
        opened(shards, test_split="set", length=60, test_length=67)


def test_shards_of_one_split_are_divided_as_the_message_says(tmp_path):
    for number in range(3):
        shard(tmp_path / f"set-train-{number}.tar", range(9))
    with pytest.raises(
        InputError, match=r"no shards of a split 'validation'.* or move some shards into (.*validation)$"
    ):
        opened(tmp_path, length=18, test_length=9)
    (tmp_path / "validation").mkdir()
    (tmp_path / "set-train-2.tar").rename(tmp_path / "validation" / "set-train-2.tar")
    assert len(opened(tmp_path, length=18, test_length=9).test.labels) == 9


def cut(path: Path, where: str) -> None:
    """A member and its padding are 512 bytes of header and 512 of content: a sample is 2048 bytes."""
    content = path.read_bytes()
    places = {
        "in a member": 2048 * 9 + 600,
        "in a header": 2048 * 9 + 100,
        "between members": 2048 * 9,
        "to nothing": 0,
    }
    path.write_bytes(content[: places[where]])


@pytest.mark.parametrize("where", ["in a member", "in a header", "between members", "to nothing"])
def test_a_shard_cut_short_is_noticed(shards, where):
    cut(shards / "set-train-0001.tar", where)
    with pytest.raises(InputError, match=r"set-train-0001\.tar: is .*truncated.*get it again"):
        opened(shards)


def test_a_shard_that_lacks_samples_and_is_whole_is_noticed(shards):
    shard(shards / "set-train-0001.tar", range(20, 39))
    with pytest.raises(InputError, match=r"set-train-0001\.tar: holds 19 images and should hold 20"):
        opened(shards)
    (shards / "set-train-0001.tar").unlink()
    with pytest.raises(InputError, match=r"set-train-0001\.tar: is missing"):
        opened(shards)


@pytest.mark.parametrize(
    ("extension", "content", "message"),
    [
        (".cls", b"dog", "holds no label"),
        (".cls", b"1.5", "must be a whole number"),
        (".json", b'{"width": 8}', "000000 has no label"),
        (".txt", b"a dog", "000000 has no label"),
    ],
)
def test_labels_that_are_none(tmp_path, extension, content, message):
    with tarfile.open(tmp_path / "a-train-0.tar", "w") as file:
        member(file, "000000.png", grey(0))
        member(file, f"000000{extension}", content)
    shard(tmp_path / "a-validation-0.tar", range(3))
    with pytest.raises(InputError, match=message):
        opened(tmp_path, length=1, test_length=3)


@pytest.mark.parametrize("pattern", ["photo.{}", "{}.v2", "a.b.{}.c"])
def test_dots_in_the_names_of_members(tmp_path, pattern):
    """Names that webdataset's rule, up to the first dot, would put together or cut to what is no image."""
    for split, values in (("train", range(6)), ("validation", range(3))):
        with tarfile.open(tmp_path / f"set-{split}-0.tar", "w") as file:
            for value in values:
                name = pattern.format(value)
                member(file, f"._{name}.png", b"a Mac's")
                member(file, f"{name}.png", grey(value))
                member(file, f"{name}.cls", str(value % 3).encode())
    source = opened(tmp_path, length=6, test_length=3)
    assert list(source.train.labels) == [0, 1, 2, 0, 1, 2]
    assert [source.train.image(index).getpixel((0, 0))[0] for index in range(6)] == list(range(6))


def test_a_second_image_of_a_sample_stays_one(tmp_path):
    """By webdataset's rule 0.mask.png belongs to sample 0, whose image is 0.png; alone, 0.image.png is its image."""
    with tarfile.open(tmp_path / "set-train-0.tar", "w") as file:
        for name, content in (("0.png", grey(0)), ("0.mask.png", grey(9)), ("0.cls", b"1"),
                              ("1.image.png", grey(1)), ("1.cls", b"0")):  # fmt: skip
            member(file, name, content)
    index = read_index([tmp_path / "set-train-0.tar"], None)
    assert index.label.tolist() == [1, 0]
    with tarfile.open(tmp_path / "set-train-1.tar", "w") as file:
        for name, content in (("0.left.png", grey(0)), ("0.right.png", grey(9)), ("0.cls", b"1")):
            member(file, name, content)
    with pytest.raises(InputError, match=r"0\.left has no label; expected 0\.left\.cls"):
        read_index([tmp_path / "set-train-1.tar"], None)


def test_a_compressed_shard_is_refused(shards):
    with tarfile.open(shards / "set-train-0001.tar", "w:gz") as file:
        member(file, "000020.png", grey(20))
    with pytest.raises(InputError, match="is compressed"):
        opened(shards)


def test_a_members_path_out_of_the_folder_does_no_harm(tmp_path):
    inside = tmp_path / "in"
    inside.mkdir()
    with tarfile.open(inside / "a-train-0.tar", "w") as file:
        member(file, "../../evil.png", grey(7))
        member(file, "../../evil.cls", b"0")
        link = tarfile.TarInfo("link.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        file.addfile(link)
        member(file, "/tmp/other.png", grey(9))
        member(file, "/tmp/other.cls", b"1")
    before = sorted(tmp_path.rglob("*"))
    index = read_index([inside / "a-train-0.tar"], None)
    assert index.label.tolist() == [0, 1]
    shard(inside / "a-validation-0.tar", range(2), labels=2)
    source = opened(inside, length=2, test_length=2)
    assert [source.train.image(i).getpixel((0, 0))[0] for i in range(2)] == [7, 9]
    assert sorted(tmp_path.rglob("*")) == sorted([*before, inside / "a-validation-0.tar"])


@pytest.mark.parametrize("how", ["removed", "shorter"])
def test_a_shard_that_changes_during_a_run_is_a_bad_image(shards, how):
    source = opened(shards)
    path = shards / "set-train-0002.tar"
    path.unlink() if how == "removed" else os.truncate(path, 512 + 20)
    with pytest.raises(BadImage, match=r"set-train-0002\.tar"):
        source.train.image(40)
    image, label, bad = TrainingSet(source.train, evaluation(8), seed=0)[Key(40, 0, 0)]
    assert bad
    assert all("set-train-0002.tar" in name for name in bad)
    assert int(torch.as_tensor(image)[0, 0, 0]) % 3 == label


# --- folders


def folder(root: Path, splits: dict[str, dict[str, int]]) -> Path:
    for split, classes in splits.items():
        for name, number in classes.items():
            (root / split / name).mkdir(parents=True)
            for index in range(number):
                (root / split / name / f"{index}.png").write_bytes(grey(index))
    return root


def test_a_file_that_disappears_is_counted_and_replaced(tmp_path):
    source = open_source(Folder(path=str(folder(tmp_path, {"train": {"a": 4, "b": 4}, "val": {"a": 2, "b": 2}}))))
    (tmp_path / "train" / "a" / "1.png").unlink()
    dataset = TrainingSet(source.train, evaluation(8), seed=0)
    (first, label, bad), (again, _, _) = dataset[Key(1, 0, 0)], dataset[Key(1, 5, 9)]
    assert len(bad) == 1
    assert "a/1.png (FileNotFoundError" in bad[0]
    assert torch.equal(torch.as_tensor(first), torch.as_tensor(again))
    assert label in (0, 1)


@pytest.mark.parametrize("place", ["train", "train/a", "train/a/deep"])
def test_an_unreadable_folder_is_named(tmp_path, monkeypatch, place):
    folder(tmp_path, {"train": {"a": 2, "b": 2}, "val": {"a": 1, "b": 1}})
    (tmp_path / "train" / "a" / "deep").mkdir()
    shut, scan, listed = tmp_path / place, os.scandir, os.listdir

    def refuse(call):
        def guarded(path="."):
            if Path(path) == shut:
                raise PermissionError(13, "Permission denied", str(path))
            return call(path)

        return guarded

    monkeypatch.setattr(os, "scandir", refuse(scan))
    monkeypatch.setattr(os, "listdir", refuse(listed))
    with pytest.raises(InputError, match=rf"{shut}: cannot be read \(Permission denied\)"):
        open_source(Folder(path=str(tmp_path)))


def test_one_image_a_class_may_be_trained_on_where_there_is_a_val(tmp_path):
    source = open_source(Folder(path=str(folder(tmp_path, {"train": {"a": 1, "b": 1}, "val": {"a": 1, "b": 1}}))))
    assert list(source.train.labels) == list(source.test.labels) == [0, 1]


def test_a_name_on_the_hub_without_a_network(monkeypatch):
    import datasets

    def unreachable(*_args, **_more):
        raise ConnectionError("no route to host")

    monkeypatch.setattr(datasets, "load_dataset", unreachable)
    with pytest.raises(InputError, match="the Hub gave ConnectionError: check the path, or the name and the network"):
        open_source(Hub(path="owner/name"))


# --- class counts


def test_the_number_of_classes_is_checked(tmp_path):
    config = Folder(path=str(folder(tmp_path, {"train": {"a": 1, "b": 1}, "val": {"a": 1}})))
    assert open_source(config, 2).classes == ("a", "b")
    with pytest.raises(InputError) as refused:
        open_source(config, 21841)
    message = str(refused.value)
    assert "the recipe is for 21841 classes (ImageNet-21k, the release of fall 2011)" in message
    assert "has 2 classes; name other data, or set --classes 2" in message


def test_variants_of_imagenet_are_timms():
    from timm.data.imagenet_info import _NUM_CLASSES_TO_SUBSET

    from cosub.data.imagenet import VARIANTS, describe

    assert set(_NUM_CLASSES_TO_SUBSET) <= set(VARIANTS)
    assert "Google" in describe(21843)
    assert describe(7) == "7 classes"


# --- iNaturalist


def naturalist(root: Path, year: int = 2018) -> dict[str, dict]:
    """Two species with ids that do not begin at 0, in COCO's layout."""
    categories = [{"id": 9, "name": "Quercus robur", "supercategory": "Plantae"},
                  {"id": 4, "name": "Apis mellifera", "supercategory": "Insecta"}]  # fmt: skip
    lists = {}
    for split, ids in (("train", (1, 2, 3)), ("val", (7,))):
        images = [{"id": n, "file_name": f"train_val{year}/{n}.png", "width": 8, "height": 8} for n in ids]
        notes = [{"id": 10 + n, "image_id": n, "category_id": 9 if n % 2 else 4} for n in reversed(ids)]
        lists[split] = {"images": images, "annotations": notes, "categories": categories}
        (root / f"train_val{year}").mkdir(exist_ok=True)
        for n in ids:
            (root / f"train_val{year}" / f"{n}.png").write_bytes(grey(n))
        (root / f"{split}{year}.json").write_text(json.dumps(lists[split]))
    return lists


def test_inaturalist(tmp_path):
    naturalist(tmp_path)
    source = open_source(INaturalist(path=str(tmp_path)))
    assert source.classes == ("Apis mellifera", "Quercus robur")
    assert list(source.train.labels) == [1, 0, 1]
    assert source.train.image(2).getpixel((0, 0))[0] == 3
    with pytest.raises(InputError, match=r"train2019\.json: is missing"):
        open_source(INaturalist(path=str(tmp_path), year=2019))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda found: found["images"][0].update(file_name="../../etc/passwd.png"), "lies outside"),
        (lambda found: found["annotations"].pop(), "has no annotation"),
        (lambda found: found["annotations"][0].update(category_id=77), "category 77 is not in the training file"),
        (lambda found: found.pop("images"), "needs a list images"),
    ],
)
def test_inaturalist_lists_that_do_not_fit(tmp_path, change, message):
    found = naturalist(tmp_path)["val"]
    change(found)
    (tmp_path / "val2018.json").write_text(json.dumps(found))
    with pytest.raises(InputError, match=message):
        open_source(INaturalist(path=str(tmp_path)))


# --- torchvision's files


def records(path: Path, labels: list[list[int]]) -> None:
    pixels = [np.full(3072, 10 * index, np.uint8) for index in range(len(labels))]
    path.write_bytes(b"".join(bytes(label) + image.tobytes() for label, image in zip(labels, pixels, strict=True)))


def cifar(root: Path) -> Path:
    ten, hundred = root / "cifar-10-batches-bin", root / "cifar-100-binary"
    ten.mkdir()
    hundred.mkdir()
    for number in range(1, 6):
        records(ten / f"data_batch_{number}.bin", [[number], [0]])
    records(ten / "test_batch.bin", [[9]])
    (ten / "batches.meta.txt").write_text("\n".join(f"class{n}" for n in range(10)) + "\n\n")
    records(hundred / "train.bin", [[3, 99], [19, 0]])
    records(hundred / "test.bin", [[1, 42]])
    (hundred / "fine_label_names.txt").write_text("\n".join(f"fine{n}" for n in range(100)) + "\n")
    return root


def test_cifar_binary(tmp_path):
    cifar(tmp_path)
    ten = open_source(Torchvision(path=str(tmp_path)), 10)
    assert list(ten.train.labels) == [1, 0, 2, 0, 3, 0, 4, 0, 5, 0]
    assert ten.train.image(1).getpixel((31, 31)) == (10, 10, 10)
    hundred = open_source(Torchvision(path=str(tmp_path), name="cifar100"), 100)
    assert list(hundred.train.labels) == [99, 0]  # the fine label, not the coarse one before it
    assert (ten.train.name(1), hundred.test.name(0)) == ("train[1]", "test[0]")
    with (tmp_path / "cifar-10-batches-bin" / "test_batch.bin").open("ab") as file:
        file.write(b"x")
    with pytest.raises(InputError, match="not a multiple of 3073"):
        open_source(Torchvision(path=str(tmp_path)))


def test_cifars_planes_are_red_green_and_blue_row_by_row(tmp_path):
    root = cifar(tmp_path) / "cifar-10-batches-bin"
    pixels = np.arange(3072).astype(np.uint8)
    (root / "test_batch.bin").write_bytes(b"\x02" + pixels.tobytes())
    image = open_source(Torchvision(path=str(tmp_path))).test.image(0)
    assert image.getpixel((5, 2)) == tuple(int(pixels[plane * 1024 + 2 * 32 + 5]) for plane in range(3))


def test_a_pickle_that_is_not_cifars_is_not_opened(tmp_path):
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    harmful = b"cos\nsystem\n(S'touch " + str(tmp_path / "ran").encode() + b"'\ntR."
    for name in [*(f"data_batch_{n}" for n in range(1, 6)), "test_batch", "batches.meta"]:
        (folder / name).write_bytes(harmful)
    with pytest.raises(InputError, match="whose md5 is right"):
        open_source(Torchvision(path=str(tmp_path)))
    assert not (tmp_path / "ran").exists()


def test_flowers_trains_on_train_and_val_together(tmp_path):
    root = tmp_path / "flowers-102"
    (root / "jpg").mkdir(parents=True)
    savemat(root / "imagelabels.mat", {"labels": np.array([[1, 102, 7, 7, 3]], np.uint8)})
    savemat(root / "setid.mat", {"trnid": [[2, 5]], "valid": [[1]], "tstid": [[3, 4]]})
    for number in range(1, 6):
        (root / "jpg" / f"image_{number:05d}.jpg").write_bytes(grey(number))
    source = open_source(Torchvision(path=str(tmp_path), name="flowers102"), 102)
    assert list(source.train.labels) == [101, 2, 0]
    assert list(source.test.labels) == [6, 6]
    assert source.train.image(0).getpixel((0, 0))[0] == 2
    savemat(root / "setid.mat", {"trnid": [[2, 6]], "valid": [[1]], "tstid": [[3, 4]]})
    with pytest.raises(InputError, match=r"setid\.mat has image 6, and there are 5 labels"):
        open_source(Torchvision(path=str(tmp_path), name="flowers102"))


def cars(path: Path, names: list[str]) -> None:
    kind = [("bbox_x1", "O"), ("class", "O"), ("fname", "O")]
    entries = np.array([(1, index % 2 + 1, name) for index, name in enumerate(names)], dtype=kind)
    savemat(path, {"annotations": entries})


def test_cars(tmp_path):
    root = tmp_path / "stanford_cars"
    (root / "devkit").mkdir(parents=True)
    savemat(root / "devkit" / "cars_meta.mat", {"class_names": np.array(["Audi", "BMW"], dtype=object)})
    for split, where in (
        ("cars_train", "devkit/cars_train_annos.mat"),
        ("cars_test", "cars_test_annos_withlabels.mat"),
    ):
        (root / split).mkdir()
        cars(root / where, ["00001.jpg", "00002.jpg"])
        (root / split / "00002.jpg").write_bytes(grey(2))
    source = open_source(Torchvision(path=str(tmp_path), name="cars"))
    assert source.classes == ("Audi", "BMW")
    assert list(source.train.labels) == [0, 1]
    assert source.train.image(1).getpixel((0, 0))[0] == 2
    cars(root / "cars_test_annos_withlabels.mat", ["../../x.jpg", "00002.jpg"])
    with pytest.raises(InputError, match="lies outside"):
        open_source(Torchvision(path=str(tmp_path), name="cars"))
    (root / "devkit" / "cars_meta.mat").write_bytes(b"MATLAB 5.0 or not")
    with pytest.raises(InputError, match=r"cars_meta\.mat: cannot be read"):
        open_source(Torchvision(path=str(tmp_path), name="cars"))


def test_the_real_parquet_as_cifars_files(data, tmp_path):
    """The same photographs by both readers."""
    hub = open_source(Hub(path=str(data / "cifar10")))
    root = cifar(tmp_path) / "cifar-10-batches-bin"
    chosen = [hub.test.image(index) for index in range(4)]
    planes = [np.asarray(image).transpose(2, 0, 1).tobytes() for image in chosen]
    labels = [hub.test.labels[index] for index in range(4)]
    (root / "test_batch.bin").write_bytes(b"".join(bytes([n]) + p for n, p in zip(labels, planes, strict=True)))
    read = open_source(Torchvision(path=str(tmp_path))).test
    assert list(read.labels) == labels
    assert all(np.array_equal(read.image(index), chosen[index]) for index in range(4))
    assert Counter(read.labels) == Counter(labels)


@pytest.mark.parametrize(
    ("name", "kind"), [("a-00000-of-00001.parquet", "hub"), ("a-0000.tar", "shards"), ("train2021.json", "inaturalist")]
)
def test_what_class_folders_do_not_describe_is_refused_and_its_source_named(tmp_path, name, kind):
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(InputError, match=rf"data\.path: .*no class folders.* --source {kind} "):
        open_source(Folder(path=str(tmp_path)))


def test_a_table_where_a_folder_is_wanted_is_refused_and_its_source_named(tmp_path):
    table = tmp_path / "images.csv"
    table.write_text("path,label\n")
    with pytest.raises(InputError, match=r"data\.path: .*not a folder.* --source table "):
        open_source(Folder(path=str(table)))
