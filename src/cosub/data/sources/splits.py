"""Which folders are splits, by their usual names."""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence

from cosub.data.sources.walking import Branch
from cosub.errors import InputError

_ROLES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
    "eval": "eval",
}


def split_of(word: str) -> str | None:
    """The split that a word names, in any case: train, validation, test, or eval; None for another word."""
    return _ROLES.get(word.strip().lower())


def resolve_splits(words: Sequence[str]) -> dict[str, str]:
    """The split for each word: eval means validation, or test where another word means validation."""
    meant = {word: role for word in words if (role := split_of(word))}
    evaluation = "test" if "validation" in meant.values() else "validation"
    return {word: evaluation if role == "eval" else role for word, role in meant.items()}


def find_splits(root: Branch) -> dict[str, Branch]:
    """The folders for train, validation and test, as far as they exist.

    A folder with a usual name is a split. A name with an affix (`seg_train`) is one if another split has the same affix
    (`seg_test`) and both hold folders of images: `bullet_train` alone is a class.

    Raises:
        InputError: for two folders of one split.
    """
    groups: dict[str, dict[str, str]] = defaultdict(dict)
    for name in root.folders:
        parts = re.split(r"([^a-z]+)", name.lower())
        known = [place for place, part in enumerate(parts) if part in _ROLES]
        if len(known) == 1:
            word, parts[known[0]] = parts[known[0]], "*"
            groups["".join(parts)][name] = word
    if words := groups.pop("*", None):
        return _one_each(root, words)
    found = [_one_each(root, words) for words in groups.values() if _agree(root, words)]
    if len(found) > 1:
        names = ", ".join(folder.path.name for folder in found[0].values())
        others = ", ".join(folder.path.name for folder in found[1].values())
        raise InputError(f"data.path: {root.path}: has splits twice ({names}; {others}); put each into its own folder")
    return _inner(found[0]) if found else {}


def _agree(root: Branch, words: Mapping[str, str]) -> bool:
    roles = {_ROLES[word] for word in words.values()}
    return "train" in roles and len(roles) > 1 and not any(root.folders[name].images for name in words)


def _one_each(root: Branch, words: Mapping[str, str]) -> dict[str, Branch]:
    roles = resolve_splits(list(words.values()))
    found: dict[str, Branch] = {}
    for name, word in words.items():
        other = found.setdefault(roles[word], root.folders[name])
        if other is not root.folders[name]:
            raise InputError(
                f"data.path: {root.path}: its folders {other.path.name} and {name} are both for {roles[word]}; "
                "rename one of them, or merge them"
            )
    return _inner(found)


def _inner(splits: Mapping[str, Branch]) -> dict[str, Branch]:
    """The splits, where one that only holds a folder of its own name (`seg_train/seg_train`) is that folder."""
    found = {}
    for role, split in splits.items():
        names = list(split.folders)
        alone = not split.images and [name.lower() for name in names] == [split.path.name.lower()]
        found[role] = split.folders[names[0]] if alone else split
    return found
