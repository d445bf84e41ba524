"""A plain PyTorch loop: python examples/plain.py [FOLDER] [--epochs 10]

FOLDER holds train/CLASS/IMAGE and val/CLASS/IMAGE; without it, scikit-learn's digits.
"""

import argparse

import timm
import torch
from digits_folder import digits_folder
from timm.data import create_transform
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder

import cosub

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
SMALL = {"img_size": 32, "patch_size": 8, "embed_dim": 64, "depth": 4, "num_heads": 4}


def main(folder: str, epochs: int) -> None:
    torch.manual_seed(0)
    training, testing = (ImageFolder(f"{folder}/{part}", create_transform(32, crop_pct=1)) for part in ("train", "val"))
    loader = DataLoader(training, batch_size=32, shuffle=True)
    model = timm.create_model("vit_tiny_patch16_224", num_classes=len(training.classes), **SMALL).to(DEVICE)
    cosub.attach(model, drop_rate=0.1)  # cosub
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=epochs * len(loader))
    for epoch in range(1, epochs + 1):
        model.train()  # two submodels per image
        total = 0.0
        for images, targets in loader:
            loss = cosub.cosub_loss(model(images.to(DEVICE)), targets.to(DEVICE), kind="ce-soft")  # cosub
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item()
        print(f"epoch {epoch}  loss {total / len(loader):.4f}")
    model.eval()  # the full network
    with torch.inference_mode():
        correct = sum(int((model(x.to(DEVICE)).argmax(1).cpu() == y).sum()) for x, y in DataLoader(testing, 256))
    print(f"accuracy {correct / len(testing):.4f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?")
    parser.add_argument("--epochs", type=int, default=10)
    options = parser.parse_args()
    main(options.folder or digits_folder(), options.epochs)
