"""Recipes that train on a laptop: digits and CIFAR-10."""

from cosub.recipes.config import Augment, Cosub, Digits, Hub, Optimizer, Recipe


def digits() -> Recipe:
    """The demonstration."""
    return Recipe(
        name="digits",
        model="vit_tiny_patch16_224",
        model_args={"patch_size": 2, "embed_dim": 64, "depth": 8, "num_heads": 4},
        resolution=8,
        method=Cosub(),
        drop_rate=0.2,
        epochs=30,
        batch_size=64,
        group_size=64,
        lr=1e-2,
        data=Digits(),
        augment=Augment(crop="center", flip=0.0, policy="", jitter=0.0),
        optimizer=Optimizer(weight_decay=0.05),
    )


def cifar10() -> Recipe:
    """CIFAR-10's 50,000 photographs in about fifteen minutes on two cores."""
    return Recipe(
        name="cifar10",
        model="vit_tiny_patch16_224",
        model_args={"patch_size": 4, "embed_dim": 64, "depth": 6, "num_heads": 4},
        resolution=32,
        method=Cosub(),
        drop_rate=0.1,
        epochs=5,
        batch_size=128,
        group_size=64,
        lr=1e-2,
        data=Hub(),
        augment=Augment(crop="simple", policy="", jitter=0.0),
        optimizer=Optimizer(weight_decay=0.05, warmup_epochs=0.5),
    )
