"""scikit-learn's digits."""

from typing import Any

import numpy as np

from cosub.data.sources.arrays import Arrays
from cosub.data.sources.source import Source
from cosub.errors import InputError
from cosub.recipes.data import Digits


def digits(config: Digits) -> Source:
    """Split scikit-learn's digits into a stratified train and test set.

    Raises:
        InputError: for a share that cannot be split off.
    """
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    bunch: Any = load_digits()
    pixels = (bunch.images * (255 / 16)).round().astype(np.uint8)
    try:
        parts: Any = train_test_split(
            pixels,
            bunch.target,
            test_size=config.test_share,
            random_state=config.split_seed,
            stratify=bunch.target,
        )
    except ValueError as error:
        raise InputError(f"data.test_share: {config.test_share}: cannot split the digits ({error})") from error
    train, test, train_labels, test_labels = parts
    return Source(
        tuple(str(digit) for digit in range(10)),
        Arrays(train, train_labels.tolist(), "train"),
        Arrays(test, test_labels.tolist(), "test"),
    )
