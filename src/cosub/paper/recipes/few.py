"""Recipes that overfit, for `cosub study`: few images, many epochs, a deep network."""

import dataclasses

from cosub.recipes.augmentation import Augment
from cosub.recipes.data import Digits, Hub
from cosub.recipes.methods import Cosub
from cosub.recipes.optimizer import Optimizer
from cosub.recipes.recipe import Recipe


def digits_few() -> Recipe:
    """300 of scikit-learn's digits, with 500 others for validation and 899 to test.

    Cost: 1,000 steps; 42 s on one idle core, supervised, and 55 s co-trained (CPU time per step, without images).
    Measured: docs/studies.md.

    cosub train digits-few
    """
    return Recipe(
        name="digits-few",
        model="vit_tiny_patch16_224",
        model_args={"patch_size": 4, "embed_dim": 64, "depth": 12, "num_heads": 4},
        resolution=8,
        method=Cosub(),
        drop_rate=0.4,
        epochs=200,
        batch_size=60,
        group_size=60,
        lr=1e-2,
        data=Digits(test_share=0.5, train_images=300, validation_images=500),
        augment=Augment(crop="center", flip=0.0, policy="", jitter=0.0),
        optimizer=Optimizer(weight_decay=0.05),
    )


def digits32_few() -> Recipe:
    """The same digits enlarged to 32 pixels: sixteen tokens instead of four, at the drop rate of the paper's ViT-L.

    It is the ViT of `cosub study table2`, where co-training was ahead.

    Cost: 1,000 steps; 79 s on one idle core, supervised, and 112 s co-trained (measured steps).
    Measured: docs/studies.md.

    cosub train digits32-few
    """
    shape = {"patch_size": 8, "embed_dim": 64, "depth": 12, "num_heads": 4}
    return dataclasses.replace(digits_few(), name="digits32-few", resolution=32, drop_rate=0.45, model_args=shape)


def cifar10_few() -> Recipe:
    """250 of CIFAR-10's training images, with 5,000 others for validation and all 10,000 to test.

    Without flips, so that it overfits early: supervised, training accuracy is 99.6% after half of the run (seed 0).

    Cost: 750 steps; 54 s on one idle core, supervised, and 92 s co-trained (CPU time per step, without images).
    Measured: docs/studies.md.

    cosub train cifar10-few --data.path PATH
    """
    return Recipe(
        name="cifar10-few",
        model="vit_tiny_patch16_224",
        model_args={"patch_size": 8, "embed_dim": 64, "depth": 12, "num_heads": 4},
        resolution=32,
        method=Cosub(),
        drop_rate=0.2,
        epochs=150,
        batch_size=50,
        group_size=50,
        lr=1e-2,
        data=Hub(train_images=250, validation_images=5000),
        augment=Augment(crop="center", flip=0.0, policy="", jitter=0.0),
        optimizer=Optimizer(weight_decay=0.05),
    )


def cifar10_500() -> Recipe:
    """500 of CIFAR-10's training images, 50 of each class, with 5,000 others for validation and all 10,000 to test.

    The network and augmentation of the experiment in docs/evidence.md: 24 residual layers, crop and flip alone.

    Cost: 750 steps.
    Measured: docs/evidence.md.

    cosub train cifar10-500 --data.path PATH
    """
    return Recipe(
        name="cifar10-500",
        model="vit_tiny_patch16_224",
        model_args={"patch_size": 8, "embed_dim": 96, "depth": 12, "num_heads": 3},
        resolution=32,
        method=Cosub(),
        drop_rate=0.3,
        epochs=150,
        batch_size=100,
        group_size=100,
        lr=1e-2,
        data=Hub(train_images=500, validation_images=5000, balanced=True, on_device=True),
        augment=Augment(crop="simple", policy="", jitter=0.0),
        optimizer=Optimizer(weight_decay=0.05, warmup_epochs=15),
    )


def cifar10_5000() -> Recipe:
    """5,000 of CIFAR-10's training images, 500 of each class, as `cifar10-500`, with a network for a GPU.

    Cost: 1,000 steps.
    Measured: not yet.

    cosub train cifar10-5000 --data.path PATH
    """
    return dataclasses.replace(
        cifar10_500(),
        name="cifar10-5000",
        model_args={"patch_size": 4, "embed_dim": 192, "depth": 12, "num_heads": 3},
        epochs=100,
        batch_size=500,
        group_size=250,
        lr=4e-3,
        data=Hub(train_images=5000, validation_images=5000, balanced=True, on_device=True),
        augment=Augment(crop="simple", policy="3a", jitter=0.0),
        optimizer=Optimizer(weight_decay=0.05, warmup_epochs=10),
    )


def cifar10_45000() -> Recipe:
    """All of CIFAR-10's training images but 5,000 for validation, as `cifar10-5000`.

    Cost: 2,700 steps.
    Measured: not yet.

    cosub train cifar10-45000 --data.path PATH
    """
    return dataclasses.replace(
        cifar10_5000(),
        name="cifar10-45000",
        epochs=30,
        data=Hub(validation_images=5000, on_device=True),
        optimizer=Optimizer(weight_decay=0.05, warmup_epochs=3),
    )


def cifar10_hour() -> Recipe:
    """5,000 of CIFAR-10's training images, with 5,000 others for validation and all 10,000 to test, for one GPU.

    Cost: 6,000 steps.
    Measured: not yet.

    cosub train cifar10-hour --data.path PATH
    """
    return Recipe(
        name="cifar10-hour",
        model="vit_tiny_patch16_224",
        model_args={"patch_size": 4, "embed_dim": 256, "depth": 24, "num_heads": 4, "init_values": 0.1},
        resolution=32,
        method=Cosub(),
        drop_rate=0.4,
        epochs=300,
        batch_size=250,
        group_size=125,
        lr=2e-3,
        data=Hub(train_images=5000, validation_images=5000),
        augment=Augment(crop="simple", policy="3a"),
        optimizer=Optimizer(weight_decay=0.05),
    )
