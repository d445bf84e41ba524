"""Plug-ins: what rooms above provide, imported by name. No other module may do that.

A plug-in has entries "module:name" in these tables, and is imported when one of them is used.
"""

import importlib
from typing import Any

# Modules whose RECIPES, name -> function, join the table of recipes.
RECIPES = ("cosub.segmentation.recipes", "cosub.paper.recipes.catalogue")

# Functions that open a source, by the kind of the recipe's data.
SOURCES = {"scenes": "cosub.segmentation.scenes:open_scenes"}

# What belongs to a task, by the kind of the recipe's task.
TASKS = {"segmentation": "cosub.segmentation.task:SegmentationTask"}
NETWORKS = {"segmentation": "cosub.segmentation.network:build_segmenter"}
METRICS = {"segmentation": "cosub.segmentation.metric:MIOU"}
EVALUATORS = {"segmentation": "cosub.segmentation.command:evaluate_scenes"}
PREDICTORS = {"segmentation": "cosub.segmentation.prediction:predict_scenes"}


def find(place: str) -> Any:
    """The object at "module:name"."""
    module, name = place.split(":")
    return getattr(importlib.import_module(module), name)
