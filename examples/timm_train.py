"""A loop built from timm's parts, as in its train.py: python examples/timm_train.py [FOLDER] [--epochs 10]

FOLDER holds train/CLASS/IMAGE and val/CLASS/IMAGE; without it, scikit-learn's digits.
"""

import argparse

import timm
import torch
from digits_folder import digits_folder
from timm.data import create_dataset, create_loader
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2
from timm.utils import AverageMeter, ModelEmaV3, accuracy

import cosub

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
LOADER = {"input_size": (3, 32, 32), "batch_size": 32, "crop_pct": 1, "num_workers": 0, "use_prefetcher": False}
SMALL = {"img_size": 32, "patch_size": 8, "embed_dim": 64, "depth": 4, "num_heads": 4}


def main(folder: str, epochs: int) -> None:
    torch.manual_seed(0)
    training, testing = (create_dataset("", root=folder, split=part) for part in ("train", "val"))
    loader = create_loader(training, is_training=True, no_aug=True, **LOADER)  # digits must not be flipped
    model = timm.create_model("vit_tiny_patch16_224", num_classes=len(training.reader.class_to_idx), **SMALL)
    cosub.attach(model.to(DEVICE), drop_rate=0.1)  # cosub
    ema = ModelEmaV3(model, decay=0.97)  # a copy, so made after attach
    optimizer = create_optimizer_v2(model, opt="adamw", lr=2e-3, weight_decay=0.05)
    schedule, epochs = create_scheduler_v2(
        optimizer, sched="cosine", num_epochs=epochs, warmup_epochs=1, warmup_lr=5e-4
    )
    for epoch in range(1, epochs + 1):
        model.train()  # two submodels per image
        losses = AverageMeter()
        for images, targets in loader:
            loss = cosub.cosub_loss(model(images.to(DEVICE)), targets.to(DEVICE), kind="ce-soft")  # cosub
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            ema.update(model)
            losses.update(loss.item(), len(images))
        schedule.step(epoch)
        print(f"epoch {epoch}  loss {losses.avg:.4f}")
    top1 = AverageMeter()
    with torch.inference_mode():
        for images, targets in create_loader(testing, **LOADER):
            top1.update(accuracy(ema.module(images.to(DEVICE)), targets.to(DEVICE))[0].item() / 100, len(images))
    print(f"accuracy {top1.avg:.4f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?")
    parser.add_argument("--epochs", type=int, default=10)
    options = parser.parse_args()
    main(options.folder or digits_folder(), options.epochs)
