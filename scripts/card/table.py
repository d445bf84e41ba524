"""The rows, the most informative first: five take about five minutes, all of them perhaps twenty-five."""

from card.atomics import atomics
from card.row import Bar, Row
from card.steps import CO_TRAINING, EAGER, LEAN, MASKED, ONE_COPY, Rates, Steps, models
from card.suites import Suite
from card.training import Killed, first_step, photographs
from cosub.bench.step import Case

HUGE, LARGE, BASE, SMALL = (
    f"deit3_{size}_224" for size in ("huge_patch14", "large_patch16", "base_patch16", "small_patch16")
)
ALL = {**MASKED, **CO_TRAINING, **ONE_COPY}
COMPILING = Bar("first_s.co-training", "seconds to compile", 15, before="5")
EQUAL = Bar("equal", "bit-identical (1: yes)", 1, at_least=True)
PASSED = (Bar("failed", "tests that fail", 0), Bar("passed", "tests that pass", 1, at_least=True))

ROWS = (
    Row("vit-h-128", "ViT-H, rate 0.6, 128 images, blocks compiled", 150,
        Steps(HUGE, 0.6, 128, {**MASKED, **CO_TRAINING}, repeats=30),
        (Bar("time.co-training", "co-training: time", 0.90, 0.85, before="0.91"),
         Bar("peak.co-training", "co-training: peak memory", 0.75, 0.60, before="0.88"), COMPILING)),
    Row("vit-l-192", "ViT-L, rate 0.45, 192 images, blocks compiled", 150,
        Steps(LARGE, 0.45, 192, {**ALL, **LEAN}, repeats=30),
        (Bar("time.co-training", "co-training: time", 1.20, 1.12, before="1.22"),
         Bar("peak.co-training", "co-training: peak memory", 1.00, 0.80, before="1.24"),
         Bar("time.one copy", "one copy: time", 0.64, 0.58, before="0.64"),
         Bar("peak.one copy", "one copy: peak memory", 0.60, 0.50, before="0.67"), COMPILING)),
    Row("vit-l-64-eager", "ViT-L, rate 0.45, 64 images, eager", 75,
        Steps(LARGE, 0.45, 64, EAGER, planned=True),
        (Bar("time.one copy", "one copy: time", 0.80, 0.65, before="1.22"),)),
    Row("digits", "`cosub train digits`", 60, first_step,
        (Bar("seconds", "seconds to the first reported step", 10, before="over 60"),)),
    Row("cifar10-gpu", "`cosub train cifar10-gpu`", 120, photographs,
        (Bar("images_per_second", "images/s", 20_000, 50_000, at_least=True, before="10,758"),)),
    Row("contract-bf16", "every family in float32 and bf16, compared with timm's masking", 120,
        Suite("contract and not fp16"), PASSED),
    Row("contract-fp16", "every family in fp16, compared with timm's masking", 90, Suite("contract and fp16"), PASSED),
    Row("gpu-tests", "tests/test_gpu.py without the contract", 240,
        Suite("not contract and not killed"), PASSED),  # the next two rows measure those
    Row("atomics", "ViT-L, rate 0.45, 192 images: other ways to add rows, relative to `index_add`", 150, atomics),
    Row("killed", "digits, deterministic, killed and continued, eager", 90, Killed("off"), (EQUAL,)),
    Row("killed-compiled", "the same, compiled", 120, Killed("on"), (EQUAL,)),
    Row("vit-l-64", "ViT-L, rate 0.45, 64 images, blocks compiled", 90, Steps(LARGE, 0.45, 64, ALL)),
    Row("whole-12", "ViT-L of 12 blocks, 64 images; masked compiled whole, and by blocks", 120,
        Steps(LARGE, 0.45, 64, {"masked whole": ("masked", "whole"), **MASKED, **CO_TRAINING}, depth=12)),
    Row("vit-l-192-eager", "ViT-L, rate 0.45, 192 images, eager", 75, Steps(LARGE, 0.45, 192, EAGER, planned=True)),
    Row("vit-h-64", "ViT-H, rate 0.6, 64 images, blocks compiled", 120,
        Steps(HUGE, 0.6, 64, {**MASKED, **CO_TRAINING})),
    Row("vit-h-128-eager", "ViT-H, rate 0.6, 128 images, eager, relative to compiled masked blocks", 120,
        Steps(HUGE, 0.6, 128, {**MASKED, "co-training": ("cosub", "eager")}, planned=True)),
    Row("vit-b-128", "ViT-B, rate 0.2, 128 images, blocks compiled", 75, Steps(BASE, 0.2, 128, ALL)),
    Row("vit-s-256", "ViT-S, rate 0.05, 256 images, blocks compiled", 75, Steps(SMALL, 0.05, 256, ALL)),
    Row("rates", "ViT-S, 128 images, blocks compiled: one copy at low rates", 120, Rates(SMALL, 128, (0.05, 0.1, 0.2))),
    Row("swin-b", "Swin-B, rate 0.3, 128 images, blocks compiled", 240,
        Steps("swin_base_patch4_window7_224", 0.3, 128, ALL,
              small=Case("swin_tiny_patch4_window7_224", 0.5, 2, resolution=32))),
    Row("convnext-b", "ConvNeXt-B, rate 0.3, 128 images, blocks compiled", 240,
        Steps("convnext_base", 0.3, 128, ALL, small=Case("test_convnext", 0.5, 4))),
    Row("resnet-152", "ResNet-152, rate 0.3, 128 images, blocks compiled", 240,
        Steps("resnet152", 0.3, 128, ALL, small=Case("test_resnet", 0.5, 4))),
    Row("models", "`cosub bench models`: images per second of forward", 75, models),
)  # fmt: skip
