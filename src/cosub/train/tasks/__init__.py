"""Tasks: classification here, others in plug-ins. The trainer knows none by name."""

from cosub.recipes import plugins
from cosub.recipes.recipe import Recipe
from cosub.train.tasks.classification import ClassificationTask
from cosub.train.tasks.task import Assumed, Score, Task

__all__ = ["Assumed", "Score", "Task", "task_type"]


def task_type(recipe: Recipe) -> type[Task]:
    """The class of the recipe's task. Called with the recipe and its source, it makes the task."""
    place = plugins.TASKS.get(recipe.task.kind)
    return plugins.find(place) if place else ClassificationTask
