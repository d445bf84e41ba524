"""Recipes for semantic segmentation: Table 13's ViTs on ADE20K, and CamVid on a laptop.

Table 13 has Swin's schedule: 160,000 iterations of 16 crops. 127 epochs of ADE20K's 20,210 images are 160,401.
Learning rate, weight decay and drop rates are those of Swin and of the backbones; the paper states none.
"""

from cosub.recipes.data import Scenes
from cosub.recipes.methods import Supervised
from cosub.recipes.optimizer import Optimizer
from cosub.recipes.recipe import Recipe
from cosub.recipes.tasks import Segmentation

_ITERATIONS_PER_EPOCH = 20_210 // 16


def ade20k_vit_s() -> Recipe:
    """UperNet on ViT-S for ADE20K, Table 13.

    Cost: 160,401 steps of 16 crops; 588 GFLOPs per image of 512x2048 pixels.
    The paper: mIoU 45.6%, multi-scale 46.8%; from cosub's weights 47.0% and 48.0%.

    cosub train ade20k-vit-s --data.path PATH [--weights RUN]
    """
    return _ade20k("s", "deit3_small_patch16_224", "fb_in1k", 0.05, width=384)


def ade20k_vit_b() -> Recipe:
    """UperNet on ViT-B for ADE20K, Table 13.

    Cost: 160,401 steps of 16 crops; 1,283 GFLOPs per image of 512x2048 pixels.
    The paper: mIoU 49.3%, multi-scale 50.2%; from cosub's weights 49.3% and 49.9%.

    cosub train ade20k-vit-b --data.path PATH [--weights RUN]
    """
    return _ade20k("b", "deit3_base_patch16_224", "fb_in1k", 0.2)


def ade20k_vit_l() -> Recipe:
    """UperNet on ViT-L for ADE20K, Table 13.

    Cost: 160,401 steps of 16 crops; 2,231 GFLOPs per image of 512x2048 pixels.
    The paper: mIoU 51.5%, multi-scale 52.0%; from cosub's weights 52.5% and 53.1%.

    cosub train ade20k-vit-l --data.path PATH [--weights RUN]
    """
    return _ade20k("l", "deit3_large_patch16_224", "fb_in1k", 0.45)


def ade20k_vit_b_21k() -> Recipe:
    """UperNet on ViT-B pre-trained on ImageNet-21k for ADE20K, Table 13.

    Cost: as ade20k-vit-b.
    The paper: mIoU 53.4%, multi-scale 54.1%; from cosub's weights 53.7% and 54.7%.

    cosub train ade20k-vit-b-21k --data.path PATH [--weights RUN]
    """
    return _ade20k("b-21k", "deit3_base_patch16_224", "fb_in22k_ft_in1k", 0.15)


def ade20k_vit_l_21k() -> Recipe:
    """UperNet on ViT-L pre-trained on ImageNet-21k for ADE20K, Table 13.

    Cost: as ade20k-vit-l.
    The paper: mIoU 54.6%, multi-scale 55.6%; from cosub's weights 55.7% and 56.3%.

    cosub train ade20k-vit-l-21k --data.path PATH [--weights RUN]
    """
    return _ade20k("l-21k", "deit3_large_patch16_224", "fb_in22k_ft_in1k", 0.35)


def _ade20k(size: str, model: str, tag: str, drop_rate: float, width: int = 512) -> Recipe:
    return Recipe(
        name=f"ade20k-vit-{size}",
        model=model,
        weights=f"timm:{model}.{tag}",
        resolution=512,
        method=Supervised(loss="ce"),
        drop_rate=drop_rate,
        rounding="masked",  # of two crops per group, a whole number dropped would be none, or one
        epochs=127,
        batch_size=16,
        group_size=2,
        lr=6e-5,
        data=Scenes(),
        task=Segmentation(width=width),
        optimizer=Optimizer(
            weight_decay=0.01,
            lr_rule="constant",
            decay="linear",
            warmup_epochs=1500 / _ITERATIONS_PER_EPOCH,
            warmup_lr=6e-11,
            min_lr=0.0,
            clip=0.0,
        ),
    )


def camvid() -> Recipe:
    """CamVid's 367 street scenes, a class for every pixel, on a small ConvNeXt: minutes on one core.

    Cost: 880 steps; 19 minutes on one thread of a busy machine.
    Measured: mIoU 36.9% on the 101 validation images (seed 0), from a backbone of docs/results.md.

    cosub train camvid --data.path PATH [--weights RUN]
    """
    return Recipe(
        name="camvid",
        model="convnext_atto",
        model_args={"ls_init_value": 0.1, "conv_mlp": False},
        resolution=96,
        method=Supervised(loss="ce"),
        drop_rate=0.1,
        epochs=40,
        batch_size=16,
        group_size=16,
        lr=1e-3,
        data=Scenes(),
        task=Segmentation(width=48, short_side=96),
        optimizer=Optimizer(weight_decay=0.05, lr_rule="constant", decay="linear", warmup_epochs=1.0, min_lr=0.0),
    )


RECIPES = {
    "ade20k-vit-s": ade20k_vit_s,
    "ade20k-vit-b": ade20k_vit_b,
    "ade20k-vit-l": ade20k_vit_l,
    "ade20k-vit-b-21k": ade20k_vit_b_21k,
    "ade20k-vit-l-21k": ade20k_vit_l_21k,
    "camvid": camvid,
}
