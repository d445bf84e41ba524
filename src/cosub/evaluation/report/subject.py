"""The images of a report: those that it is about, and others on which temperature and confidences are chosen."""

from collections.abc import Callable
from typing import Any

from cosub.data.sources import Examples
from cosub.errors import InputError
from cosub.evaluation.candidates import Candidate
from cosub.evaluation.images import draw_indices, source_of_run
from cosub.evaluation.report.page import Subject
from cosub.evaluation.report.scoring import Scored
from cosub.evaluation.sets import EvaluationSet

_LEAST = 10  # images to fit on, and to measure on


def about(
    candidate: Candidate, name: str, images: str, chosen: EvaluationSet, path: str, score: Callable[[Examples], Scored]
) -> Subject:
    """Score what a report needs. Of a run's own data, validation images are fitted on where they are no test images.

    Args:
        candidate: the network.
        name: of it, for people.
        images: where the examples were found, for people.
        chosen: what the report is about.
        path: where the run's data are now; empty: where they were in training.
        score: runs the network over a set.

    Raises:
        InputError: if there are too few images.
    """
    scored = score(chosen.examples)
    validation = _validation(candidate, path) if chosen.own else None
    if validation is not None:
        fitted, measured, fitted_on = score(validation), scored, "the run's validation images"
    else:
        order = draw_indices(len(scored), 0, "report")
        halves = sorted(order[::2]), sorted(order[1::2])
        fitted, measured = (scored.part(rows) for rows in halves)
        fitted_on = "a random half of these images"
    if min(len(fitted), len(measured)) < _LEAST:
        raise InputError(f"report: {len(scored)} images are too few; {2 * _LEAST} are the least")
    return Subject(name, images, candidate.classes, chosen.examples, scored, fitted, measured, fitted_on)


def _validation(candidate: Candidate, path: str) -> Any:
    """The validation images of the run's data; None where it has none beside the test images."""
    recipe = candidate.recipe
    source = source_of_run(recipe.data, candidate.classes, path, recipe.choose)
    return None if source.validation is source.test else source.validation
