"""What came out of a comparison: a row for each arm, and the sentence that the intervals bear out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cosub.comparison.plan import Plan, pace_of
from cosub.paper.studies.arms import ARMS, FIRST
from cosub.paper.studies.grid import Study
from cosub.paper.studies.ledger import Ledger, Line
from cosub.paper.studies.report import Row, rows
from cosub.paper.studies.statistics import Estimate, estimate, paired

HALF = "0.5"
"""Of the blocks, spread evenly over depth: the key of that submodel."""

_WORDS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


@dataclass(frozen=True)
class ArmResult:
    """An arm with what its seeds gave."""

    row: Row
    step_seconds: float
    half: Estimate | None
    """Accuracy of half of the blocks."""
    half_difference: Estimate | None

    @property
    def title(self) -> str:
        return ARMS[self.row.cell.series].title


@dataclass(frozen=True)
class Comparison:
    plan: Plan
    arms: Sequence[ArmResult]
    """None before drop rates and learning rates are chosen."""
    left: int
    """Runs that the time was too short for."""

    @property
    def verdict(self) -> str:
        """One sentence."""
        if not any(arm.row.difference for arm in self.arms):
            return "Nothing can be said yet: there are no two runs of the same seed to compare."
        clauses = [_clause(arm, self.plan.images) for arm in self.arms if arm.row.difference is not None]
        return f"At equal time, against {ARMS[FIRST].title}: {'; '.join(clauses)}."


def _clause(arm: ArmResult, images: int) -> str:
    """What an interval bears out.

    Accuracies are whole numbers of images, by equally many of which few seeds may differ by chance: their interval then
    has no width. So an image is taken off.
    """
    found = arm.row.difference
    assert found is not None
    seeds = f"{_word(found.number)} seed{'s' * (found.number > 1)}"
    points = f"{arm.title} {found.percent('+')} points"
    if found.half is None:
        return f"{points}, which a single seed cannot distinguish from chance"
    if abs(found.mean) - found.half <= 1 / images:
        return f"{points}, no difference that {seeds} could show"
    return f"{points}, {'ahead' if found.mean > 0 else 'behind'} in {seeds}"


def _word(number: int) -> str:
    return _WORDS[number] if number < len(_WORDS) else str(number)


def result(plan: Plan, table: Study | None, ledger: Ledger, left: int) -> Comparison:
    """From what is recorded."""
    found = [] if table is None else rows(table, ledger, plan.seeds)
    halves = {row.cell.series: _halves(row.lines) for row in found}
    arms = [
        ArmResult(
            row,
            plan.step_seconds[pace_of(row.cell.series, row.cell.recipe.drop_rate)],
            estimate(list(halves[row.cell.series].values())),
            None if row.cell.series == FIRST else paired(halves[row.cell.series], halves[FIRST]),
        )
        for row in found
    ]
    return Comparison(plan, arms, left)


def _halves(lines: Mapping[int, Line]) -> dict[int, float]:
    return {seed: line["top1_submodels"][HALF] for seed, line in lines.items()}


def as_json(found: Comparison) -> dict[str, Any]:
    return {
        "verdict": found.verdict,
        "left": found.left,
        "seconds_per_run": round(found.plan.seconds, 1),
        "validation_images": found.plan.validation_images,
        "test_images": found.plan.test_images,
        "arms": [_arm(arm) for arm in found.arms],
    }


def _arm(arm: ArmResult) -> dict[str, Any]:
    recipe, row = arm.row.cell.recipe, arm.row
    estimates = {
        "validation": row.validation,
        "test": row.test,
        "difference": row.difference,
        "half": arm.half,
        "half_difference": arm.half_difference,
        "seconds": row.seconds,
    }
    return {
        "arm": row.cell.series,
        "drop_rate": recipe.drop_rate,
        "lr": recipe.lr,
        "epochs": recipe.epochs,
        "step_seconds": round(arm.step_seconds, 5),
        "seeds": sorted(row.lines),
        **{name: value and {"mean": value.mean, "half": value.half} for name, value in estimates.items()},
    }
