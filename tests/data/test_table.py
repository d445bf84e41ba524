"""A table of images: what is read, what is refused, and groups that stay on one side of a split."""

import csv
import dataclasses
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from layouts import fill, sizes, words
from pictures import picture

from cosub.cli import main
from cosub.data.sources import Source, all_images, open_source, sampling, with_validation
from cosub.data.sources.folder import Files
from cosub.data.sources.grouping import hold_out
from cosub.errors import InputError
from cosub.recipes.data import Table
from cosub.recipes.files import dump, read
from cosub.recipes.small import digits
from cosub.seeds import derive


@pytest.fixture
def images(tmp_path) -> Path:
    """24 images beside the table: a/0.png to a/11.png, b/0.png to b/11.png."""
    for name in "ab":
        fill(tmp_path / name, 12)
    return tmp_path


def table(root: Path, *lines: str, name: str = "t.csv", **settings) -> Table:
    (root / name).write_text("\n".join(lines) + "\n")
    return Table(path=str(root / name), **settings)


def rows(*columns: str) -> list[str]:
    """A line for each image: its path, its class, and what columns say of it (formats of its number)."""
    return [
        ",".join([f"{name}/{index}.png", name, *(column.format(index, name=name) for column in columns)])
        for name in "ab"
        for index in range(12)
    ]


def names(part) -> list[str]:
    return [part.name(index) for index in range(len(part.labels))]


def test_a_table_without_splits_holds_some_of_each_class_out(images):
    source = open_source(table(images, "path,label", *rows()))
    assert (source.classes, sizes(source)) == (("a", "b"), (22, 2, 2))
    assert sorted(source.test.labels) == [0, 1]
    assert sorted([*names(source.train), *names(source.test)]) == sorted(map(str, images.glob("*/*.png")))
    assert source.train.image(0).size == (8, 8)
    assert names(open_source(table(images, "path,label", *rows())).test) == names(source.test)


def test_splits_are_the_usual_words(images):
    lines = [
        f"{name}/{index}.png,{name},{split}"
        for name in "ab"
        for index, split in enumerate(["Train"] * 6 + ["VAL"] * 4 + ["eval"] * 2)
    ]
    source = open_source(table(images, "path,label,split", *lines))
    assert sizes(source) == (12, 8, 4)
    assert names(source.validation_or_test)[0] == str(images / "a" / "6.png")


def test_numbers_as_labels_are_in_their_order(images):
    lines = [f"a/{index}.png,{(2, 10, 9)[index % 3]}" for index in range(12)]
    assert open_source(table(images, "path,label", *lines)).classes == ("2", "9", "10")


@pytest.mark.parametrize("how", ["absolute", "windows", "bom and crlf", "semicolons", "tabs", "quotes", "blank lines"])
def test_tables_as_programs_write_them(images, how):
    lines = ["path,label", *rows()]
    text = {
        "absolute": "\n".join([lines[0], *(f"{images}/{line}" for line in lines[1:])]),
        "windows": "\n".join(lines).replace("/", "\\"),
        "bom and crlf": "\ufeff" + "\r\n".join(lines),
        "semicolons": "\n".join(lines).replace(",", ";"),
        "tabs": "\n".join(lines).replace(",", "\t"),
        "quotes": "\n".join([" Path , LABEL ", *('"' + line.replace(",", '","') + '"' for line in lines[1:])]),
        "blank lines": "\n\n".join(lines) + "\n,\n\n",
    }[how]
    (images / "t.csv").write_bytes(text.encode())
    source = open_source(Table(path=str(images / "t.csv")))
    assert (source.classes, sizes(source)) == (("a", "b"), (22, 2, 2))
    assert source.train.image(0).size == (8, 8)


def test_names_that_are_not_utf8(images):
    picture(0, (8, 8)).save(images / "caf\udce9.png")
    lines = ["path,label", *rows(), "caf\udce9.png,a"]
    (images / "t.csv").write_bytes("\n".join(lines).encode("utf-8", "surrogateescape"))
    assert len(open_source(Table(path=str(images / "t.csv"))).train.labels) == 23


