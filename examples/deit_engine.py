"""DeiT's loop: mixing, loss scaling, averaged weights: python examples/deit_engine.py [FOLDER] [--epochs 10]

FOLDER holds train/CLASS/IMAGE and val/CLASS/IMAGE; without it, scikit-learn's digits.
"""

import argparse
from typing import Any

import timm
import torch
from digits_folder import digits_folder
from timm.data import Mixup, create_transform
from timm.utils import ModelEma, NativeScaler, random_seed
from torch import nn
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder

import cosub

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
SMALL = {"img_size": 32, "patch_size": 8, "embed_dim": 64, "depth": 4, "num_heads": 4}


def train_one_epoch(model: nn.Module, loader: DataLoader, mixup: Mixup, optimizer: Any, scaler: Any, ema: Any) -> float:
    total = 0.0
    for images, targets in loader:
        images, targets = mixup(images.to(DEVICE), targets.to(DEVICE))
        with torch.autocast(DEVICE, enabled=DEVICE == "cuda"):  # DeiT repeats the images here; attach does that instead
            loss = cosub.cosub_loss(model(images), targets, kind="ce-soft")  # cosub
        optimizer.zero_grad()
        scaler(loss, optimizer, clip_grad=1.0, parameters=model.parameters())
        ema.update(model)
        total += loss.item()
    return total / len(loader)


def main(folder: str, epochs: int) -> None:
    random_seed(0)  # seeds numpy too, from which Mixup draws
    training, testing = (ImageFolder(f"{folder}/{part}", create_transform(32, crop_pct=1)) for part in ("train", "val"))
    loader = DataLoader(training, batch_size=32, shuffle=True, drop_last=True)
    mixup = Mixup(mixup_alpha=0.8, cutmix_alpha=1.0, label_smoothing=0.0, num_classes=len(training.classes))
    model = timm.create_model("vit_tiny_patch16_224", num_classes=len(training.classes), **SMALL).to(DEVICE)
    cosub.attach(model, drop_rate=0.1)  # cosub
    optimizer, scaler = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.05), NativeScaler(DEVICE)
    ema = ModelEma(model, decay=0.97)  # a copy, so made after attach
    for epoch in range(1, epochs + 1):
        print(f"epoch {epoch}  loss {train_one_epoch(model.train(), loader, mixup, optimizer, scaler, ema):.4f}")
    with torch.inference_mode():
        correct = sum(int((ema.ema(x.to(DEVICE)).argmax(1).cpu() == y).sum()) for x, y in DataLoader(testing, 256))
    print(f"accuracy {correct / len(testing):.4f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?")
    parser.add_argument("--epochs", type=int, default=10)
    options = parser.parse_args()
    main(options.folder or digits_folder(), options.epochs)
