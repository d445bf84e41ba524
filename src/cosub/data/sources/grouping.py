"""Hold out images in groups, such as those of one patient or video."""

from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence

import numpy as np


def hold_out(
    labels: Sequence[Hashable], groups: Sequence[str], share: float, generator: np.random.Generator
) -> list[int]:
    """Indices of about `share` of each class, in whole groups. Of each class at least one image is not held out.

    Groups are visited in random order. First, those that exceed the share of none of their classes are held out; then,
    for each class of which nothing is held out yet, the next possible one. Nothing is held out of a class that is one
    group.
    """
    members: dict[str, list[int]] = defaultdict(list)
    for index, group in enumerate(groups):
        members[group].append(index)
    left = Counter(labels)
    wanted = {label: max(1, round(number * share)) for label, number in left.items()}
    held: Counter[Hashable] = Counter()
    taken: list[int] = []
    names = sorted(members)
    order = [names[place] for place in generator.permutation(len(names))]
    for at_last in (False, True):
        for group in order:
            inside = Counter(labels[index] for index in members[group])
            small = all(held[label] + number <= wanted[label] for label, number in inside.items())
            fits = small or (at_last and any(not held[label] for label in inside))
            if fits and all(left[label] > number for label, number in inside.items()):
                taken += members.pop(group)
                held += inside
                left -= inside
        order = [group for group in order if group in members]
    return sorted(taken)