WRONG = {
    "needs the columns path and label, and has file, class": ["file,class", "a/0.png,a"],
    "has no rows": ["path,label"],
    "line 3 has no label": ["path,label", "a/0.png,a", "a/1.png,"],
    r"line 2: .*a/77.png is not a file, nor are 1 more; paths are abs": ["path,label", "a/77.png,a", "b/77.png,b"],
    r"lines 2 and 3 are both .*a/0.png; remove one": ["path,label", "a/0.png,a", "./a/0.png,b"],
    "line 3 has split 'foo'; it must be train, val": ["path,label,split", "a/0.png,a,train", "a/1.png,a,foo"],
    "line 3 has split ''; it must be": ["path,label,split", "a/0.png,a,train", "a/1.png,a,"],
    "has no row to train on": ["path,label,split", "a/0.png,a,test"],
    "line 3 has label b, which no training image has": ["path,label,split", "a/0.png,a,train", "b/1.png,b,test"],
    r"1 group is in two splits: p \(train in line 2, test in line 4\)": [
        "path,label,split,group", "a/0.png,a,train,p", "b/0.png,b,train,", "a/1.png,a,test,p"],
    "no group can be held out": ["path,label,group", "a/0.png,a,p", "a/1.png,a,p", "b/0.png,b,q"],
}  # fmt: skip


@pytest.mark.parametrize("message", WRONG)
def test_wrong_tables_say_the_line_and_the_remedy(images, message):
    with pytest.raises(InputError, match=message):
        open_source(table(images, *WRONG[message]))


def test_a_file_that_is_no_text_is_no_table(tmp_path):
    (tmp_path / "t.csv").write_bytes("path,label\na.png,a\n".encode("utf-16"))
    with pytest.raises(InputError, match=r"t\.csv: is not text; write the table as CSV in UTF-8"):
        open_source(Table(path=str(tmp_path / "t.csv")))


def test_a_table_that_is_not_there():
    with pytest.raises(InputError, match=r"nowhere\.csv: is not a file"):
        open_source(Table(path="nowhere.csv"))
    with pytest.raises(InputError, match="is not given"):
        open_source(Table())


# --- groups


def grouped(*split: str) -> list[str]:
    """Four groups of three images in each class, and what `split` says of each image."""
    return [f"{line},{line[0]}{index % 12 // 3}" for index, line in enumerate(rows(*split))]


def sides(source, part) -> list[set[str]]:
    """The groups of the training images, and those of another part."""
    return [
        {f"{Path(name).parent.name}{int(Path(name).stem) // 3}" for name in names(of)} for of in (source.train, part)
    ]


def test_groups_are_held_out_together(images):
    source = open_source(table(images, "path,label,group", *grouped(), val_share=0.25))
    assert sizes(source) == (18, 6, 6)
    train, test = sides(source, source.test)
    assert (len(train), len(test), train & test) == (6, 2, set())


def test_groups_are_held_out_together_for_the_choice_of_the_epoch(images):
    lines = [line.replace("train", "test") if line.endswith("3") else line for line in grouped("train")]
    source = with_validation(open_source(table(images, "path,label,split,group", *lines)))
    assert sizes(source) == (12, 6, 6)
    train, chosen = sides(source, source.validation_or_test)
    assert (len(train), len(chosen), train & chosen) == (4, 2, set())


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 12)), min_size=1, max_size=60), st.floats(0.05, 0.5))
def test_whole_groups_are_held_out_and_each_class_stays(pairs, share):
    labels, groups = [label for label, _ in pairs], [f"g{group}" for _, group in pairs]
    held = set(hold_out(labels, groups, share, np.random.default_rng(0)))
    inside, outside = ({groups[i] for i in range(len(pairs)) if (i in held) == side} for side in (True, False))
    assert not inside & outside
    assert {labels[i] for i in range(len(pairs)) if i not in held} == set(labels)
    of_class = defaultdict(set)
    for label, group in zip(labels, groups, strict=True):
        of_class[label].add(group)
    if all(len(found) > 1 for found in of_class.values()) and len(set(groups)) == len(groups):
        assert {labels[i] for i in held} == set(labels)


