"""A LightningModule: python examples/lightning_module.py [FOLDER] [--epochs 10]

FOLDER holds train/CLASS/IMAGE and val/CLASS/IMAGE; without it, scikit-learn's digits.
"""

import argparse

import timm
import torch
from digits_folder import digits_folder
from lightning import LightningModule, Trainer
from timm.data import create_transform
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder

import cosub

SMALL = {"img_size": 32, "patch_size": 8, "embed_dim": 64, "depth": 4, "num_heads": 4}


class Classifier(LightningModule):
    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.model = timm.create_model("vit_tiny_patch16_224", num_classes=num_classes, **SMALL)
        cosub.attach(self.model, drop_rate=0.1)  # cosub

    def training_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        images, targets = batch
        loss = cosub.cosub_loss(self.model(images), targets, kind="ce-soft")  # cosub
        self.log("loss", loss, on_step=False, on_epoch=True)
        return loss

    def on_train_epoch_end(self) -> None:
        self.print(f"epoch {self.current_epoch + 1}  loss {self.trainer.callback_metrics['loss']:.4f}")

    def test_step(self, batch: tuple[Tensor, Tensor]) -> None:
        self.log("accuracy", (self.model(batch[0]).argmax(1) == batch[1]).float().mean())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=2e-3, weight_decay=0.05)


def main(folder: str, epochs: int) -> None:
    torch.manual_seed(0)
    training, testing = (ImageFolder(f"{folder}/{part}", create_transform(32, crop_pct=1)) for part in ("train", "val"))
    trainer = Trainer(max_epochs=epochs, logger=False, enable_checkpointing=False, enable_progress_bar=False)
    module = Classifier(len(training.classes))
    trainer.fit(module, DataLoader(training, batch_size=32, shuffle=True))
    (found,) = trainer.test(module, DataLoader(testing, batch_size=256), verbose=False)
    print(f"accuracy {found['accuracy']:.4f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?")
    parser.add_argument("--epochs", type=int, default=10)
    options = parser.parse_args()
    main(options.folder or digits_folder(), options.epochs)
