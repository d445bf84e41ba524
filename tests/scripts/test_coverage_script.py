"""The script that counts the models of timm that attach."""

import runpy
from pathlib import Path


def test_models_that_attach_are_counted_by_family():
    script = runpy.run_path(str(Path(__file__).parents[2] / "scripts" / "coverage.py"))
    standings, by_family = script["standings"], script["by_family"]
    rows = standings(["test_vit", "test_convnext", "vgg11", "edgenext_xx_small", "resnet18"])
    assert [(row["family"], row["model"]) for row in rows] == [
        ("vision_transformer", "test_vit"),
        ("convnext", "test_convnext"),
        ("edgenext", "edgenext_xx_small"),
        ("resnet", "resnet18"),
    ]
    assert by_family(rows)[1] == {
        "family": "edgenext",
        "models": 1,
        "attach": 0,
        "reasons": ["blocks without a twin: ConvBlock, SplitTransposeBlock"],
    }
    assert sum(family["attach"] for family in by_family(rows)) == 3