def test_a_number_of_validation_images_cannot_be_chosen_of_groups(images):
    with pytest.raises(InputError, match="write validation into the table's column split"):
        open_source(table(images, "path,label,group", *rows("{0}"), validation_images=3))
    few = open_source(table(images, "path,label,group", *rows("{0}"), train_images=9))
    assert len(few.train.labels) == len(few.groups or ()) == 9


# --- other ways to a table


def test_all_images_of_a_table_without_splits(images):
    every = all_images(table(images, "path,label", *rows()), ("a", "b", "c"))
    assert every is not None
    assert len(every.labels) == 24
    assert all_images(table(images, "path,label,split", *rows("train")), ("a", "b")) is None


def test_a_recipe_with_a_table_is_read_again(tmp_path):
    recipe = dataclasses.replace(digits(), data=Table(path="t.csv", val_share=0.2))
    (tmp_path / "r.json").write_text(dump(recipe))
    assert read(tmp_path / "r.json") == recipe


def test_check_data_writes_a_table_from_a_folder(tmp_path, capsys):
    words("Train", "valid", "test")(tmp_path / "data")
    target = tmp_path / "t.csv"
    assert main(["check-data", str(tmp_path / "data"), "--workers", "1", "--table", str(target)]) == 0
    with target.open(newline="") as file:
        found = list(csv.DictReader(file))
    assert [row["split"] for row in found] == ["train"] * 36 + ["validation"] * 15 + ["test"] * 12
    assert found[0] == {"path": "data/Train/cat/0.png", "label": "cat", "split": "train",
                        "group": f"{tmp_path}/data/Train/cat/0.png"}  # fmt: skip
    capsys.readouterr()
    assert main(["check-data", str(target)]) == 2
    assert "5 groups are in two splits" in capsys.readouterr().err  # pictures 0 to 4 are in all splits
    for row in found:
        row["group"] = ""
    with target.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(found[0]))
        writer.writeheader()
        writer.writerows(found)
    assert sizes(open_source(Table(path=str(target)))) == (36, 15, 12)
    assert main(["check-data", str(target), "--workers", "1"]) == 0
    assert "36 train, 15 validation, 12 test" in capsys.readouterr().err
    for path, message in ((target, "exists"), (tmp_path / "none" / "t.csv", "its folder")):
        assert main(["check-data", str(tmp_path / "data"), "--table", str(path)]) == 2
        assert message in capsys.readouterr().err


def test_a_table_of_a_flat_folder_leaves_splits_open(tmp_path):
    for name in "ab":
        fill(tmp_path / "data" / name, 12)
    assert main(["check-data", str(tmp_path / "data"), "--workers", "1", "--table", str(tmp_path / "t.csv")]) == 0
    source = open_source(Table(path=str(tmp_path / "t.csv")))
    assert sizes(source)[0] + sizes(source)[2] == 24
    groups = set(source.groups or ())
    assert len(groups) == len(source.train.labels) / 2  # a and b hold the same pictures


def test_train_on_a_table(images, capsys):
    config = table(images, "path,label", *rows())
    words = ["train", "digits", "--source", "table", "--data.path", config.path, "--resolution", "8", "--epochs", "1"]
    words += ["--batch-size", "16", "--group-size", "16", "--model-args", "depth=2", "embed_dim=32"]
    assert main([*words, "--out", str(images / "run")]) == 0
    said = capsys.readouterr().err
    assert f"22 images of {config.path}" in said
    assert main(["evaluate", str(images / "run")]) == 0


def test_images_without_groups_are_held_out_class_by_class():
    """Compared with one pass over all images for each class."""
    labels = np.random.default_rng(0).integers(0, 30, 500)
    source = Source(tuple("ab" * 15), Files([Path("a.png")] * 500, labels.tolist()), Files([], []))
    order = np.random.default_rng(derive("validation")).permutation(500)
    expected = []
    for label in range(30):
        members = order[labels[order] == label]
        expected += members[: max(1, round(len(members) * sampling._VALIDATION_SHARE))].tolist()
    assert sampling._held(source) == expected
