"""What stands in rooms above and is found by name: the only place that imports what it does not know.

A plug-in fills a table with "module:name". Nothing of it is imported before it is asked for.
"""

import importlib
from typing import Any

# Modules whose RECIPES, name -> function, join the table of recipes.
RECIPES = ("cosub.segmentation.recipes", "cosub.paper.recipes.catalogue")

# By the kind of the recipe's data.
SOURCES = {"scenes": "cosub.segmentation.scenes:open_scenes"}

# By the kind of the recipe's task.
TASKS = {"segmentation": "cosub.segmentation.task:SegmentationTask"}
NETWORKS = {"segmentation": "cosub.segmentation.network:build_segmenter"}
METRICS = {"segmentation": "cosub.segmentation.metric:MIOU"}
EVALUATORS = {"segmentation": "cosub.segmentation.command:evaluate_scenes"}
PREDICTORS = {"segmentation": "cosub.segmentation.prediction:predict_scenes"}


def find(place: str) -> Any:
    """The object at "module:name"."""
    module, name = place.split(":")
    return getattr(importlib.import_module(module), name)
