"""Any tree of folders, made of the parts that people's folders have, against a plain second reading of it."""

import json
import os
import tempfile
from pathlib import Path, PurePosixPath

from hypothesis import event, given, settings
from hypothesis import strategies as st

from cosub.data.sources import open_source
from cosub.errors import InputError
from cosub.recipes.data import Folder

ROLES = {"train": "train", "training": "train", "val": "validation", "valid": "validation", "validation": "validation",
         "dev": "validation", "test": "test", "testing": "test"}  # fmt: skip
READ = (".png", ".jpg", ".jfif", ".webp")
RUN = json.dumps({"format": 1, "model": "m", "method": {}, "data": {}})

SPLITS = st.sampled_from([
    (), (), ("train",), ("Train", "valid"), ("TRAINING", "test", "dev"), ("seg_train", "seg_test"), ("train", "eval"),
    ("train", "val", "eval"), ("Training", "Testing"), ("test",), ("train", "Val", "valid"), ("left", "right"),
])  # fmt: skip
CLASSES = st.lists(st.sampled_from(["cat", "dog", "eel", "Fox"]), min_size=2, max_size=4, unique=True)
INNER = st.lists(st.sampled_from(["images", "deep", ".ipynb_checkpoints", "__MACOSX"]), max_size=2)
NAMES = st.sampled_from(["0.png", "1.JPG", "2.jfif", "3.webp", "._0.png", ".DS_Store", "Thumbs.db", "a.gif", "b.txt"])
FILES = st.lists(st.tuples(INNER, NAMES), max_size=4)
STRAY = st.lists(st.sampled_from([
    "x.png", "train/x.png", "masks/cat/0.png", "__MACOSX/train/cat/0.png", "cat/back", "train/cat/back",
    "train/cat/linked", "cat/linked", "out/recipe.json", "out/a/recipe.json", "cat/out/recipe.json", "empty/b.txt",
    "test/0.png",
]), max_size=1)  # fmt: skip


@st.composite
def trees(draw: st.DrawFn) -> dict[str, str]:
    """File by path, of the content; of links, the folder that they lead to."""
    splits, classes = draw(SPLITS), draw(CLASSES)
    found: dict[str, str] = {}
    for split in splits or ("",):
        for name in classes:
            for inner, file in [([], "0.png"), ([], "9.png"), *draw(FILES)]:
                found[PurePosixPath(split, name, *inner, file).as_posix()] = "x"
    for path in draw(STRAY):
        found[path] = RUN if path.endswith("recipe.json") else "x"
        if path.startswith("out/"):
            found[path.replace("recipe.json", "curves.png")] = "x"
    return found


def build(root: Path, tree: dict[str, str]) -> None:
    for name, content in tree.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.name == "back":
            path.symlink_to(root)
        elif path.name == "linked":
            elsewhere = root.parent / "elsewhere"
            elsewhere.mkdir()
            (elsewhere / "5.png").write_text("x")
            path.symlink_to(elsewhere)
        else:
            path.write_text(content)


def plain(tree: dict[str, str]) -> dict[str, set[str]] | None:
    """Paths by split, or {"": all} where some are held out of them; None where the tree is refused."""
    runs = {PurePosixPath(name).parent for name, content in tree.items() if content == RUN}
    files = {f"{name}/5.png" if name.endswith("linked") else name for name in tree if not name.endswith("back")}
    clean = {name for name in files if not any(junk(part) for part in name.split("/"))}
    mine = {name for name in clean if not runs & set(PurePosixPath(name).parents)}
    images = {name for name in mine if PurePosixPath(name).suffix.lower() in READ}
    folders = {str(above) for name in [*files, *tree] for above in PurePosixPath(name).parents}
    folders = {name for name in folders if name != "." and not any(junk(part) for part in name.split("/"))}
    tops = sorted(name for name in folders if "/" not in name and PurePosixPath(name) not in runs)
    splits = roles(tops)
    if splits is None:
        return None
    if not splits:
        classes = classes_in("", folders, images, runs)
        read = {name for name in images if name.split("/")[0] in classes} if classes else None
        return {"": read} if read and len(classes) > 1 and enough(read, classes, "") else None
    if "train" not in splits:
        return None
    found: dict[str, set[str]] = {}
    known = classes_in(splits["train"], folders, images, runs)
    for role, top in splits.items():
        if role != "train" and all(name.count("/") == 1 for name in images if name.startswith(f"{top}/")):
            continue  # images without classes
        classes = classes_in(top, folders, images, runs, same=role != "train")
        if not classes or not known or classes - known:
            return None
        found[role] = {name for name in images if name.startswith(f"{top}/") and name.count("/") > 1}
    if len(known) < 2:
        return None
    if found.keys() == {"train"}:
        return {"": found["train"]} if enough(found["train"], known, splits["train"] + "/") else None
    return found


def junk(part: str) -> bool:
    return part.startswith(".") or part in ("__MACOSX", "Thumbs.db")


def roles(tops: list[str]) -> dict[str, str] | None:
    """Split by role; None where two are for one."""
    if {"seg_train", "seg_test"} <= set(tops) and not ROLES.keys() & {top.lower() for top in tops}:
        return {"train": "seg_train", "test": "seg_test"}
    pairs = [(ROLES[top.lower()], top) for top in tops if top.lower() in ROLES]
    if "eval" in tops:
        pairs.append(("test" if "validation" in dict(pairs) else "validation", "eval"))
    return dict(pairs) if len(dict(pairs)) == len(pairs) else None


def classes_in(top: str, folders: set[str], images: set[str], runs: set[PurePosixPath], same: bool = False) -> set[str]:
    """The class folders; none where one is empty, may be a run's, or they are splits (unless the `same` may be)."""
    prefix = f"{top}/" if top else ""
    names = {name[len(prefix) :] for name in folders if name.startswith(prefix)} - {""}
    classes: set[str] = set()
    below: list[set[str]] = []
    for name in {name for name in names if "/" not in name} - {str(run)[len(prefix) :] for run in runs}:
        inside = {image[len(prefix) + len(name) + 1 :] for image in images if image.startswith(f"{prefix}{name}/")}
        with_run = any(str(run).startswith(f"{prefix}{name}/") for run in runs if not any(map(junk, run.parts)))
        if with_run and not inside:
            continue
        if with_run or not inside:
            return set()
        classes.add(name)
        below.append({image.split("/")[0] for image in inside if "/" in image})
    if not same and below and len(set.intersection(*below)) > 1:
        return set()
    return classes


def enough(read: set[str], classes: set[str], prefix: str) -> bool:
    """Whether of two classes one image can be held out, and one left."""
    return sum(sum(name.startswith(f"{prefix}{label}/") for name in read) > 1 for label in classes) > 1


def names_of(root: Path) -> dict[str, set[str]] | None:
    try:
        source = open_source(Folder(path=str(root)))
    except InputError:
        return None
    parts = {"train": source.train, "validation": source.validation, "test": source.test}
    found = {
        role: {os.path.relpath(part.name(index), root) for index in range(len(part.labels))}
        for role, part in parts.items()
        if part is not None
    }
    if source.places["test"].startswith("held out"):
        assert found["test"] == found["validation"]
        return {"": found["train"] | found["test"]}
    return {role: names for role, names in found.items() if role != "test" or source.test is not source.validation}


@settings(max_examples=150, deadline=None)
@given(trees())
def test_the_images_read_are_those_of_a_plain_listing(tree):
    with tempfile.TemporaryDirectory() as place:
        root = Path(place) / "data"
        build(root, tree)
        wanted = plain(tree)
        event("refused" if wanted is None else "read")
        assert names_of(root) == wanted
