"""Hugging Face's Trainer around a timm model: python examples/hf_trainer.py [FOLDER] [--epochs 10]

FOLDER holds train/CLASS/IMAGE and val/CLASS/IMAGE; without it, scikit-learn's digits.
"""

import argparse
from typing import Any

import timm
import torch
import torch.nn.functional as F
from digits_folder import digits_folder
from timm.data import create_transform
from torch import Tensor, nn
from torchvision.datasets import ImageFolder
from transformers import Trainer, TrainingArguments

import cosub

SMALL = {"img_size": 32, "patch_size": 8, "embed_dim": 64, "depth": 4, "num_heads": 4}
DATA = {"per_device_train_batch_size": 32, "remove_unused_columns": False, "label_names": ["labels"]}
DATA |= {"dataloader_pin_memory": torch.cuda.is_available()}
SCHEDULE = {"learning_rate": 2e-3, "weight_decay": 0.05, "warmup_steps": 0.2, "lr_scheduler_type": "cosine"}
LOGS = {"logging_strategy": "epoch", "save_strategy": "no", "disable_tqdm": True}


class SubmodelTrainer(Trainer):
    def compute_loss(self, model: nn.Module, inputs: dict[str, Any], return_outputs: bool = False, **_: Any) -> Any:
        logits, labels = model(inputs["pixel_values"]), inputs["labels"]
        if model.training:  # on several GPUs use torchrun, because nn.DataParallel would mix up the copies
            return cosub.cosub_loss(logits, labels, kind="ce-soft")  # cosub
        loss = F.cross_entropy(logits, labels)
        return (loss, {"logits": logits}) if return_outputs else loss


def collate(examples: list[tuple[Tensor, int]]) -> dict[str, Tensor]:
    images, labels = zip(*examples, strict=True)
    return {"pixel_values": torch.stack(images), "labels": torch.tensor(labels)}


def main(folder: str, epochs: int) -> None:
    torch.manual_seed(0)
    training, testing = (ImageFolder(f"{folder}/{part}", create_transform(32, crop_pct=1)) for part in ("train", "val"))
    model = timm.create_model("vit_tiny_patch16_224", num_classes=len(training.classes), **SMALL)
    cosub.attach(model, drop_rate=0.1)  # cosub
    arguments = TrainingArguments("out/hf-trainer", num_train_epochs=epochs, **DATA, **SCHEDULE, **LOGS)
    trainer = SubmodelTrainer(model, arguments, collate, training)
    trainer.train()
    found = trainer.predict(testing)
    print(f"accuracy {(found.predictions.argmax(1) == found.label_ids).mean():.4f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?")
    parser.add_argument("--epochs", type=int, default=10)
    options = parser.parse_args()
    main(options.folder or digits_folder(), options.epochs)
