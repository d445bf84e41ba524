"""scikit-learn's digits as an image folder, so that the examples run without your images; not part of any loop."""

from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split


def digits_folder(folder: Path = Path("out/digits")) -> str:
    """Write train/CLASS/NUMBER.png, 1,437 images of 8x8 pixels, and val with 360, unless the folder exists."""
    if folder.exists():
        return str(folder)
    values, labels = load_digits(return_X_y=True)
    pixels = (values.reshape(-1, 8, 8) * (255 / 16)).round().astype(np.uint8)
    parts = train_test_split(np.arange(len(labels)), test_size=0.2, random_state=0, stratify=labels)
    aside = folder.with_name(f".{folder.name}")  # renamed at the end, so that the folder is never incomplete
    for split, numbers in zip(("train", "val"), parts, strict=True):
        for number in numbers:
            place = aside / split / str(labels[number])
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels[number]).save(place / f"{number}.png")
    aside.rename(folder)
    return str(folder)
